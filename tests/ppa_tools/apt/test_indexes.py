"""Reading indexes: from the embedded archive, over HTTP with a cache, and from hostile archives."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ppa_tools.address import Address
from ppa_tools.apt.conflicting import find_conflicts, held_of_holdings
from ppa_tools.apt.fetching import Fetcher, cache_directory
from ppa_tools.apt.indexes import Reader, architectures_of
from ppa_tools.apt.installable import find_broken
from ppa_tools.apt.ownership import find_clashes
from ppa_tools.apt.repositories import (
    Repository,
    embedded_repository,
    host_repositories,
    launchpad_repository,
    parse_deb_line,
)
from ppa_tools.apt.stanzas import IndexDamaged, scan_packages, scan_sources
from ppa_tools.archives.door import DoorError, NotThere, Unreachable
from ppa_tools.archives.layout import Layout
from ppa_tools.archives.local import LocalArchive
from tests.archive.conftest import PPA, SERIES, Signer, archive, make_binaries, make_source, signer
from tests.ppa_tools.apt.conftest import ARCH, package, source, write_repository

__all__ = ["archive", "signer"]  # fixtures

OTHER = Address("local", "demo", "other")


def publish(archive: LocalArchive, signer: Signer, tmp_path: Path, address: Address, version: str) -> None:
    archive.ensure_ppa(address, series=[SERIES], architectures=[ARCH], uploaders=[signer.public])
    for kind, make in (("source", partial(make_source, signer=signer)), ("binary", make_binaries)):
        changes = make(tmp_path / f"{address.name}-{kind}", version=version)
        if kind == "source":
            archive.accept_source(address, SERIES, changes.parent, changes.name)
        else:
            archive.accept_binaries(address, SERIES, ARCH, changes.parent, changes.name, "worker")
    archive.publish(address)
    archive.publish_contents(address)


def test_what_two_ppas_of_the_embedded_archive_do_not_agree_about_is_found_from_disk(
    archive: LocalArchive, signer: Signer, tmp_path: Path, reader: Reader
) -> None:
    publish(archive, signer, tmp_path, PPA, "1.0-1")
    publish(archive, signer, tmp_path, OTHER, "1.0-2")
    repositories = [embedded_repository(one, SERIES, archive.root) for one in (PPA, OTHER)]
    assert architectures_of(reader.read_release(repositories[0])) == (ARCH,)
    held = reader.read_all(repositories, [ARCH])
    pairs = zip((PPA, OTHER), repositories, strict=True)
    found = find_conflicts([(one, held_of_holdings(held[where], SERIES)) for one, where in pairs])
    assert [(one.package, one.architectures, one.chosen and one.chosen.address) for one in found.conflicts] == [
        ("hello", (ARCH,), OTHER),
        ("hello", ("source",), OTHER),
    ]
    verdict = find_broken(repositories, [], ARCH, reader=reader, build=False)
    assert (verdict.by_merge, verdict.before, verdict.tested) == ((), (), 1)
    assert find_clashes(list(held.items()), ARCH, reader=reader, cache=tmp_path / "cache").unseen == ()


def test_a_series_that_a_ppa_has_not_is_told_with_those_that_it_has(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    publish(archive, signer, tmp_path, PPA, "1.0-1")
    with pytest.raises(NotThere, match=f"publishes no trixie.*\n.*{SERIES}"):
        embedded_repository(PPA, "trixie", archive.root)


class Handler(SimpleHTTPRequestHandler):
    """Serves a directory, and notes what was asked for and how it was answered."""

    log: list[tuple[str, int]]

    def send_response(self, code: int, message: str | None = None) -> None:
        self.log.append((self.path, code))
        super().send_response(code, message)

    def log_message(self, *_words: Any) -> None:
        pass


class Web:
    def __init__(self, root: Path) -> None:
        self.log = list[tuple[str, int]]()
        handler = type("One", (Handler,), {"log": self.log})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(root)))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    (tmp_path / "served").mkdir()
    one = Web(tmp_path / "served")
    yield one
    one.server.shutdown()
    one.server.server_close()


PATH = Path("team/name/ubuntu")
LAUNCHPAD = Address("ppa", "team", "name")


def test_a_ppa_of_launchpad_is_fetched_once_and_asked_for_anew_only_by_its_release(
    web: Web, tmp_path: Path, reader: Reader
) -> None:
    write_repository(tmp_path / "served" / PATH, "noble", [package("foo 1")], [source("foo 1")])
    ppa = launchpad_repository(LAUNCHPAD, "noble", root=web.url)
    held = reader.read_holdings(ppa, [ARCH])
    assert [one.package for one in held.binaries[ARCH]] == [one.source for one in held.sources] == ["foo"]
    assert len(web.log) == 3
    web.log.clear()
    assert Reader(Fetcher(tmp_path / "cache")).read_holdings(ppa, [ARCH]) == held
    assert web.log == [(f"/{PATH}/dists/noble/InRelease", 304)]


def test_indexes_are_read_by_their_hash_while_the_archive_changes(
    web: Web, tmp_path: Path, reader: Reader
) -> None:
    root = tmp_path / "served" / PATH
    write_repository(root, "noble", [package("foo 1")])
    release = root / "dists/noble/InRelease"
    release.write_text(release.read_text().replace("SHA256:\n", "Acquire-By-Hash: yes\nSHA256:\n"))
    index = root / f"dists/noble/main/binary-{ARCH}/Packages.gz"
    by_hash = index.parent / "by-hash/SHA256" / hashlib.sha256(index.read_bytes()).hexdigest()
    by_hash.parent.mkdir(parents=True)
    index.replace(by_hash)
    index.write_bytes(gzip.compress(b"of the next publication"))
    ppa = launchpad_repository(LAUNCHPAD, "noble", root=web.url)
    assert [one.package for one in reader.read_holdings(ppa, [ARCH]).binaries[ARCH]] == ["foo"]


def test_an_index_that_is_not_what_its_release_says_is_refused(web: Web, tmp_path: Path, reader: Reader) -> None:
    root = tmp_path / "served" / PATH
    on_disk = write_repository(root, "noble", [package("foo 1")])
    index = root / f"dists/noble/main/binary-{ARCH}/Packages.gz"
    good = index.read_bytes()
    index.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(Unreachable, match="is not what its Release vouches for"):
        reader.read_holdings(launchpad_repository(LAUNCHPAD, "noble", root=web.url), [ARCH])
    with pytest.raises(IndexDamaged, match="not there as its Release says"):
        reader.read_holdings(on_disk, [ARCH])


@pytest.mark.parametrize(
    "stanza",
    [
        "Package: foo\nVersion: evil\n",
        f"Package: foo\nVersion: {'9' * 5000}\n",
        "Package: foo\nVersion: 1\x1b[2J\n",
        "Package: foo\nVersion: 1\nSource: foo (evil)\n",
        f"Package: foo\nVersion: 1\nSize: {'9' * 5000}\n",
        "Package: foo\n",
    ],
    ids=range(6),
)
def test_an_index_of_what_cannot_be_is_damaged_and_says_where(stanza: str) -> None:
    with pytest.raises(IndexDamaged, match=r"^PPA: stanza 1\b") as raised:
        scan_packages(stanza, "PPA")
    assert str(raised.value).isprintable()


def test_an_archive_may_lie_in_a_directory_of_any_name(tmp_path: Path, reader: Reader) -> None:
    archive = tmp_path / "my archive, 100%41"
    write_repository(Layout(archive).served(OTHER, private=False), "noble", [package("foo 1")])
    held = reader.read_holdings(embedded_repository(OTHER, "noble", archive), [ARCH])
    assert [one.package for one in held.binaries[ARCH]] == ["foo"]


def test_the_keys_of_a_ppa_are_those_that_launchpad_tells(web: Web, tmp_path: Path, reader: Reader) -> None:
    where = tmp_path / "served/~team/+archive/ubuntu"
    where.mkdir(parents=True)
    (where / "name").write_text(json.dumps("-----BEGIN PGP PUBLIC KEY BLOCK-----"))
    url = f"{web.url}/~team/+archive/ubuntu"
    assert reader.read_launchpad_keys(f"{url}/name").startswith(b"-----BEGIN")
    assert reader.read_launchpad_keys(f"{url}/other") == b""


def test_a_ppa_that_is_not_there_is_told(web: Web, reader: Reader) -> None:
    with pytest.raises(NotThere, match="ppa:team/name has no noble"):
        reader.read_release(launchpad_repository(LAUNCHPAD, "noble", root=web.url))


def test_no_network_says_so_and_leaves_no_half_files(
    tmp_path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppa_tools.apt.fetching.WAIT_S", 0.0)
    with pytest.raises(Unreachable, match="Look whether the network is there"):
        reader.read_release(Repository("http://127.0.0.1:9", "noble"))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_signature_must_be_of_the_keys_that_are_known(
    archive: LocalArchive, signer: Signer, tmp_path: Path, reader: Reader
) -> None:
    publish(archive, signer, tmp_path, PPA, "1.0-1")
    uri = embedded_repository(PPA, SERIES, archive.root).uri
    good = Repository(uri, SERIES, keyring=archive.public_key(PPA))
    assert reader.read_release(good).listed
    with pytest.raises(DoorError, match="not signed as it must be"):
        reader.read_release(Repository(uri, SERIES, keyring=signer.public))
    release = archive.public_directory(PPA) / f"dists/{SERIES}/InRelease"
    release.write_text("Suite: none\n" + release.read_text())
    with pytest.raises(DoorError, match="not signed as it must be"):
        reader.read_release(good)


def test_an_index_that_unpacks_to_very_much_is_refused(
    tmp_path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppa_tools.apt.indexes.TEXT_LIMIT_BYTES", 1000)
    bomb = write_repository(tmp_path / "bomb", "s", [package("foo 1", "X-Field: " + "x" * 2000)])
    with pytest.raises(IndexDamaged, match="unpacks to more than"):
        reader.read_holdings(bomb, [ARCH])


@pytest.mark.parametrize("text", ["Version: 1\n", "Package: foo\n", "Package: foo\nVersion: 1\nSize: -1\n"])
def test_a_stanza_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(IndexDamaged, match="there: stanza 2"):
        scan_packages(f"Package: a\nVersion: 1\nSize: 1\n\n{text}", "there")


def test_folded_fields_sources_of_another_version_and_long_lists_are_read() -> None:
    (one,) = scan_packages(
        "Package: foo\nSource: bar (2:1.0)\nVersion: 1.0+b1\nDepends: a,\n b (>= 2) |\n\tc\nSize: 1\n\n\n", "there"
    )
    assert (one.source, one.source_version, one.depends) == ("bar", "2:1.0", "a, b (>= 2) | c")
    (built,) = scan_sources(
        "Package: bar\nVersion: 2:1.0\nBinary: foo,\n foo-doc\nArchitecture: any all\n"
        "Checksums-Sha256:\n aa 1 bar.tar.gz\n bb 2 bar_1.0.dsc\n",
        "there",
    )
    assert (built.binaries, built.architectures, built.dsc_sha256) == (("foo", "foo-doc"), ("any", "all"), "bb")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("debs http://x y main", "no line of sources.list"),
        ("deb ftp://x y main", "a URI of file, http, https"),
        ("deb http://x y main", "signed-by=FILE"),
        ("deb [trusted=yes] http://x flat/", "a suite and components"),
        ("deb [signed-by=/nonesuch] http://x y main", "its keys cannot be read"),
        ("deb [arch=amd64] http://x y main", "only signed-by and trusted"),
    ],
)
def test_a_line_that_names_no_repository_says_what_would_be_right(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_deb_line(line)


def test_a_line_of_sources_list_names_a_repository() -> None:
    one = parse_deb_line("deb [trusted=yes] http://x.example/ubuntu/ noble-updates main universe")
    assert (one.uri, one.suite, one.components) == (
        "http://x.example/ubuntu",
        "noble-updates",
        ("main", "universe"),
    )


def test_the_base_of_this_machine_is_read_from_apts_own_lists(host_series: str, reader: Reader) -> None:
    repositories = host_repositories(host_series, [ARCH])
    if not repositories:
        pytest.skip("this machine's apt has read no indexes")
    held = reader.read_all(repositories, [ARCH], sources=False)
    names = {one.package for holdings in held.values() for one in holdings.binaries[ARCH]}
    assert {"libc6", "build-essential"} <= names


def test_the_cache_is_where_the_user_wants_it_and_forgets_what_is_not_used(tmp_path: Path) -> None:
    assert cache_directory({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "ppa-tools"
    old = tmp_path / "by-hash/aa"
    old.parent.mkdir()
    old.touch()
    fetcher = Fetcher(tmp_path)
    fetcher.forget_unused(old.stat().st_mtime + 86400)
    assert old.exists()
    fetcher.forget_unused(old.stat().st_mtime + 31 * 86400)
    assert not old.exists()
