"""The pages of a served archive, its directories, and its files as HTTP wants them: ranges, conditions, types."""

from __future__ import annotations

import html
import http.client
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppa_tools.archives import ppa_page
from ppa_tools.archives.local import LocalArchive, Status, Wanted
from ppa_tools.archives.ppa_page import Query
from ppa_tools.archives.words import moment_in_words, read_moment, read_size, size_in_words
from tests.archive.conftest import PPA, SERIES, Server, Signer, architecture, make_binaries, make_source

DEB = f"/demo/trunk/pool/main/h/hello/hello_1.0-1_{architecture()}.deb"
IN_RELEASE = f"/demo/trunk/dists/{SERIES}/InRelease"


def ask(
    server: Server, path: str, method: str = "GET", **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body, answer.headers


@pytest.fixture
def shelf(server: Server, signer: Signer, tmp_path: Path) -> Iterator[LocalArchive]:
    """The served archive, with a package in it."""
    archive = LocalArchive(server.home / "archive", url=server.url)
    changes = make_source(tmp_path / "s", signer)
    archive.accept_source(PPA, SERIES, changes.parent, changes.name)
    built = make_binaries(tmp_path / "b")
    archive.accept_binaries(PPA, SERIES, architecture(), built.parent, built.name, "a worker")
    archive.publish(PPA)
    yield archive
    archive.close()


def accept(archive: LocalArchive, signer: Signer, directory: Path, source: str, version: str = "1.0-1") -> None:
    changes = make_source(directory / f"{source}-{version}", signer, source=source, version=version)
    archive.accept_source(PPA, SERIES, changes.parent, changes.name)


def shown_of(archive: LocalArchive, query: Query | None = None) -> str:
    return ppa_page.ppa_page(archive, archive.ppa(PPA), query or Query())


def sources_on(page: str) -> list[str]:
    return re.findall(r"<tr><td>(pkg-\w+)</td>", page)


def test_files_come_whole_in_parts_or_not_again(server: Server, shelf: LocalArchive) -> None:
    status, whole, headers = ask(server, DEB)
    assert (status, headers["Accept-Ranges"], headers["Content-Length"]) == (200, "bytes", str(len(whole)))
    etag, date = headers["ETag"], headers["Last-Modified"]
    for asked, part in (("bytes=10-19", whole[10:20]), ("bytes=10-", whole[10:]), ("bytes=-5", whole[-5:])):
        status, body, headers = ask(server, DEB, Range=asked)
        assert (status, body) == (206, part)
        assert headers["Content-Range"].endswith(f"/{len(whole)}")
    assert ask(server, DEB, Range=f"bytes={len(whole)}-")[0] == 416
    assert ask(server, DEB, Range="bytes=0-1,3-4,6-7")[:2] == (200, whole)
    assert ask(server, DEB, If_None_Match=etag)[:2] == (304, b"")
    assert ask(server, DEB, If_Modified_Since=date)[:2] == (304, b"")
    assert ask(server, DEB, If_None_Match='"other"', If_Modified_Since=date)[:2] == (200, whole)
    for known in (etag, date):
        assert ask(server, DEB, Range="bytes=10-", If_Range=known)[:2] == (206, whole[10:])
    for other in ('"other"', "Thu, 01 Jan 1998 00:00:00 GMT"):
        assert ask(server, DEB, Range="bytes=10-", If_Range=other)[:2] == (200, whole)


def test_head_says_what_get_would(server: Server, shelf: LocalArchive) -> None:
    for path in (DEB, IN_RELEASE, "/demo/trunk/", "/demo/trunk/key.asc", "/demo/trunk/dists/", "/"):
        status, body, headers = ask(server, path)
        head_status, nothing, head = ask(server, path, "HEAD")
        assert (status, head_status, nothing) == (200, 200, b""), path
        for name in ("Content-Type", "Content-Length"):
            assert head[name] == headers[name], path
        assert headers["Content-Length"] == str(len(body)), path


def test_each_file_has_its_type_and_no_encoding(server: Server, shelf: LocalArchive) -> None:
    for path, kind in (
        (DEB, "application/vnd.debian.binary-package"),
        ("/demo/trunk/pool/main/h/hello/hello_1.0.orig.tar.gz", "application/gzip"),
        ("/demo/trunk/pool/main/h/hello/hello_1.0-1.dsc", "text/plain"),
        (IN_RELEASE, "text/plain; charset=utf-8"),
        (f"/demo/trunk/dists/{SERIES}/Release.gpg", "application/pgp-signature"),
        (f"/demo/trunk/dists/{SERIES}/main/source/Sources.gz", "application/gzip"),
        ("/demo/trunk/key.asc", "application/pgp-keys"),
        (f"/demo/trunk/trunk-{SERIES}.sources", "text/plain; charset=utf-8"),
        ("/api/demo/trunk/publications", "application/json"),
        ("/demo/trunk/dists/", "text/html; charset=utf-8"),
    ):
        status, _, headers = ask(server, path)
        assert (status, headers["Content-Type"], headers["Content-Encoding"]) == (200, kind, None), path


def test_a_person_finds_every_file_by_following_links(server: Server, shelf: LocalArchive) -> None:
    (shelf.public_directory(PPA) / "pool/.new-half-written").write_text("half")
    found, wanted = set(), ["/demo/trunk/dists/", "/demo/trunk/pool/"]
    while wanted:
        at = wanted.pop()
        status, body, _ = ask(server, at)
        assert status == 200
        links = re.findall(r'href="\./([^"]+)"', body.decode())
        assert links[0] == "../"
        assert links[1:] == sorted(links[1:], key=lambda name: (not name.endswith("/"), name))
        for link in links[1:]:
            (wanted.append if link.endswith("/") else found.add)(at + html.unescape(link))  # type: ignore[operator]
    served = shelf.public_directory(PPA)
    files = {str(path.relative_to(served)) for path in served.rglob("*") if path.is_file()}
    assert found == {f"/demo/trunk/{name}" for name in files if "/." not in name}
    assert DEB in found
    assert {ask(server, path)[0] for path in sorted(found)} == {200}


def test_a_directory_without_its_slash_sends_there(server: Server, shelf: LocalArchive) -> None:
    for path in ("/demo/trunk", "/demo/trunk/dists", f"/demo/trunk/dists/{SERIES}"):
        status, _, headers = ask(server, path)
        assert (status, headers["Location"]) == (302, f"{path}/")
    for path in ("/demo", "/demo/trunk/nosuch", "/demo/trunk/key.asc/x", f"{IN_RELEASE}/", "/api/demo/trunk"):
        assert ask(server, path)[0] == 404, path


def test_names_in_a_directory_are_escaped(server: Server, shelf: LocalArchive) -> None:
    odd = shelf.public_directory(PPA) / "pool" / '"><script>x?#%.deb'
    odd.write_text("odd")
    page = ask(server, "/demo/trunk/pool/")[1].decode()
    assert "<script>" not in page
    [link] = [html.unescape(one) for one in re.findall(r'href="\./([^"]*x%3F[^"]*)"', page)]
    assert ask(server, f"/demo/trunk/pool/{link}")[:2] == (200, b"odd")


def test_of_many_packages_a_page_shows_some_and_a_search_the_others(
    archive: LocalArchive, signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ppa_page, "SOURCES_A_PAGE", 2)
    for letter in "edcba":
        accept(archive, signer, tmp_path, f"pkg-{letter}")
    archive.publish(PPA)
    assert "5 packages" in shown_of(archive)
    pages = [shown_of(archive, Query(page=number)) for number in (1, 2, 3, 4)]
    assert [sources_on(page) for page in pages] == [["pkg-a", "pkg-b"], ["pkg-c", "pkg-d"], ["pkg-e"], []]
    assert "page 2 of 3" in pages[1]
    links = [html.unescape(link) for link in re.findall(r'href="(\?[^"]*page=\d[^"]*)"', pages[1])]
    assert links == [f"?series={SERIES}&page=3"]
    assert sources_on(shown_of(archive, Query(text="-d"))) == ["pkg-d"]
    assert "Nothing is found here" in shown_of(archive, Query(text="<b>"))
    assert "<b>" not in shown_of(archive, Query(text="<b>"))


def test_what_has_ended_is_shown_when_asked_for(archive: LocalArchive, signer: Signer, tmp_path: Path) -> None:
    for version in ("1.0-1", "1.1-1"):
        accept(archive, signer, tmp_path, "pkg-a", version)
    accept(archive, signer, tmp_path, "pkg-b")
    archive.delete(PPA, SERIES, [Wanted("pkg-b")], by="me", why="it was <wrong>")
    assert sources_on(shown_of(archive)) == ["pkg-a", "pkg-a"]
    assert sources_on(shown_of(archive, Query(ended=True))) == ["pkg-a", "pkg-a", "pkg-b"]


def test_a_version_that_came_back_has_its_own_binaries_alone(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    changes, built = make_source(tmp_path / "s", signer), make_binaries(tmp_path / "b")
    archive.accept_source(PPA, SERIES, changes.parent, changes.name)
    archive.accept_binaries(PPA, SERIES, architecture(), built.parent, built.name, "a worker")
    archive.snapshot(PPA, "before", by="a test")
    archive.delete(PPA, SERIES, None, by="a test")
    archive.roll_back(PPA, "before", by="a test")
    found = archive.publications(PPA)
    told = [(one.source.span.status, [binary.span.status for binary in one.binaries]) for one in found]
    assert told == [(Status.PUBLISHED, [Status.PUBLISHED]), (Status.DELETED, [Status.DELETED])]


def test_a_query_that_makes_no_sense_asks_for_the_first_page() -> None:
    for number in ("", "0", "-1", "x", "1e3", "9" * 50, "٣"):
        assert Query.of({"page": number, "series": "", "q": " ", "all": ""}.__getitem__) == Query(), number


def test_the_page_tells_what_happened_lately_every_word_escaped(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    accept(archive, signer, tmp_path, "pkg-a")
    archive.snapshot(PPA, "before-the-change", by="me & you", why="<i>just in case</i>")
    archive.configure(PPA, by="me", quota_bytes=3 << 30, versions=2)
    for number in range(25):
        name = f"x_{number}_source.changes"
        archive.note_refusal(PPA, SERIES, name, f"<script>alert({number})</script>", via="ftp")
    page = shown_of(archive)
    assert "<script>" not in page
    assert "<i>" not in page
    for words in (
        "before-the-change",
        "me &amp; you",
        "of 3.0 GiB used",
        "2 versions of a package",
        "a quota of 3.0 GiB; 2 versions of a package",
        "x_24_source.changes",
        "alert(5)",
    ):
        assert words in page
    assert "x_4_source.changes" not in page


def test_sizes_and_moments_are_read_as_they_are_written() -> None:
    for text, size_bytes in (("0", 0), ("500M", 500 << 20), ("1.5 GiB", 3 << 29), ("2tb", 2 << 40), ("7B", 7)):
        assert read_size(text) == size_bytes
    assert [size_in_words(n) for n in (0, 999, 1000, 150 << 20, 1 << 40)] == [
        *("0 B", "999 B", "1.0 KiB", "150 MiB", "1.0 TiB"),
    ]
    for wrong in ("", "G", "-1", "1 X", "1e3", "9" * 400):
        with pytest.raises(ValueError, match="is no size"):
            read_size(wrong)
    at = 1_790_000_000.7
    assert int(read_moment(moment_in_words(at))) == int(at)
    assert read_moment(moment_in_words(at)) >= at
    assert read_moment("2026-11-01T02:00+02:00") == read_moment("2026-11-01")
    with pytest.raises(ValueError, match="is no date"):
        read_moment("yesterday")
    for outside in ("0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"):
        with pytest.raises(ValueError, match="before the first year, or after the last"):
            read_moment(outside)
