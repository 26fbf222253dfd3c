"""Private PPAs over HTTP: who reads them, what strangers learn, and stock apt with and without a token."""

from __future__ import annotations

import base64
import http.client
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildfarm.build.ppa_source import find_ppa
from ppa_tools.address import Address
from ppa_tools.archives.local import LocalArchive
from ppa_tools.archives.reading import auth_line
from ppa_tools.archives.upload_client import UploadClient
from tests.archive.conftest import SERIES, TOKEN, Apt, Server, Signer, architecture, make_binaries, make_source

HIDDEN, OTHER = Address("local", "demo", "hidden"), Address("local", "demo", "hidden-too")


def ask(server: Server, path: str, authorization: str = "", method: str = "GET") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request(method, path, headers={"Authorization": authorization} if authorization else {})
    answer = connection.getresponse()
    answer.body = answer.read()  # type: ignore[attr-defined]
    connection.close()
    return answer


def basic(password: str, user: str = "anybody") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def shelf(server: Server, signer: Signer, tmp_path: Path) -> Iterator[LocalArchive]:
    """The served archive, with a package in one private PPA, and another one beside it."""
    archive = LocalArchive(server.home / "archive", url=server.url)
    for address in (HIDDEN, OTHER):
        archive.ensure_ppa(
            address, series=[SERIES], architectures=[architecture()], uploaders=[signer.public], private=True
        )
    changes = make_source(tmp_path / "s", signer)
    archive.accept_source(HIDDEN, SERIES, changes.parent, changes.name)
    built = make_binaries(tmp_path / "b")
    archive.accept_binaries(HIDDEN, SERIES, architecture(), built.parent, built.name, "a worker")
    archive.publish(HIDDEN)
    yield archive
    archive.close()


PATHS = (
    "/demo/hidden/",
    "/demo/hidden",
    "/demo/hidden/key.asc",
    f"/demo/hidden/hidden-{SERIES}.sources",
    "/demo/hidden/dists/",
    f"/demo/hidden/dists/{SERIES}/InRelease",
    "/demo/hidden/pool/main/h/hello/hello_1.0-1.dsc",
    "/demo/hidden/nosuch",
    "/api/demo/hidden/publications",
)


def test_strangers_learn_nothing_of_a_private_ppa_not_even_that_it_is_there(
    server: Server, shelf: LocalArchive
) -> None:
    for path in PATHS:
        for authorization in ("", basic("wrong"), "Bearer wrong", "Basic ?", "Bearer", basic(""), "Digest x"):
            there, not_there = (
                ask(server, name, authorization) for name in (path, path.replace("hidden", "nosuch"))
            )
            assert (there.status, not_there.status) == (401, 401), (path, authorization)
            assert there.getheader("WWW-Authenticate") == 'Basic realm="demo/hidden"'
            assert not_there.getheader("WWW-Authenticate") == 'Basic realm="demo/nosuch"'
            assert there.body.replace(b"hidden", b"nosuch") == not_there.body  # type: ignore[attr-defined]
    assert b"hidden" not in ask(server, "/").body  # type: ignore[attr-defined]
    assert ask(server, "/demo/hidden/", method="HEAD").status == 401


def test_a_token_reads_its_own_ppa_and_no_other_until_it_is_revoked(server: Server, shelf: LocalArchive) -> None:
    secret = shelf.create_token(HIDDEN, "anna", by="the test")
    for authorization in (basic(secret), basic(secret, "anna"), f"Bearer {secret}", f"bearer {secret}"):
        statuses = {path: ask(server, path, authorization).status for path in PATHS}
        assert statuses == {
            **dict.fromkeys(PATHS, 200),
            "/demo/hidden": 302,
            "/demo/hidden/nosuch": 404,
        }
        assert ask(server, "/demo/hidden-too/", authorization).status == 401
    page, sources = (ask(server, path, basic(secret)) for path in ("/demo/hidden/", PATHS[3]))
    assert b"private" in page.body  # type: ignore[attr-defined]
    assert auth_line(server.url, HIDDEN).encode() in page.body  # type: ignore[attr-defined]
    for answer in (page, sources):
        assert secret.encode() not in answer.body  # type: ignore[attr-defined]
    shelf.revoke_token(HIDDEN, "anna")
    assert {ask(server, path, basic(secret)).status for path in PATHS} == {401}


def test_the_farms_workers_read_private_ppas_and_learn_which_are_not_there(
    server: Server, shelf: LocalArchive
) -> None:
    client = UploadClient(server.url, TOKEN)
    assert client.published_build(HIDDEN, SERIES, "hello", "1.0-1", architecture()).built
    assert b"Suite: bookworm" in client.in_release(HIDDEN, SERIES)
    assert ask(server, "/demo/nosuch/", f"Bearer {TOKEN}").status == 404


def test_a_build_goes_without_a_private_ppa_and_says_so(server: Server, shelf: LocalArchive) -> None:
    assert find_ppa(HIDDEN, SERIES, server.url) == (
        f"local:demo/hidden is private: build-dependencies from {SERIES} alone"
    )


def test_stock_apt_reads_a_private_ppa_with_a_token_in_auth_conf(
    server: Server, shelf: LocalArchive, tmp_path: Path
) -> None:
    apt = Apt(tmp_path / "apt", shelf.sources_text(HIDDEN, SERIES))
    with pytest.raises(AssertionError, match="401"):
        apt.run("update")
    secret = shelf.create_token(HIDDEN, "anna", by="the test")
    parts = apt.root / "etc/apt/auth.conf.d"
    parts.mkdir()
    line = auth_line(server.url, HIDDEN)
    (parts / "hidden.conf").write_text(line.replace("NAME", "anna").replace("TOKEN", secret) + "\n")
    apt.run("update")
    apt.run("install", "--download-only", "hello")
    apt.run("source", "--download-only", "hello")
    assert (apt.root / "hello_1.0-1.dsc").is_file()
    shelf.revoke_token(HIDDEN, "anna")
    shutil.rmtree(apt.root / "var/lib/apt/lists")
    (apt.root / "var/lib/apt/lists/partial").mkdir(parents=True)
    with pytest.raises(AssertionError, match="401"):
        apt.run("update")


def test_apt_gives_a_ppas_token_to_no_neighbour(server: Server, shelf: LocalArchive, tmp_path: Path) -> None:
    """The path in auth.conf is a prefix: the slash at its end keeps demo/hidden apart from demo/hidden-too."""
    apt = Apt(tmp_path / "apt", shelf.sources_text(OTHER, SERIES))
    secret = shelf.create_token(OTHER, "anna", by="the test")
    (apt.root / "etc/apt/auth.conf.d").mkdir()
    line = auth_line(server.url, HIDDEN).replace("NAME", "anna").replace("TOKEN", secret)
    (apt.root / "etc/apt/auth.conf.d/hidden.conf").write_text(line + "\n")
    with pytest.raises(AssertionError, match="401"):
        apt.run("update")


def test_the_command_on_the_page_adds_a_private_ppa_with_the_token_as_password(
    server: Server, shelf: LocalArchive
) -> None:
    secret = shelf.create_token(HIDDEN, "anna", by="the test")
    command = shelf.one_liner(HIDDEN, SERIES).split(" | ")[0].split()
    assert command[:4] == ["curl", "-fsSL", "-u", "token"]
    # curl reads the password from the terminal; its configuration file says the same here
    fetched = subprocess.run(
        ["curl", "-fsSL", "-K", "-", command[-1]],
        input=f'user = "token:{secret}"\n',
        capture_output=True,
        text=True,
        check=True,
    )
    assert fetched.stdout == shelf.sources_text(HIDDEN, SERIES)


def test_what_becomes_public_or_private_is_served_so_at_once(server: Server, shelf: LocalArchive) -> None:
    in_release = f"/demo/hidden/dists/{SERIES}/InRelease"
    shelf.configure(HIDDEN, private=False, consent=True, by="the test")
    assert ask(server, in_release).status == 200
    assert b"hidden" in ask(server, "/").body  # type: ignore[attr-defined]
    shelf.configure(HIDDEN, private=True, by="the test")
    assert ask(server, in_release).status == 401
    assert not (server.home / "archive/public/demo/hidden").exists()


def test_tokens_stand_in_no_log(server: Server, shelf: LocalArchive, tmp_path: Path) -> None:
    server.stop()
    secret = shelf.create_token(HIDDEN, "anna", by="the test")
    shutil.rmtree(shelf.directory_of(shelf.ppa(HIDDEN)) / "dists")
    (shelf.directory_of(shelf.ppa(HIDDEN)) / "dists").write_text("no directory")
    with (tmp_path / "log").open("w") as log:
        server.start(log)
        for authorization in (basic(secret), f"Bearer {secret}", basic("wrong-secret"), basic(TOKEN)):
            for path in (*PATHS, "/upload/demo/hidden", f"/~demo/hidden/{SERIES}/x.dsc"):
                ask(server, path, authorization)
                ask(server, path, authorization, method="PUT")
        server.stop()
    said = (tmp_path / "log").read_text()
    for word in (secret, "wrong-secret", TOKEN, basic(secret).split()[1]):
        assert word not in said
