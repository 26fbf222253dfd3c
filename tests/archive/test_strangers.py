"""What strangers can learn, and how much they can take up: nothing of private PPAs, and no more than a share."""

from __future__ import annotations

import contextlib
import ftplib
import gzip
import hashlib
import socket
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet import defer
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Site

from ppa_tools.address import Address
from ppa_tools.archives.bodies import ArchiveRequest, Body, Gate
from ppa_tools.archives.connections import CONNECTIONS
from ppa_tools.archives.debfile import read_deb_control
from ppa_tools.archives.desk import Desk
from ppa_tools.archives.dropbox import Dropboxes, DropLimits, NoRoom
from ppa_tools.archives.history.content import KEPT_REFUSALS
from ppa_tools.archives.local import LocalArchive, UploadRefused
from ppa_tools.archives.upload_paths import Target
from tests.archive.conftest import PPA, SERIES, Signer, architecture, changes_text, make_source
from tests.archive.test_server import get, put
from tests.archive.uploads import Uploads, in_order, send, serving

HIDDEN = Address("local", "demo", "hidden")


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Iterator[Uploads]:
    """A server with a public and a private PPA."""
    with serving(tmp_path_factory.mktemp("strangers") / "home", signer) as one:
        one.archive.ensure_ppa(
            HIDDEN, series=[SERIES], architectures=[architecture()], uploaders=[signer.public], private=True
        )
        yield one


def test_by_ftp_a_private_ppa_is_as_one_that_is_not_there(
    uploads: Uploads, stranger: Signer, tmp_path: Path
) -> None:
    changes = make_source(tmp_path / "s", stranger)
    for where in ("~demo/{}", f"~demo/{{}}/{SERIES}", "~demo/{}/sid", "~demo/ubuntu/{}"):
        told = []
        for name in ("hidden", "nosuch"):
            with pytest.raises(ftplib.error_temp, match=r"^451 refused: there is no local:demo/") as refused:
                send(uploads, changes, where.format(name))
            told.append(str(refused.value).replace(name, ""))
        assert told[0] == told[1]
    reasons = {one.reason for one in uploads.archive.refusals(HIDDEN)}
    assert any("is not known here" in reason for reason in reasons)


def test_by_http_a_private_ppa_is_as_one_that_is_not_there(
    uploads: Uploads, stranger: Signer, tmp_path: Path
) -> None:
    changes = make_source(tmp_path / "s", stranger)
    key = hashlib.sha256(changes.read_bytes()).hexdigest()
    for series in (SERIES, "sid"):
        path = f"/upload/demo/{{}}/{series}/{key}"
        asked = [get(uploads.url + path.format(name))[:2] for name in ("hidden", "nosuch")]
        assert asked[0] == asked[1]
        for file in in_order(changes):
            there, not_there = (
                put(uploads, f"{path.format(name)}/{file.name}", file.read_bytes())
                for name in ("hidden", "nosuch")
            )
            assert (there[0], there[1].replace(b"hidden", b"nosuch")) == not_there
        assert there[0] == 404


def test_uploaders_of_a_private_ppa_are_told_what_is_wrong(
    uploads: Uploads, signer: Signer, tmp_path: Path
) -> None:
    changes = make_source(tmp_path / "s", signer)
    with pytest.raises(
        ftplib.error_temp, match=r"says Distribution: bookworm; it was sent to sid|has no series sid"
    ):
        send(uploads, changes, "~demo/hidden/sid")
    assert send(uploads, changes, "~demo/hidden").startswith("226 accepted")


@pytest.mark.parametrize("ppa", ["trunk", "hidden", "nosuch"])
def test_what_names_no_series_is_told_so_whatever_is_there(ppa: str, uploads: Uploads, tmp_path: Path) -> None:
    (changes := tmp_path / "x_1_source.changes").write_text("junk\n")
    with pytest.raises(ftplib.error_temp, match=r"^451 refused: x_1_source\.changes has no Distribution"):
        send(uploads, changes, f"~demo/{ppa}")


def test_what_a_refusal_quotes_is_a_line_of_bounded_length(
    uploads: Uploads, signer: Signer, tmp_path: Path
) -> None:
    changes = make_source(tmp_path / "s", signer)
    names = [path.name for path in in_order(changes)[:-1]]
    text = changes_text(changes.parent, names, source="hello", version="1.0-1")
    changes.write_bytes(
        signer.sign(text.replace(f"Distribution: {SERIES}", "Distribution: \x1b[31m" + "x" * 9000))
    )
    with pytest.raises(ftplib.error_temp) as refused:
        send(uploads, changes, f"~demo/trunk/{SERIES}")
    reason = uploads.refusals()[0].reason
    assert reason.startswith("the .changes says Distribution: ?[31mxxx")
    for said in (str(refused.value), reason, uploads.log.splitlines()[-1]):
        assert len(said) < 1200
        assert said.isprintable()


def test_who_changed_a_source_is_kept_as_a_line_of_bounded_length(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    changes = make_source(tmp_path / "s", signer)
    names = [path.name for path in in_order(changes)[:-1]]
    text = changes_text(changes.parent, names, source="hello", version="1.0-1")
    changes.write_bytes(signer.sign(text.replace("Changed-By: ", "Changed-By: \x1b]0;" + "x" * 9000)))
    archive.accept_source(PPA, SERIES, changes.parent, changes.name)
    why = archive.publications(PPA)[0].source.span.why
    assert why.startswith("uploaded by ?]0;xxx")
    assert len(why) < 300


def test_who_was_removed_while_their_upload_was_checked_is_refused(
    archive: LocalArchive, signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = make_source(tmp_path / "s", signer)
    before = archive.uploaders(PPA)
    archive.remove_uploader(PPA, signer.fingerprint)
    monkeypatch.setattr(archive, "uploaders", lambda _: before)  # as they were when the check began
    with pytest.raises(UploadRefused, match="may upload to local:demo/trunk no longer"):
        archive.accept_source(PPA, SERIES, changes.parent, changes.name)
    assert archive.publications(PPA) == ()


@pytest.mark.parametrize(
    ("request_line", "header", "status"),
    [
        (b"GET /demo/trunk/pool/%00", b"", 404),
        (b"GET /demo/trunk/dists/%00/x", b"", 404),
        (b"GET /demo/hidden/", b"Authorization: Basic \xff\xff", 401),
        (b"PUT /~demo/hidden/x.dsc", b"Authorization: Basic \xff\xff", 401),
        (b"PUT *", b"", 405),
        (b"GET /api/demo/trunk/publications?source=%00", b"", 200),
    ],
)
def test_odd_requests_are_answered_and_leave_no_trace_in_the_log(
    request_line: bytes, header: bytes, status: int, uploads: Uploads
) -> None:
    before = uploads.log
    with socket.create_connection(("127.0.0.1", uploads.port), timeout=60) as one:
        one.sendall(request_line + b" HTTP/1.1\r\nContent-Length: 1\r\n" + (header or b"A: b") + b"\r\n\r\nx")
        assert one.recv(12) == b"HTTP/1.1 %d" % status
    assert uploads.log == before


def test_a_package_whose_headers_nest_without_end_is_refused(tmp_path: Path) -> None:
    link = tarfile.TarInfo("././@LongLink")
    link.type, link.size = tarfile.GNUTYPE_LONGNAME, 1
    control = gzip.compress((link.tobuf() + bytes(512)) * 5000)
    path = tmp_path / "x_1_amd64.deb"
    path.write_bytes(b"!<arch>\n")
    with path.open("ab") as deb:
        for name, data in (("debian-binary", b"2.0\n"), ("control.tar.gz", control), ("data.tar.gz", control)):
            deb.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode())
            deb.write(data + b"\n" * (len(data) % 2))
    with pytest.raises(UploadRefused, match="is no Debian package"):
        read_deb_control(path)


def test_other_users_of_the_machine_reach_what_is_public_alone(uploads: Uploads) -> None:
    root = uploads.home / "archive"
    closed = ("blobs", "private", "incoming", "incoming-binaries", "dropboxes", "index-blocks", "history.sqlite")
    assert [name for name in closed if (root / name).stat().st_mode & 0o077] == []
    assert stat.S_IMODE((root / "public").stat().st_mode) == 0o755


def test_silent_connections_keep_nobody_out(uploads: Uploads, signer: Signer, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS + 20):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", uploads.port), timeout=60))
            one.sendall(b"GET / HTTP/1.1\r\n")
        assert get(f"{uploads.url}/demo/trunk/")[0] == 200
        changes = make_source(tmp_path / "s", signer, source="other")
        assert send(uploads, changes, "~demo/trunk").startswith("226 accepted")


def test_a_session_has_few_files_open_at_a_time(archive: LocalArchive, tmp_path: Path) -> None:
    boxes = Dropboxes(tmp_path / "boxes", Desk(archive, print), DropLimits(files_at_once=2, free_bytes=0))
    box = boxes.open("192.0.2.1", "sftp")
    coming = [box.begin(Target(PPA), f"x{n}.dsc") for n in range(2)]
    with pytest.raises(NoRoom, match="2 files are on their way"):
        box.begin(Target(PPA), "x2.dsc")
    coming[0].abandon()
    box.begin(Target(PPA), "x2.dsc")
    boxes.close()


def test_an_ipv6_network_has_no_more_sessions_than_an_ipv4_address(archive: LocalArchive, tmp_path: Path) -> None:
    boxes = Dropboxes(tmp_path / "boxes", Desk(archive, print), DropLimits(sessions_per_peer=2))
    for peer in ("192.0.2.{}", "2001:db8::{}", "::ffff:198.51.100.7"):
        for n in range(2):
            boxes.open(peer.format(n if peer.startswith("2001") else 1), "ftp")
        with pytest.raises(NoRoom, match="too many uploads of yours"):
            boxes.open(peer.format(3 if peer.startswith("2001") else 1), "ftp")
    boxes.open("2001:db8:0:1::1", "ftp")
    boxes.close()


def test_strangers_push_no_uploaders_refusal_out_of_the_record(archive: LocalArchive, signer: Signer) -> None:
    archive.note_refusal(PPA, SERIES, "x.changes", "too old", by=signer.fingerprint, via="ftp")
    for _ in range(KEPT_REFUSALS + 5):
        archive.note_refusal(PPA, SERIES, "y.changes", "it is not signed", via="ftp")
    kept = archive.refusals(PPA, limit=2 * KEPT_REFUSALS)
    assert len(kept) == KEPT_REFUSALS + 1
    assert kept[-1].signer == signer.fingerprint


class Piece(Body):
    """A body that is kept in memory."""

    def __init__(self) -> None:
        super().__init__(Path(), {})
        self.data = b""
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.data += data

    def close(self) -> None:
        self.is_closed = True


class Slow:
    """A way in whose look-ups end when the test says so."""

    def __init__(self) -> None:
        self.found = defer.Deferred[Body]()

    def admit(self, _request: ArchiveRequest, _path: list[bytes], _length: int | None) -> defer.Deferred[Body]:
        return self.found


@pytest.fixture
def slow() -> tuple[Slow, IProtocol, StringTransport]:
    way, transport = Slow(), StringTransport()

    class BoundRequest(ArchiveRequest):
        gate = Gate({}, way)

        def process(self) -> None:
            self.setHeader(b"content-length", b"4")
            self.write(b"done")
            self.finish()

    channel = Site(Resource(), requestFactory=BoundRequest, timeout=None).buildProtocol(transport.getPeer())
    channel.makeConnection(transport)
    channel.dataReceived(b"PUT /~demo/trunk/x.dsc HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nfour")
    return way, channel, transport


def test_a_body_waits_outside_while_its_token_is_looked_up(
    slow: tuple[Slow, IProtocol, StringTransport],
) -> None:
    way, channel, transport = slow
    assert transport.producerState == "paused"
    body = Piece()
    way.found.callback(body)
    assert transport.producerState == "producing"
    channel.dataReceived(b"more")
    assert body.data == b"fourmore"
    assert transport.value().endswith(b"\r\n\r\ndone")


def test_whoever_hangs_up_while_their_token_is_looked_up_leaves_nothing(
    slow: tuple[Slow, IProtocol, StringTransport],
) -> None:
    way, channel, _ = slow
    channel.connectionLost(Failure(ConnectionDone()))
    body = Piece()
    way.found.callback(body)
    assert body.is_closed
