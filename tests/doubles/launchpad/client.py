"""``LaunchpadDouble``: starts the double in a process of its own, and speaks with its control."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

from tests.doubles.launchpad.model import PUBLISHED

ROOT = Path(__file__).parents[3]


class ControlError(Exception):
    """The double does not understand what it is told."""


@dataclass(frozen=True)
class Credentials:
    """An access token of a person, as launchpadlib's login would give it."""

    consumer: str
    key: str
    secret: str

    @property
    def header(self) -> str:
        """The value of ``Authorization``."""
        return (
            f'OAuth realm="OAuth", oauth_consumer_key="{quote(self.consumer)}", oauth_token="{self.key}", '
            f'oauth_signature_method="PLAINTEXT", oauth_signature="%26{self.secret}", oauth_version="1.0"'
        )

    @property
    def text(self) -> str:
        """A credentials file of launchpadlib, also for the LP_CREDENTIALS_FILE and LP_CREDENTIALS variables."""
        return (
            f"[1]\nconsumer_key = {self.consumer}\nconsumer_secret = \n"
            f"access_token = {self.key}\naccess_secret = {self.secret}\n"
        )

    def save(self, path: Path) -> Path:
        path.write_text(self.text)
        path.chmod(0o600)
        return path


class LaunchpadDouble:
    """A running double; ``with LaunchpadDouble() as double:``. Settings are those of ``model.Settings``."""

    def __init__(self, port: int = 0, **settings: Any) -> None:
        self._port = port
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: http.client.HTTPConnection | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process; it ends by itself when this one does (its standard input closes)."""
        command = [sys.executable, "-m", "tests.doubles.launchpad", "--serve", "--port", str(self._port)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().decode().strip()
        if not self.url:
            raise RuntimeError("the Launchpad double did not start")
        if self._settings:
            self.set(**self._settings)

    def stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process.stdout.close()
            self._process = None

    # Where

    @property
    def api(self) -> str:
        """The root of the ``devel`` API."""
        return f"{self.url}/devel"

    def repository(self, ppa: str) -> str:
        """The root of a PPA's apt repository (``dists/`` is below it), or of ``ubuntu``."""
        return f"{self.url}/archive/ubuntu" if ppa == "ubuntu" else f"{self.url}/ppa/{ppa}/ubuntu"

    # The world

    def add_person(self, name: str, *, members: Iterable[str] = (), display_name: str = "") -> None:
        """A person; with ``members``, a team."""
        self.control("add_person", name=name, members=list(members), display_name=display_name)

    def add_series(self, name: str, version: str, status: str, architectures: Iterable[str] = ("amd64",)) -> None:
        self.control("add_series", name=name, version=version, status=status, architectures=list(architectures))

    def add_ppa(
        self,
        key: str,
        *,
        private: bool = False,
        architectures: Iterable[str] = ("amd64",),
        uploaders: Iterable[str] = (),
        subscribers: Iterable[str] = (),
        display_name: str = "",
    ) -> str:
        """A PPA ``owner/name`` (or ``ubuntu``, the primary archive); again: its facts change."""
        facts: dict[str, Any] = {
            "private": private,
            "architectures": list(architectures),
            "uploaders": list(uploaders),
            "subscribers": list(subscribers),
        }
        if display_name:
            facts["display_name"] = display_name
        self.control("add_ppa", key=key, **facts)
        return key

    def add_package(
        self,
        ppa: str,
        name: str,
        version: str,
        *,
        series: str = "noble",
        status: str = PUBLISHED,
        binaries: Iterable[str | Mapping[str, Any]] | None = None,
        builds: Mapping[str, str] | None = None,
        content: str = "",
        orig: str = "",
        fields: Mapping[str, str] | None = None,
        created_at: float | None = None,
        creator: str = "",
        comment: str = "",
    ) -> int:
        """A source publication with builds and binaries; its id.

        ``binaries`` are names, or dicts of ``package``, ``architecture`` (``any``, ``all``, ...), ``fields`` of
        its control file (``{"Depends": "libc6"}``) and ``files`` that it owns (path: text). ``builds`` are the
        states by architecture; not said: built on each architecture of the PPA. The same name and version
        elsewhere is the same source, as by a copy, unless ``content`` differs (``orig``: what is in its orig
        tarball).
        """
        found: int = self.control(
            "add_package",
            ppa=ppa,
            name=name,
            version=version,
            series=series,
            status=status,
            binaries=None
            if binaries is None
            else [one if isinstance(one, str) else dict(one) for one in binaries],
            builds=None if builds is None else dict(builds),
            content=content,
            orig=orig,
            fields=dict(fields or {}),
            created_at=created_at,
            creator=creator,
            comment=comment,
        )
        return found

    def add_packages(self, packages: Iterable[Mapping[str, Any]]) -> list[int]:
        """Many at once: dicts of the arguments of ``add_package``."""
        found: list[int] = self.control("add_packages", packages=[dict(one) for one in packages])
        return found

    def set_build(
        self,
        ppa: str,
        name: str,
        version: str,
        architecture: str,
        state: str,
        *,
        series: str = "",
        log: str = "",
        missing: str = "",
        duration_s: float | None = None,
    ) -> None:
        """Let a build come into a state; "Successfully built" brings its binaries, Pending at first.

        ``log`` is what its log says, ``missing`` the packages that it waits for.
        """
        facts = {"name": name, "version": version, "architecture": architecture, "state": state, "series": series}
        told = {"log": log, "missing": missing, "duration_s": duration_s}
        self.control("set_build", ppa=ppa, **facts, **told)

    def delete_package(
        self, ppa: str, name: str, version: str = "", *, series: str = "", comment: str = ""
    ) -> None:
        """As somebody else would."""
        self.control("delete_package", ppa=ppa, name=name, version=version, series=series, comment=comment)

    def expire_files(self, ppa: str, name: str, version: str, *, binaries_only: bool = False) -> None:
        self.control("expire_files", ppa=ppa, name=name, version=version, binaries_only=binaries_only)

    def load(self, state: Mapping[str, Any]) -> None:
        self.control("load", **state)

    def dump(self) -> dict[str, Any]:
        found: dict[str, Any] = self.control("dump")
        return found

    def reset(self) -> None:
        """An empty world again: no PPAs, tokens, faults, log; settings as this double was made with."""
        self.control("reset")
        if self._settings:
            self.set(**self._settings)

    # Time and faults

    def set(self, **settings: Any) -> None:
        """Change ``model.Settings``: latency_s, copy_delay_s, publish_delay_s, build_delay_s, ..."""
        self.control("set", **settings)

    def advance(self, seconds: float) -> None:
        """Let the double's clock run ahead."""
        self.control("advance", seconds=seconds)

    def now(self) -> float:
        found: float = self.control("now")
        return found

    def settle(self) -> None:
        """All copies end, all builds are built, all is published: now."""
        self.control("settle")

    def fault(self, kind: str, **facts: Any) -> None:
        """Add a fault; see ``faults.Fault`` for its kinds and arguments."""
        self.control("fault", kind=kind, **facts)

    def clear_faults(self) -> None:
        self.control("clear_faults")

    def faults(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control("faults")
        return found

    # Who

    def token(
        self, person: str, *, permission: str = "WRITE_PRIVATE", consumer: str = "System-wide: Ubuntu (tests)"
    ) -> Credentials:
        """An access token for a person, without the ceremony."""
        return Credentials(**self.control("token", person=person, permission=permission, consumer=consumer))

    def expire_token(self, key: str) -> None:
        self.control("expire_token", key=key)

    def authorize(self, key: str, person: str, *, permission: str = "WRITE_PRIVATE") -> None:
        """Answer the authorization page for a request token."""
        self.control("authorize", key=key, person=person, permission=permission)

    # What happened

    def requests(self) -> list[dict[str, Any]]:
        """Every request but the control's: method, path, op, query, form, who, status, fault, at, seconds."""
        found: list[dict[str, Any]] = self.control("requests")
        return found

    def clear_log(self) -> None:
        self.control("clear_log")

    def copies(self) -> list[dict[str, Any]]:
        """Every accepted copy: source, target, name, version, to_series, state (waiting, done, failed), error."""
        found: list[dict[str, Any]] = self.control("copies")
        return found

    def deletions(self) -> list[dict[str, Any]]:
        """Every accepted deletion: ppa, source, version, series, by, comment."""
        found: list[dict[str, Any]] = self.control("deletions")
        return found

    def sources(self, ppa: str) -> list[dict[str, Any]]:
        """All source publications of a PPA: source, version, series, status, content, binaries, ..."""
        found: list[dict[str, Any]] = self.control("sources", ppa=ppa)
        return found

    def control(self, command: str, /, **arguments: Any) -> Any:
        """Tell the running double something; raises ControlError where it makes no sense to it."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        self._connection.request("POST", f"/+control/{command}", json.dumps(arguments))
        response = self._connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise ControlError(text.decode())
        return json.loads(text)
