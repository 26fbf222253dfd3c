"""The published files without the farm's server: by nginx as the how-to configures it, and copied as it says."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppa_tools.address import Address
from ppa_tools.archives.local import LocalArchive
from tests.archive.conftest import PPA, SERIES, Apt, Server, Signer, architecture, free_port, make_source

HOW_TO = Path(__file__).parents[2] / "docs/how-to/serve-with-nginx.md"
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
HIDDEN = Address("local", "demo", "hidden")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    assert found
    return found[1]


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


def accept(archive: LocalArchive, signer: Signer, directory: Path, address: Address, version: str) -> None:
    changes = make_source(directory / f"{address.name}-{version}", signer, version=version)
    archive.accept_source(address, SERIES, changes.parent, changes.name)
    archive.publish(address)


@contextlib.contextmanager
def running_nginx(place: Path, site: str, port: int) -> Iterator[None]:
    place.mkdir()
    (place / "nginx.conf").write_text(
        f"{'user root;' if os.getuid() == 0 else ''} pid {place}/pid; error_log stderr;\n"
        f"events {{ }}\nhttp {{ access_log off;\n"
        f"client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n"
        f"fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n{site}}}\n"
    )
    assert NGINX
    command = [NGINX, "-p", str(place), "-c", str(place / "nginx.conf"), "-e", "stderr", "-g", "daemon off;"]
    with subprocess.Popen(command) as process:
        try:
            for _ in range(200):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).close()
                    break
                time.sleep(0.05)
            yield
        finally:
            process.terminate()


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_nginx_serves_what_is_public_and_leaves_the_rest_to_the_farm(
    server: Server, signer: Signer, tmp_path: Path
) -> None:
    port = free_port()
    archive = LocalArchive(server.home / "archive", url=f"http://127.0.0.1:{port}")
    for address in (PPA, HIDDEN):
        archive.ensure_ppa(
            address,
            series=[SERIES],
            architectures=[architecture()],
            uploaders=[signer.public],
            private=address == HIDDEN,
        )
        accept(archive, signer, tmp_path, address, "1.0-1")
    secret = archive.create_token(HIDDEN, "anna", by="the test")
    (archive.public_directory(PPA) / "dists/.new").write_text("half")
    site = replaced(
        block("nginx"),
        ("listen 80", f"listen 127.0.0.1:{port}"),
        ("/srv/farm/var/archive/public", str(server.home / "archive/public")),
        ("http://127.0.0.1:8011", server.url),
    )
    with running_nginx(tmp_path / "nginx", site, port):
        for address in (PPA, HIDDEN):
            apt = Apt(tmp_path / f"apt-{address.name}", archive.sources_text(address, SERIES))
            (apt.root / "etc/apt/auth.conf.d").mkdir()
            (apt.root / "etc/apt/auth.conf.d/hidden.conf").write_text(
                f"machine http://127.0.0.1:{port}/demo/hidden/ login anna password {secret}\n"
            )
            apt.run("update")
            apt.run("source", "--download-only", "hello")
        assert status(port, "/demo/trunk/") == status(port, "/demo/trunk/dists/") == 200
        assert status(port, "/demo/trunk/dists/.new") == 404
        assert status(port, f"/demo/hidden/dists/{SERIES}/InRelease") == 401
        server.stop()
        assert status(port, f"/demo/trunk/dists/{SERIES}/InRelease") == 200
        assert status(port, "/demo/trunk/") == 502
    archive.close()


def status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_a_copy_is_whole_though_the_archive_publishes_meanwhile(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    accept(archive, signer, tmp_path, PPA, "1.0-1")
    mirror = tmp_path / "mirror"
    text = archive.sources_text(PPA, SERIES).replace("http://archive.example", f"file:{mirror}")
    apt = Apt(tmp_path / "apt", text)
    steps = [
        shlex.split(replaced(line, ("mirror:/srv/packages", str(mirror))) if "mirror:" in line else line)
        for line in block("sh").splitlines()[1:]
    ]
    for round_ in range(2):
        for number, step in enumerate(steps):
            subprocess.run(step, cwd=archive.root, check=True)
            accept(archive, signer, tmp_path, PPA, f"1.{round_}-{number + 2}")
            if round_ or number == len(steps) - 1:
                apt.run("update")
                apt.run("source", "--download-only", "hello")
    assert not list(mirror.rglob(".*"))
