"""A source package on this machine: what the index vouches for, agreeing with itself, or the reason."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.regress.fetching import check_dsc, fetch_source
from buildfarm.regress.model import RebuildJob, SourceFile
from buildfarm.regress.sets import ad_hoc_set
from buildfarm.regress.sources import select
from buildfarm.settings import Settings
from ppa_tools.apt import fetching as apt_fetching
from tests.archive.conftest import Signer, make_source, signer

__all__ = ["signer"]  # a fixture


class Pool:
    """Source packages over HTTP; ``asked`` are the paths that were asked for."""

    def __init__(self, root: Path) -> None:
        self.root, self.asked = root, asked = root, list[str]()

        class Handler(SimpleHTTPRequestHandler):
            def log_request(self, *_words: Any) -> None:
                asked.append(self.path.lstrip("/"))

            def log_message(self, *_words: Any) -> None:
                pass

        root.mkdir()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def job(self, *names: str) -> RebuildJob:
        """The job of hello, as an index has it that was made of what lies here now."""
        names = names or tuple(
            sorted((path.name for path in self.root.iterdir()), key=lambda n: not n.endswith(".dsc"))
        )
        return RebuildJob("x", "hello", "1.0-1", "sid", "amd64", tuple(map(self.file, names)))

    def file(self, name: str) -> SourceFile:
        data = (self.root / name).read_bytes()
        return SourceFile(name, f"{self.url}/{name}", len(data), hashlib.sha256(data).hexdigest())


@pytest.fixture
def pool(tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    monkeypatch.setattr(apt_fetching, "WAIT_S", 0.0)
    one = Pool(tmp_path / "pool")
    changes = make_source(tmp_path / "made", signer)
    for path in changes.parent.iterdir():
        if path != changes:
            (one.root / path.name).write_bytes(path.read_bytes())
    yield one
    one.server.shutdown()
    one.server.server_close()


def test_a_source_is_fetched_once_and_unpacks(pool: Pool, tmp_path: Path) -> None:
    job = pool.job()
    for number in (1, 2):
        dsc = fetch_source(job, tmp_path / f"build{number}", tmp_path / "cache")
        subprocess.run(["dpkg-source", "-x", dsc, tmp_path / f"tree{number}"], check=True, capture_output=True)
    assert sorted(pool.asked) == sorted(one.name for one in job.files)


def test_what_a_build_does_to_its_files_reaches_no_other(pool: Pool, tmp_path: Path) -> None:
    job = pool.job()
    first = fetch_source(job, tmp_path / "build1", tmp_path / "cache")
    content = first.read_bytes()
    with first.open("r+b") as file:
        file.write(b"garbage")
    assert fetch_source(job, tmp_path / "build2", tmp_path / "cache").read_bytes() == content
    assert fetch_source(job, tmp_path / "build1", tmp_path / "cache").read_bytes() == content


def test_a_fetch_that_was_cut_goes_on_with_what_is_missing(pool: Pool, tmp_path: Path) -> None:
    job = pool.job()
    last = pool.root / job.files[-1].name
    content = last.read_bytes()
    last.unlink()
    with pytest.raises(FarmTrouble, match="is not there"):
        fetch_source(job, tmp_path / "build", tmp_path / "cache")
    last.write_bytes(content)
    pool.asked.clear()
    fetch_source(job, tmp_path / "build", tmp_path / "cache")
    assert pool.asked == [last.name]


def test_a_mirror_that_gives_other_bytes_or_too_many_is_the_farms_trouble(pool: Pool, tmp_path: Path) -> None:
    job = pool.job()
    orig = next(pool.root / one.name for one in job.files if ".orig." in one.name)
    data = bytearray(orig.read_bytes())
    data[-1] ^= 1
    orig.write_bytes(data)
    with pytest.raises(FarmTrouble, match="not what its Release vouches for"):
        fetch_source(job, tmp_path / "build", tmp_path / "cache")
    orig.write_bytes(bytes(data) + b"x" * 100_000)
    with pytest.raises(FarmTrouble, match="longer than"):
        fetch_source(job, tmp_path / "build", tmp_path / "cache")
    pool.server.server_close()
    pool.server.shutdown()
    with pytest.raises(FarmTrouble, match="cannot be read") as caught:
        fetch_source(job, tmp_path / "build", tmp_path / "other-cache")
    assert str(job.subject) in str(caught.value)
    assert "Connection refused" in str(caught.value)
    assert "HTTPConnection" not in str(caught.value), "said in short"


def test_files_of_this_disk_are_checked_too(pool: Pool, tmp_path: Path) -> None:
    job = pool.job()
    here = tuple(replace(one, url=f"file:{pool.root}/{one.name}") for one in job.files)
    assert fetch_source(replace(job, files=here), tmp_path / "build", tmp_path / "cache").is_file()
    assert pool.asked == []
    (pool.root / here[-1].name).write_bytes(b"other")
    with pytest.raises(FarmTrouble, match="not what its index vouches for"):
        fetch_source(replace(job, files=here), tmp_path / "build", tmp_path / "cache")


@pytest.mark.parametrize(
    "name", ["../evil.dsc", "/etc/passwd.dsc", "a b.dsc", ".hidden.dsc", "hello.tar.gz", "x\n.dsc"]
)
def test_a_job_with_a_name_that_leads_elsewhere_writes_nothing(tmp_path: Path, name: str) -> None:
    job = RebuildJob(
        "x", "hello", "1.0-1", "sid", "amd64", (SourceFile(name, "http://127.0.0.1:9/x", 1, "0" * 64),)
    )
    with pytest.raises(PackageFault):
        fetch_source(job, tmp_path / "build", tmp_path / "cache")
    assert not (tmp_path / "build").exists()


def changed_dsc(pool: Pool, old: str, new: str) -> RebuildJob:
    dsc = next(pool.root.glob("*.dsc"))
    text = dsc.read_text()
    assert old in text
    dsc.write_text(text.replace(old, new))
    return pool.job()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Source: hello", "Source: other", "it is of source 'other', not 'hello'"),
        ("Version: 1.0-1", "Version: 2.0-1", "it is of version '2.0-1', not '1.0-1'"),
        ("hello_1.0.orig.tar.gz", "../hello_1.0.orig.tar.gz", "which is no file beside it"),
        ("hello_1.0.orig.tar.gz", "other_1.0.orig.tar.gz", "about hello_1.0.orig.tar.gz, other_1.0.orig.tar.gz"),
        ("Checksums-Sha256:\n ", f"Checksums-Sha256:\n {'0' * 64} 1 more.tar.gz\n ", "about more.tar.gz"),
        ("Checksums-Sha256", "Checksums-Sha512", "lists no files|contradicts|which is no file"),
        ("-----BEGIN PGP SIGNED", "more\n-----BEGIN PGP SIGNED", "cannot be read"),
    ],
)
def test_a_source_that_contradicts_its_index_is_the_packages_fault(
    pool: Pool, tmp_path: Path, old: str, new: str, message: str
) -> None:
    if old == "Checksums-Sha256":
        job = changed_dsc(pool, "Checksums-Sha256:", "Checksums-Sha512:")
        job = changed_dsc(pool, "Files:", "Filez:")
    else:
        job = changed_dsc(pool, old, new)
    with pytest.raises(PackageFault, match=message):
        fetch_source(job, tmp_path / "build", tmp_path / "cache")


def test_a_dsc_of_before_2008_is_checked_by_its_names_and_sizes(pool: Pool, tmp_path: Path) -> None:
    job = changed_dsc(pool, "Checksums-Sha256:", "Checksums-Other:")
    assert fetch_source(job, tmp_path / "build", tmp_path / "cache").is_file()
    job = changed_dsc(pool, "Files:\n", f"Files:\n {'0' * 32} 1 more.tar.gz\n")
    with pytest.raises(PackageFault, match=r"about more\.tar\.gz"):
        fetch_source(job, tmp_path / "build", tmp_path / "cache")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.binary(max_size=200) | st.text("Source:Version Checksums-Sha256\n .hello10", max_size=200).map(str.encode)
)
def test_whatever_a_dsc_is_it_is_right_or_the_packages_fault(content: bytes) -> None:
    file = SourceFile("hello_1.0-1.dsc", "http://127.0.0.1:9/x", len(content), "0" * 64)
    with pytest.raises(PackageFault):
        check_dsc(content, RebuildJob("x", "hello", "1.0-1", "sid", "amd64", (file,)))


@pytest.mark.slow
def test_a_source_of_the_real_mirror_is_fetched_and_unpacks(tmp_path: Path) -> None:
    farm = Settings(tmp_path, tmp_path / "home", tmp_path / "recipes")
    (job,) = select(ad_hoc_set(["hello"], ["bookworm"], ["amd64"]), farm).jobs
    dsc = fetch_source(job, tmp_path / "build", farm.cache / "sources")
    subprocess.run(["dpkg-source", "-x", dsc, tmp_path / "tree"], check=True, capture_output=True)
    assert (tmp_path / "tree/debian/rules").is_file()
