"""What a reader finds in dists/: always one whole publication, whatever was kept, broken or in the way."""

from __future__ import annotations

import errno
import functools
import gzip
import hashlib
import http.server
import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppa_tools.archives import background, indexes
from ppa_tools.archives.blocks import begins_block
from ppa_tools.archives.compression import FORMS, PLAIN
from ppa_tools.archives.errors import ArchiveError
from ppa_tools.archives.local import LocalArchive
from tests.archive.conftest import PPA, SERIES, Apt, Signer, architecture, index_text, make_binaries, make_source

PACKAGES = f"binary-{architecture()}/Packages"
NAMES_IN_BLOCKS = [name for name in map("package-{}".format, range(1000)) if begins_block(name)]
"""Each of these begins a block of the index, so that a few packages make several."""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(archive: LocalArchive) -> Iterator[str]:
    """Any web server that knows nothing of archives, pointed at public/."""
    handler = functools.partial(Quiet, directory=str(archive.root / "public"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def apt_for(archive: LocalArchive, web: str, root: Path) -> Apt:
    return Apt(root, archive.sources_text(PPA, SERIES).replace("http://archive.example", web))


def add(archive: LocalArchive, signer: Signer, directory: Path, name: str, version: str = "1.0-1") -> None:
    source = make_source(directory / f"{name}-{version}-s", signer, source=name, version=version)
    archive.accept_source(PPA, SERIES, source.parent, source.name)
    binaries = make_binaries(directory / f"{name}-{version}-b", source=name, version=version)
    archive.accept_binaries(PPA, SERIES, architecture(), binaries.parent, binaries.name, "worker")


def dists(archive: LocalArchive) -> Path:
    return archive.public_directory(PPA) / "dists" / SERIES


def listed(archive: LocalArchive) -> dict[str, indexes.Listed]:
    return {one.path: one for one in indexes.release_listed((dists(archive) / "InRelease").read_bytes())}


def check_whole(archive: LocalArchive) -> None:
    """InRelease stands, and every index that it names lies under its hash."""
    for path, one in listed(archive).items():
        if path.endswith((".gz", ".xz", ".zst")):
            content = (dists(archive) / one.by_hash_path).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (one.size_bytes, one.sha256)


def refusal_of(archive: LocalArchive) -> str:
    """Why publishing failed; "" when it did not."""
    try:
        archive.publish(PPA, force=True)
    except ArchiveError as error:
        return str(error)
    return ""


def blocks(archive: LocalArchive) -> Path:
    return archive.root / f"index-blocks/{PPA.owner}/{PPA.name}/{SERIES}"


def state(archive: LocalArchive) -> dict[str, bytes]:
    """All that readers of the series can see, but for dates and signatures."""
    return {
        path.relative_to(dists(archive)).as_posix(): path.read_bytes()
        for path in sorted(dists(archive).glob("main/*/*.gz"))
    }


@pytest.mark.parametrize("form", sorted(set(FORMS) - {PLAIN}))
def test_stock_apt_reads_every_form_from_a_plain_web_server(
    archive: LocalArchive, signer: Signer, tmp_path: Path, web: str, form: str
) -> None:
    archive.configure(PPA, compressions=tuple({"gz", form}), by="me")
    # Names in blocks of their own: what is put together is what apt must read.
    for name in ("hello", *NAMES_IN_BLOCKS[:2]):
        add(archive, signer, tmp_path, name)
        archive.publish(PPA)
    assert not list(dists(archive).glob("main/*/Packages"))
    apt = apt_for(archive, web, tmp_path / "apt")
    prefer = ("-o", f"Acquire::CompressionTypes::Order::={form}")
    fetched = apt.run("update", *prefer)
    wanted = listed(archive)[f"main/{PACKAGES}.{form}"]
    assert f"main {architecture()} Packages [{wanted.size_bytes} B]" in fetched
    for name in NAMES_IN_BLOCKS[:2]:
        apt.run("source", "--download-only", name)
        assert (tmp_path / f"apt/{name}_1.0-1.dsc").is_file()
    add(archive, signer, tmp_path, "hello", "1.1-1")
    archive.publish(PPA)
    apt.run("update", *prefer)
    apt.run("source", "--download-only", "hello")
    assert (tmp_path / "apt/hello_1.1-1.dsc").is_file()


def test_an_index_published_step_by_step_is_the_index_published_at_once(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    for name in ("bb", "aa", "cc"):
        add(archive, signer, tmp_path, name)
        archive.publish(PPA)
    step_by_step = state(archive)
    archive.publish(PPA, force=True)
    assert state(archive) == step_by_step
    names = [line for line in index_text(archive, PACKAGES).splitlines() if line.startswith("Package:")]
    assert names == ["Package: aa", "Package: bb", "Package: cc"]


def test_release_tells_the_truth_of_every_index(archive: LocalArchive, signer: Signer, tmp_path: Path) -> None:
    archive.configure(PPA, compressions=("gz", "xz", "zst"), by="me")
    add(archive, signer, tmp_path, "hello")
    archive.publish(PPA)
    forms = ("", ".gz", ".xz", ".zst")
    assert set(listed(archive)) == {
        f"main/{path}{form}" for path in (PACKAGES, "source/Sources") for form in forms
    }
    for path, one in listed(archive).items():
        if path.endswith(("Packages", "Sources")):
            content = gzip.decompress((dists(archive) / f"{path}.gz").read_bytes())
        else:
            content = (dists(archive) / path).read_bytes()
            assert (dists(archive) / one.by_hash_path).read_bytes() == content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (one.size_bytes, one.sha256)


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped", "table", "all"])
def test_kept_blocks_that_are_damaged_are_noticed_and_rendered_again(
    archive: LocalArchive, signer: Signer, tmp_path: Path, damage: str
) -> None:
    # Two names in two blocks: one that changes, and one that is damaged and must not be believed.
    first, second = "aa", NAMES_IN_BLOCKS[0]
    add(archive, signer, tmp_path, first)
    add(archive, signer, tmp_path, second)
    archive.publish(PPA)
    kept = blocks(archive) / f"binary-{architecture()}"
    victim = next(path for path in kept.iterdir() if path.suffix == "" and b"Package: aa\n" in path.read_bytes())
    data = bytearray(victim.read_bytes())
    if damage == "gone":
        victim.unlink()
    elif damage == "cut":
        victim.write_bytes(data[:-1])
    elif damage == "flipped":
        data[random.Random(1).randrange(len(data))] ^= 1
        victim.write_bytes(data)
    elif damage == "table":
        (kept / "table").write_bytes((kept / "table").read_bytes().replace(b'"aa"', b'"ab"'))
    else:
        shutil.rmtree(archive.root / "index-blocks")
    add(archive, signer, tmp_path, second, "1.1-1")
    archive.publish(PPA)
    assert index_text(archive, PACKAGES).count("Package: ") == 2
    incremental = state(archive)
    archive.publish(PPA, force=True)
    assert state(archive) == incremental


def test_blocks_of_another_history_are_not_believed(archive: LocalArchive, signer: Signer, tmp_path: Path) -> None:
    archive.close()
    shutil.copytree(archive.root, tmp_path / "before", copy_function=os.link)
    (tmp_path / "before/history.sqlite").unlink()
    shutil.copyfile(archive.root / "history.sqlite", tmp_path / "before/history.sqlite")
    lost = LocalArchive(archive.root)
    add(lost, signer, tmp_path, "lost")
    lost.publish(PPA)
    lost.close()
    shutil.copyfile(tmp_path / "before/history.sqlite", archive.root / "history.sqlite")
    again = LocalArchive(archive.root)
    add(again, signer, tmp_path, "found")
    again.publish(PPA)
    assert "Package: lost" not in index_text(again, PACKAGES)
    assert "Package: found" in index_text(again, PACKAGES)
    again.close()


def test_what_is_not_named_any_more_goes_from_the_cache(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    for number in range(3):
        add(archive, signer, tmp_path, "hello", f"1.{number}-1")
        archive.publish(PPA)
    for directory in blocks(archive).iterdir():
        assert len(list(directory.iterdir())) == 3, "a table, a block's text, its gz"


def test_the_date_of_a_release_never_goes_back(signer: Signer, tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    archive = LocalArchive(tmp_path / "archive", clock=lambda: now[0])
    archive.ensure_ppa(PPA, series=[SERIES], architectures=[architecture()], uploaders=[signer.public])

    def published() -> tuple[float | None, int]:
        archive.publish(PPA, force=True)
        in_release = dists(archive) / "InRelease"
        return indexes.release_date(in_release.read_bytes()), int(in_release.stat().st_mtime)

    first = published()
    now[0] -= 3600
    second = published()
    now[0] += 7200
    third = published()
    assert first[0] == second[0] == 1_800_000_000.0
    assert third[0] == 1_800_003_600.0
    assert first[1] < second[1] < third[1], "If-Modified-Since must tell them apart"
    archive.stop_agents()
    archive.close()


def test_a_release_that_is_valid_for_a_while_says_until_when(
    archive: LocalArchive, tmp_path: Path, web: str
) -> None:
    archive.configure(PPA, valid_for_s=7 * 86400.0, by="me")
    archive.publish(PPA)
    text = (dists(archive) / "InRelease").read_text()
    assert "\nValid-Until: " in text
    apt_for(archive, web, tmp_path / "apt").run("update")


@pytest.mark.parametrize(("code", "words"), [(errno.ENOSPC, "is full"), (errno.EROFS, "is read-only")])
def test_a_disk_that_refuses_leaves_the_old_publication_and_a_clear_reason(
    archive: LocalArchive, signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    add(archive, signer, tmp_path, "hello")
    archive.publish(PPA)
    add(archive, signer, tmp_path, "world")
    real_replace = Path.replace
    for allowed in range(40):
        left = [allowed]

        def replace(path: Path, target: Path, left: list[int] = left) -> Path:
            """The disk takes some files more, and then none."""
            left[0] -= 1
            if left[0] < 0 and path.is_relative_to(archive.root):
                raise OSError(code, os.strerror(code), str(target))
            return real_replace(path, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", replace)
            refusal = refusal_of(archive)
        check_whole(archive)
        if not refusal:
            assert allowed > 5
            break
        assert words in refusal
    archive.publish(PPA, force=True)
    assert "Package: world" in index_text(archive, PACKAGES)
    assert not list((archive.root / "public").rglob(".new-*"))


def contents(archive: LocalArchive) -> list[str]:
    path = listed(archive)[f"main/Contents-{architecture()}.gz"].by_hash_path
    return gzip.decompress((dists(archive) / path).read_bytes()).decode().splitlines()


def test_contents_follow_behind_and_other_publications_keep_them(
    archive: LocalArchive, signer: Signer, tmp_path: Path, web: str
) -> None:
    source = make_source(tmp_path / "s", signer)
    archive.accept_source(PPA, SERIES, source.parent, source.name)
    packages = {"hello": architecture(), "hello-data": "all"}
    binaries = make_binaries(tmp_path / "b", packages=packages)
    archive.accept_binaries(PPA, SERIES, architecture(), binaries.parent, binaries.name, "worker")
    archive.publish(PPA)
    assert not any("Contents" in path for path in listed(archive))
    assert archive.publish_lagging_contents() == ()
    wanted = [f"usr/share/{name}/content".ljust(55) + f" misc/{name}" for name in ("hello-data", "hello")]
    assert contents(archive) == wanted
    add(archive, signer, tmp_path, "world")
    archive.publish(PPA)
    assert contents(archive) == wanted, "they lag, and stay valid"
    archive.publish_contents(PPA)
    assert len(contents(archive)) == 3
    before = (dists(archive) / "InRelease").read_bytes()
    assert archive.publish_lagging_contents() == ()
    assert (dists(archive) / "InRelease").read_bytes() == before, "nothing has changed"
    plain = "\n".join([*contents(archive), ""]).encode()
    assert listed(archive)[f"main/Contents-{architecture()}"].sha256 == hashlib.sha256(plain).hexdigest()
    # As apt-file sets apt up.
    apt = apt_for(archive, web, tmp_path / "apt")
    with (apt.root / "apt.conf").open("a") as file:
        file.write(
            'Acquire::IndexTargets::deb::Contents-deb { MetaKey "$(COMPONENT)/Contents-$(ARCHITECTURE)"; '
            'ShortDescription "Contents"; Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Contents"; };\n'
        )
    apt.run("update")
    fetched = next((apt.root / "var/lib/apt/lists").glob("*_Contents-*"))
    assert fetched.read_bytes() == plain


def test_a_package_whose_files_cannot_be_listed_is_named_and_stops_no_other(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    add(archive, signer, tmp_path, "hello")
    add(archive, signer, tmp_path, "world")
    deb = archive.public_directory(PPA) / f"pool/main/w/world/world_1.0-1_{architecture()}.deb"
    archive.publish(PPA)
    os.truncate(deb, deb.stat().st_size // 2)
    (problem,) = archive.publish_contents(PPA)
    assert problem.startswith(f"world_1.0-1_{architecture()}.deb: ")
    assert [line.split() for line in contents(archive)] == [["usr/share/hello/content", "misc/hello"]]


def test_a_served_archive_brings_contents_and_what_is_due_up_by_itself(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    add(archive, signer, tmp_path, "hello")
    said: list[str] = []
    end = background.begin(archive, said.append, interval_s=0.01)
    try:
        deadline = time.monotonic() + 60
        while not any("Contents" in path for path in listed(archive)) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        end()
    assert "Package: hello" in index_text(archive, PACKAGES)
    assert [line.split() for line in contents(archive)] == [["usr/share/hello/content", "misc/hello"]]
    assert said == []
