"""Doubles of the two clouds that latent workers come from, and of the machines that they start.

Each speaks over a socket what the clouds' own Python clients ask: Keystone's and Nova's JSON with a token in every
request, EC2's query protocol with its XML. An instance goes from BUILD to ACTIVE (pending to running) after it was
looked at once, and its "machine" is a process here: what cloud-init would do with the instance's user data is done
in a directory of its own, and the unit's command is run with its environment. So the machine shares every file
with its master, as one with a shared ``runs/`` does. Not modelled: quotas, networks, disks, the signatures of
requests to EC2, and a machine's boot.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

Answer = tuple[int, Mapping[str, str], bytes]


@dataclass
class Instance:
    """What was asked for, how often it was looked at, and its machine."""

    asked: Mapping[str, Any]
    user_data: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    looks: int = 0
    machine: subprocess.Popen[bytes] | None = None
    gone: bool = False


class Cloud:
    """Instances, behind an HTTP server; ``boots``: their machines run; ``hangs``: they are never ready."""

    def __init__(self, where: Path, boots: bool = True, hangs: bool = False) -> None:
        self.instances: list[Instance] = []
        self.requests: list[str] = []
        self._where = where
        self._boots = boots
        self._hangs = hangs
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                cloud.requests.append(f"{self.command} {self.path}")
                status, headers, content = cloud.respond(self.command, self.path, self.headers, body)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 (http.server's names)

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Cloud:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        for instance in self.instances:
            self.delete(instance)

    def respond(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        raise NotImplementedError

    @property
    def living(self) -> list[Instance]:
        return [instance for instance in self.instances if not instance.gone]

    def find(self, key: str) -> Instance | None:
        return next((one for one in self.living if one.id == key), None)

    def create(self, asked: Mapping[str, Any], user_data: bytes) -> Instance:
        instance = Instance(asked, user_data.decode())
        self.instances.append(instance)
        if self._boots:
            instance.machine = self._boot(instance)
        return instance

    def look(self, instance: Instance) -> bool:
        """Whether it has come up: it has when it was looked at before."""
        instance.looks += 1
        return instance.looks > 1 and not self._hangs

    def delete(self, instance: Instance) -> None:
        instance.gone = True
        if instance.machine is not None:
            instance.machine.kill()
            instance.machine.wait()

    def _boot(self, instance: Instance) -> subprocess.Popen[bytes]:
        first, _, rest = instance.user_data.partition("\n")
        assert first == "#cloud-config"
        root = self._where / instance.id
        written = {}
        for file in json.loads(rest)["write_files"]:
            path = root / file["path"].lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file["content"])
            path.chmod(int(file["permissions"], 8))
            written[file["path"]] = path
        unit = next(path for name, path in written.items() if name.endswith(".service")).read_text()
        command = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
        environment = re.search(r"^Environment=(.*)$", unit, re.MULTILINE)
        assert command
        assert environment
        argv = [str(written.get(word, word)) for word in shlex.split(command[1])]
        said = (root / "said").open("wb")
        return subprocess.Popen(
            argv,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **dict(re.findall(r"(\w+)=(\S+)", environment[1]))},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=root,
        )


def answer_json(data: Any, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"Content-Type": "application/json", **named}, json.dumps(data).encode()


class OpenStack(Cloud):
    """Keystone 3 (by password, or by application credential), Nova 2 and Glance 2 on one port."""

    PASSWORD = "correct horse"
    TOKEN = "a-token"
    IMAGES: ClassVar = {"bookworm": str(uuid.UUID(int=7))}
    FLAVORS: ClassVar = {"small": "42"}

    def respond(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        parts = urlsplit(path)
        words = [word for word in parts.path.split("/") if word]
        data = json.loads(body) if body else {}
        if words[0] == "v3":
            return self._keystone(method, words[1:], data)
        if headers.get("X-Auth-Token") != self.TOKEN:
            return answer_json({"error": {"message": "log in first"}}, 401)
        if words[:2] == ["glance", "v2"]:
            name = parse_qs(parts.query)["name"][0]
            found = [{"id": id_, "name": n} for n, id_ in self.IMAGES.items() if n == name]
            return answer_json({"images": found})
        if words[:2] == ["nova", "v2"]:
            return self._nova(method, words[2:], parse_qs(parts.query), data)
        return answer_json({"error": {"message": f"no {path}"}}, 404)

    def _keystone(self, method: str, words: list[str], data: Any) -> Answer:
        if not words:
            version = {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": f"{self.url}/v3/"}]}
            return answer_json({"version": version})
        assert (method, words) == ("POST", ["auth", "tokens"])
        identity = data["auth"]["identity"]
        (how,) = identity["methods"]
        given = identity["password"]["user"]["password"] if how == "password" else identity[how]["secret"]
        if given != self.PASSWORD:
            return answer_json({"error": {"code": 401, "title": "Unauthorized", "message": "wrong"}}, 401)
        catalog = [
            {
                "type": kind,
                "name": name,
                "id": name,
                "endpoints": [
                    {
                        "id": name,
                        "interface": "public",
                        "region": "one",
                        "region_id": "one",
                        "url": self.url + path,
                    }
                ],
            }
            for kind, name, path in (("compute", "nova", "/nova/v2"), ("image", "glance", "/glance"))
        ]
        token = {
            "methods": [how],
            "expires_at": "2099-01-01T00:00:00.000000Z",
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "user": {"id": "u", "name": "farm", "domain": {"id": "default", "name": "Default"}},
            "project": {"id": "p", "name": "builds", "domain": {"id": "default", "name": "Default"}},
            "catalog": catalog,
        }
        return answer_json({"token": token}, 201, X_Subject_Token=self.TOKEN)

    def _nova(self, method: str, words: list[str], query: Mapping[str, list[str]], data: Any) -> Answer:
        if words[0] == "flavors":
            return answer_json({"flavors": [{"id": id_, "name": name} for name, id_ in self.FLAVORS.items()]})
        assert words[0] == "servers"
        if method == "POST":
            asked = data["server"]
            instance = self.create(asked, base64.b64decode(asked["user_data"]))
            return answer_json({"server": {"id": instance.id, "links": []}}, 202)
        if len(words) == 1 or words[1] == "detail":
            wanted = query.get("name", [""])[0]
            shown = [self._server_of(one) for one in self.living if re.search(wanted, one.asked["name"])]
            return answer_json({"servers": shown})
        found = self.find(words[1])
        if found is None:
            return answer_json({"itemNotFound": {"code": 404, "message": "no such instance"}}, 404)
        if method == "DELETE":
            self.delete(found)
            return 204, {}, b""
        return answer_json({"server": self._server_of(found)})

    def _server_of(self, instance: Instance) -> dict[str, Any]:
        return {
            "id": instance.id,
            "name": instance.asked["name"],
            "status": "ACTIVE" if self.look(instance) else "BUILD",
            "metadata": instance.asked.get("metadata", {}),
            "links": [],
        }


class Ec2(Cloud):
    """The part of EC2's query protocol that Buildbot's worker uses."""

    def respond(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        actions: Mapping[str, Callable[[Mapping[str, str]], str]] = {
            "DescribeKeyPairs": lambda _: "<keySet><item><keyName>farm</keyName></item></keySet>",
            "DescribeInstances": self._describe,
            "GetConsoleOutput": lambda _: "<output></output>",
            "CreateTags": lambda _: "<return>true</return>",
            "RunInstances": self._run,
            "TerminateInstances": self._terminate,
        }
        action = asked["Action"]
        self.requests.append(action)
        content = (
            f'<{action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
            f"<requestId>r</requestId>{actions[action](asked)}</{action}Response>"
        )
        return 200, {"Content-Type": "text/xml"}, content.encode()

    def _run(self, asked: Mapping[str, str]) -> str:
        instance = self.create(asked, base64.b64decode(asked["UserData"]))
        return f"<instancesSet>{self._item(instance)}</instancesSet>"

    def _describe(self, asked: Mapping[str, str]) -> str:
        found = next(one for one in self.instances if one.id == asked["InstanceId.1"])
        return f"<reservationSet><item><instancesSet>{self._item(found)}</instancesSet></item></reservationSet>"

    def _terminate(self, asked: Mapping[str, str]) -> str:
        found = self.find(asked["InstanceId.1"])
        assert found is not None
        self.delete(found)
        return "<instancesSet></instancesSet>"

    def _item(self, instance: Instance) -> str:
        state = "terminated" if instance.gone else "running" if self.look(instance) else "pending"
        codes = {"pending": 0, "running": 16, "terminated": 48}
        return (
            f"<item><instanceId>{instance.id}</instanceId><imageId>{escape(instance.asked['ImageId'])}</imageId>"
            f"<instanceState><code>{codes[state]}</code><name>{state}</name></instanceState>"
            "<dnsName>here</dnsName></item>"
        )
