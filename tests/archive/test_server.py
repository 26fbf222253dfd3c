"""The served archive, as stock apt and as uploaders meet it: real processes over the loopback."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from ppa_tools.archives.durable import digests_of
from ppa_tools.archives.errors import ArchiveError, ArchiveUnreachable, UploadRefused
from ppa_tools.archives.incoming import Destination, Incoming, Limits
from ppa_tools.archives.ledger import open_ledger
from ppa_tools.archives.local import LocalArchive
from ppa_tools.archives.upload_client import UploadClient, UploadReceipt
from tests.archive.conftest import (
    PPA,
    SERIES,
    TOKEN,
    Apt,
    Server,
    Signer,
    architecture,
    make_binaries,
    make_source,
)


def get(url: str, **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    request = urllib.request.Request(url, headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def send_source(server: Server, changes: Path, ledger: Path | None = None) -> UploadReceipt:
    return _send(UploadClient(server.url), changes, ledger)


def send_binaries(server: Server, changes: Path) -> UploadReceipt:
    return _send(UploadClient(server.url, TOKEN), changes, None, architecture())


def _send(client: UploadClient, changes: Path, ledger: Path | None, arch: str = "") -> UploadReceipt:
    files = [path for path in changes.parent.iterdir() if path != changes and not path.name.startswith(".")]
    book = open_ledger(ledger or changes.parent.parent / "ledger", str(PPA), digests_of(changes).sha256)
    return client.upload(PPA, SERIES, changes, files, book, architecture=arch)


def key_of(changes: Path) -> str:
    return digests_of(changes).sha256


def put(server: Server, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("PUT", path, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, data


def sources_of(server: Server) -> str:
    status, text, _ = get(f"{server.url}/demo/trunk/trunk-{SERIES}.sources")
    assert status == 200
    return text.decode()


def published(server: Server) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(get(f"{server.url}/api/demo/trunk/publications")[1])["publications"]
    return rows


def test_stock_apt_updates_installs_and_fetches_the_source(server: Server, signer: Signer, tmp_path: Path) -> None:
    send_source(server, make_source(tmp_path / "s", signer))
    send_binaries(server, make_binaries(tmp_path / "b", packages={"hello": architecture(), "hello-data": "all"}))
    apt = Apt(tmp_path / "apt", sources_of(server))
    apt.run("update")
    apt.run("install", "--download-only", "hello", "hello-data")
    archives = {path.name for path in (apt.root / "var/cache/apt/archives").glob("*.deb")}
    assert archives == {f"hello_1.0-1_{architecture()}.deb", "hello-data_1.0-1_all.deb"}
    apt.run("source", "--download-only", "hello")
    subprocess.run(
        ["dpkg-source", "--no-check", "-x", "hello_1.0-1.dsc", "out"],
        cwd=apt.root,
        check=True,
        capture_output=True,
    )
    assert (apt.root / "out/hello.txt").read_text() == "hello\n"


def test_apt_sees_what_was_published_within_the_same_second(
    server: Server, signer: Signer, tmp_path: Path
) -> None:
    apt = Apt(tmp_path / "apt", sources_of(server))
    apt.run("update")
    for n in range(1, 4):
        send_source(server, make_source(tmp_path / f"s{n}", signer, version=f"1.{n}-1"))
        apt.run("update")
        assert f"hello_1.{n}-1.dsc" in apt.run("source", "--print-uris", "hello")


def test_killed_at_any_moment_it_comes_back_with_all_that_was_acknowledged(
    server: Server, signer: Signer, tmp_path: Path
) -> None:
    apt = Apt(tmp_path / "apt", sources_of(server))
    luck = random.Random(20)
    acknowledged = []
    for n in range(10):
        changes = make_source(tmp_path / f"s{n}", signer, version=f"1.{n}-1")
        outcome: list[UploadReceipt] = []

        def attempt(changes: Path = changes, outcome: list[UploadReceipt] = outcome) -> None:
            with contextlib.suppress(ArchiveUnreachable):
                outcome.append(send_source(server, changes))

        sender = threading.Thread(target=attempt)
        sender.start()
        time.sleep(luck.uniform(0, 0.15))
        server.kill()
        sender.join()
        if outcome:
            acknowledged.append(f"1.{n}-1")
        server.start()
        apt.run("update")
        versions = [str(row["version"]) for row in published(server)]
        assert set(acknowledged) <= set(versions)
        again = send_source(server, changes)
        assert again.version == f"1.{n}-1"
        rows = [row for row in published(server) if row["version"] == f"1.{n}-1"]
        assert [row["status"] for row in rows] == ["Published"]
        acknowledged.append(f"1.{n}-1")
    apt.run("update")
    apt.run("source", "--download-only", "hello=1.9-1")


def test_a_half_sent_upload_is_finished_not_repeated(server: Server, signer: Signer, tmp_path: Path) -> None:
    changes = make_source(tmp_path / "s", signer)
    orig = tmp_path / "s/hello_1.0.orig.tar.gz"
    base = f"/upload/demo/trunk/{SERIES}/{key_of(changes)}"
    assert put(server, f"{base}/{changes.name}", changes.read_bytes())[0] == 202
    assert put(server, f"{base}/{orig.name}", orig.read_bytes())[0] == 201
    server.kill()
    server.start()
    receipt = send_source(server, changes)
    assert receipt.sent == ("hello_1.0-1.debian.tar.gz", "hello_1.0-1.dsc", changes.name)


def test_the_same_upload_twice_is_one_upload(server: Server, signer: Signer, tmp_path: Path) -> None:
    changes = make_source(tmp_path / "s", signer)
    first, second = send_source(server, changes), send_source(server, changes)
    assert not first.already
    assert second.already
    assert second.sent == ()
    assert second.in_release_sha256 == first.in_release_sha256
    assert len(published(server)) == 1


def test_two_at_once_with_one_version_end_in_one_publication(
    server: Server, signer: Signer, tmp_path: Path
) -> None:
    uploads = [make_source(tmp_path / f"s{n}", signer, content=b"%d" % n) for n in range(4)]
    ended: list[str] = []

    def attempt(changes: Path) -> None:
        try:
            send_source(server, changes, changes.parent.parent / f"{changes.parent.name}.ledger")
            ended.append("accepted")
        except UploadRefused as error:
            ended.append(str(error))

    threads = [threading.Thread(target=attempt, args=(changes,)) for changes in uploads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended.count("accepted") == 1
    assert all("already" in text for text in ended if text != "accepted")
    assert len(published(server)) == 1


def test_binaries_need_the_workers_token(server: Server, signer: Signer, tmp_path: Path) -> None:
    send_source(server, make_source(tmp_path / "s", signer))
    changes = make_binaries(tmp_path / "b")
    path = f"/upload-binaries/demo/trunk/{SERIES}/{architecture()}/{key_of(changes)}/x.deb"
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
        status, body = put(server, path, b"x", **headers)
        assert (status, json.loads(body)["reason"]) == (401, "the workers' token is wanted")
    with pytest.raises(ArchiveError, match="token"):
        _send(UploadClient(server.url, "wrong"), changes, None, architecture())
    assert list((server.home / "archive/incoming").iterdir()) == []


def test_a_refused_upload_leaves_nothing_and_says_why(
    server: Server, signer: Signer, stranger: Signer, tmp_path: Path
) -> None:
    with pytest.raises(UploadRefused, match="is not known here"):
        send_source(server, make_source(tmp_path / "s", stranger))
    assert list((server.home / "archive/incoming").iterdir()) == []
    assert published(server) == []


def unfinished(server: Server) -> list[str]:
    places = [server.home / "archive/incoming", server.home / "archive/incoming-binaries"]
    return [path.name for place in places for path in place.iterdir()]


def open_put(server: Server, path: str, size_bytes: int, sent: bytes = b"") -> http.client.HTTPConnection:
    """A PUT that has sent its head and the beginning of its body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest("PUT", path)
    connection.putheader("Content-Length", str(size_bytes))
    connection.endheaders()
    connection.send(sent)
    return connection


def test_nothing_is_kept_of_files_that_no_signed_changes_names(
    server: Server, signer: Signer, tmp_path: Path
) -> None:
    for n in range(250):
        status, body = put(server, f"/upload/demo/trunk/{SERIES}/{n:064x}/x.dsc", b"x")
        assert (status, json.loads(body)["reason"][:22]) == (409, "send the .changes firs")
    assert unfinished(server) == []
    changes = make_source(tmp_path / "s", signer)
    base = f"/upload/demo/trunk/{SERIES}/{key_of(changes)}"
    assert put(server, f"{base}/{changes.name}", changes.read_bytes())[0] == 202
    assert put(server, f"{base}/other.dsc", b"x")[0] == 422
    assert put(server, f"{base}/hello_1.0-1.dsc", b"x")[0] == 422
    right_size = b"x" * (tmp_path / "s/hello_1.0-1.dsc").stat().st_size
    assert put(server, f"{base}/hello_1.0-1.dsc", right_size)[0] == 422
    assert send_source(server, changes).version == "1.0-1"
    assert unfinished(server) == []


def test_a_strangers_changes_keeps_no_place(
    server: Server, signer: Signer, stranger: Signer, tmp_path: Path
) -> None:
    changes = make_source(tmp_path / "s", stranger)
    path = f"/upload/demo/trunk/{SERIES}/{key_of(changes)}/{changes.name}"
    assert put(server, path, changes.read_bytes())[0] == 422
    assert unfinished(server) == []


@pytest.mark.parametrize(
    ("path", "size_bytes", "status"),
    [
        (f"/upload/demo/trunk/{SERIES}/{'0' * 64}/x.changes", 512 << 20, 413),
        (f"/upload/demo/trunk/{SERIES}/{'0' * 64}/x.orig.tar.xz", 1 << 30, 409),
        (f"/upload-binaries/demo/trunk/{SERIES}/amd64/{'0' * 64}/x.changes", 1 << 20, 401),
        ("/upload/demo", 1 << 20, 404),
        ("/demo/trunk/", 1 << 20, 413),
    ],
)
def test_a_body_that_is_not_wanted_is_refused_by_its_head(
    server: Server, path: str, size_bytes: int, status: int
) -> None:
    connection = open_put(server, path, size_bytes)
    assert connection.getresponse().status == status
    connection.close()
    assert unfinished(server) == []


def test_slow_strangers_keep_nobody_from_uploading(server: Server, signer: Signer, tmp_path: Path) -> None:
    slow = [
        open_put(server, f"/upload/demo/trunk/{SERIES}/{n:064x}/x.changes", 1000, b"x")
        for n in range(Limits().open_bodies + 10)
    ]
    assert send_source(server, make_source(tmp_path / "s", signer)).version == "1.0-1"
    assert len(unfinished(server)) < Limits().open_bodies
    for connection in slow:
        connection.close()


def test_the_upload_that_was_idle_longest_gives_way_to_a_new_one(tmp_path: Path) -> None:
    incoming = Incoming(tmp_path / "in", Limits(open_uploads=2))
    incoming.root.mkdir()
    uploads = [Destination(PPA, SERIES, "source", f"{n:064x}") for n in range(3)]
    for n, upload in enumerate(uploads[:2]):
        changes = tmp_path / f"{n}.changes"
        changes.touch()
        incoming.open(upload, "x.changes", changes, [])
    (tmp_path / "2.changes").touch()
    with pytest.raises(ArchiveError, match="too many uploads"):
        incoming.open(uploads[2], "x.changes", tmp_path / "2.changes", [])
    long_ago = time.time() - 1000
    os.utime(incoming.directory(uploads[1]), (long_ago, long_ago))
    incoming.open(uploads[2], "x.changes", tmp_path / "2.changes", [])
    assert [bool(incoming.held(upload)) for upload in uploads] == [True, False, True]


def test_odd_requests_are_refused_and_leave_nothing(server: Server) -> None:
    base, key = f"/upload/demo/trunk/{SERIES}", "0" * 64
    incoming = server.home / "archive/incoming"
    assert put(server, f"{base}/{key}/..%2f..%2fetc", b"x")[0] == 422
    assert put(server, f"{base}/{key}/.hidden", b"x")[0] == 422
    assert put(server, f"{base}/short/x.dsc", b"x")[0] == 404
    assert put(server, f"/upload/no/such/{SERIES}/{key}/x.dsc", b"x")[0] == 409
    assert put(server, f"/upload/demo/trunk/a%0ab/{key}/x.changes", b"x")[0] == 404
    assert put(server, f"/upload/demo/trunk/nosuch/{hashlib.sha256(b'x').hexdigest()}/x.changes", b"x")[0] == 404
    assert put(server, f"{base}/{key}/x.changes", b"x")[0] == 422
    assert put(server, f"{base}/{key}/x.dsc", b"")[0] == 411
    for header, value, status in (("Transfer-Encoding", "chunked", 411), ("Content-Length", str(10 << 30), 413)):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.putrequest("PUT", f"{base}/{key}/x.orig.tar.xz")
        connection.putheader(header, value)
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()
    assert list(incoming.iterdir()) == []


def test_nothing_outside_the_published_files_can_be_read(server: Server) -> None:
    for path in (
        "/demo/trunk/dists/../../../history.sqlite",
        "/demo/trunk/dists/%2e%2e/%2e%2e/%2e%2e/%2e%2e/history.sqlite",
        "/demo/trunk/dists/..%2f..%2f..%2f..%2fhistory.sqlite",
        "/demo/trunk/pool/%2fetc/passwd",
        "/demo/trunk/pool//etc/passwd",
        f"/demo/trunk/dists/{SERIES}/.new-x",
        "/../history.sqlite",
        "/demo/%00/dists/",
    ):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.putrequest("GET", path, skip_host=False)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 404, path
        assert b"SQLite" not in body
        assert b"root:" not in body
        connection.close()


def test_files_are_served_with_ranges_conditions_and_exact_types(
    server: Server, signer: Signer, tmp_path: Path
) -> None:
    send_source(server, make_source(tmp_path / "s", signer))
    send_binaries(server, make_binaries(tmp_path / "b"))
    base = f"{server.url}/demo/trunk"
    status, packed, headers = get(f"{base}/dists/{SERIES}/main/source/Sources.gz")
    assert (status, headers["Content-Type"], headers["Content-Encoding"]) == (200, "application/gzip", None)
    assert b"Package: hello" in gzip.decompress(packed)
    by_hash = f"{base}/dists/{SERIES}/main/source/by-hash/SHA256/{hashlib.sha256(packed).hexdigest()}"
    assert get(by_hash)[1] == packed
    deb = f"{base}/pool/main/h/hello/hello_1.0-1_{architecture()}.deb"
    status, whole, headers = get(deb)
    assert (status, headers["Content-Type"]) == (200, "application/vnd.debian.binary-package")
    status, part, _ = get(deb, Range="bytes=10-19")
    assert (status, part) == (206, whole[10:20])
    assert get(deb, If_None_Match=headers["ETag"])[0] == 304
    assert get(deb, If_Modified_Since=headers["Last-Modified"])[0] == 304


def test_the_pages_show_what_is_there_and_escape_it(server: Server, signer: Signer, tmp_path: Path) -> None:
    archive = LocalArchive(server.home / "archive", url=server.url)
    archive.ensure_ppa(PPA, description="<script>alert(1)</script>")
    archive.close()
    send_source(server, make_source(tmp_path / "s1", signer))
    send_source(server, make_source(tmp_path / "s2", signer, version="1.1-1"))
    status, page, _ = get(f"{server.url}/demo/trunk/")
    text = page.decode()
    assert status == 200
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    for word in ("hello", "1.0-1", "1.1-1", "Superseded", "Published", f"trunk-{SERIES}.sources", "curl -fsSL"):
        assert word in text
    assert "local:demo/trunk" in get(f"{server.url}/")[1].decode()
    assert get(f"{server.url}/demo/trunk")[1] == page  # by a redirection
    assert get(f"{server.url}/demo/nosuch/")[0] == 401
    assert get(f"{server.url}/demo/trunk/key.asc")[1].startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")


def test_it_ends_cleanly_when_told_to(server: Server) -> None:
    assert server.stop() == 0


def test_a_second_server_on_the_same_port_says_so_in_a_sentence(server: Server) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "buildfarm", "archive", "serve"],
        env={**os.environ, "BUILDFARM_HOME": str(server.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 3
    assert f"cannot listen on 127.0.0.1:{server.port}" in second.stderr
    assert "Traceback" not in second.stderr


def test_publishing_that_was_interrupted_is_done_at_start(server: Server, signer: Signer, tmp_path: Path) -> None:
    server.stop()
    archive = LocalArchive(server.home / "archive", url=server.url)
    changes = make_source(tmp_path / "s", signer)
    archive.accept_source(PPA, SERIES, changes.parent, changes.name)  # and killed before it publishes
    archive.close()
    server.start()
    assert [row["status"] for row in published(server)] == ["Published"]
    apt = Apt(tmp_path / "apt", sources_of(server))
    apt.run("update")
    apt.run("source", "--download-only", "hello")


def test_the_plain_files_alone_serve_apt(server: Server, signer: Signer, tmp_path: Path) -> None:
    send_source(server, make_source(tmp_path / "s", signer))
    public = server.home / "archive/public/demo/trunk"
    copy = shutil.copytree(public, tmp_path / "copy")
    text = sources_of(server).replace(f"{server.url}/demo/trunk", f"file:{copy}")
    apt = Apt(tmp_path / "apt", text)
    apt.run("update")
    apt.run("source", "--download-only", "hello")
