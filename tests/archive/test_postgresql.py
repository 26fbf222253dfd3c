"""The same archive on a real PostgreSQL, started for these tests: what holds on SQLite holds there."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ppa_tools.archives.errors import ArchiveError
from ppa_tools.archives.local import LocalArchive
from tests.archive.conftest import PPA, SERIES, Signer, architecture, make_source
from tests.archive.model import ADDRESSES, Model, agrees, perform, prepare
from tests.archive.shelf import ME, STABLE, Scene, Shelf
from tests.archive.soundness import check_archive
from tests.archive.test_importing import Importer
from tests.archive.test_readers_and_writers import write_from_many_sides

OPERATIONS = 40
USER = "nobody"  # PostgreSQL does not run as root


class Cluster:
    """A PostgreSQL of our own below one directory, with a socket there and no other way in."""

    def __init__(self, programs: Path, directory: Path) -> None:
        self.programs = programs
        self.directory = directory
        self.run("initdb", "-D", "data", "-U", "farm", "--auth=trust", "-E", "UTF8", *sorting_words(programs))

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self.directory} -c fsync=off"
        self.run("pg_ctl", "start", "-w", "-D", "data", "-l", "log", "-o", options)

    def stop(self) -> None:
        self.run("pg_ctl", "stop", "-m", "immediate", "-D", "data")

    def database(self, name: str) -> str:
        """A new database; its SQLAlchemy URL."""
        self.run("createdb", "-h", str(self.directory), "-U", "farm", name)
        return f"postgresql+psycopg://farm@/{name}?host={self.directory}"

    def run(self, *words: str) -> None:
        who = ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []
        done = subprocess.run(
            [*who, str(self.programs / words[0]), *words[1:]],
            cwd=self.directory,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            stdout=subprocess.PIPE if words[0] != "pg_ctl" else subprocess.DEVNULL,  # the server would keep a pipe
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def sorting_words(programs: Path) -> list[str]:
    """Options of initdb for a database that sorts as people do, where it can: names are to sort by bytes in it."""
    said = subprocess.run([str(programs / "initdb"), "--help"], capture_output=True, text=True, check=True)
    icu = ["--locale-provider=icu", "--icu-locale=en-US", "--locale=C.UTF-8"]
    return icu if "--icu-locale" in said.stdout else []


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pytest.importorskip("psycopg")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "")]
    if not found[-1].is_file():
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="farm-postgresql-") as name:
        if os.getuid() == 0:
            shutil.chown(name, USER)
        one = Cluster(found[-1].parent, Path(name))
        one.start()
        yield one
        one.stop()


def make_archive(root: Path, signer: Signer, **those: Any) -> LocalArchive:
    archive = LocalArchive(root, **those)
    for address in ADDRESSES:
        archive.ensure_ppa(
            address, series=[SERIES], architectures=[architecture()], uploaders=[signer.public], by=ME
        )
    return archive


def indexes(archive: LocalArchive) -> dict[str, bytes]:
    """Every index that is served, by its path."""
    public = archive.root / "public"
    return {
        str(path.relative_to(public)): path.read_bytes() for path in sorted(public.glob("*/*/dists/*/main/*/*.gz"))
    }


def test_the_same_operations_give_the_same_archive_on_both(
    cluster: Cluster, signer: Signer, tmp_path: Path
) -> None:
    now = [1_800_000_000.0]
    archives = [
        make_archive(tmp_path / "sqlite", signer, clock=lambda: now[0]),
        make_archive(tmp_path / "pg", signer, clock=lambda: now[0], database=cluster.database("same")),
    ]
    shelf, luck, model = Shelf(tmp_path / "shelf", signer), random.Random(3), Model()
    for _ in range(OPERATIONS):
        now[0] += 86400.0
        operation = model.choose(luck)
        model = model.after(operation)
        job = prepare(operation, shelf)
        for archive in archives:
            perform(archive, job)
            assert agrees(archive, model), operation
        one, other = archives
        assert indexes(one) == indexes(other)
        for address in ADDRESSES:
            assert one.ppa(address).used_bytes == other.ppa(address).used_bytes
            assert one.changes(address) == other.changes(address)
            assert one.listing(address, active=False) == other.listing(address, active=False)
            assert one.diff(address, 0.0) == other.diff(address, 0.0)
            assert one.history(address) == other.history(address)
    for archive in archives:
        check_archive(archive)
        archive.stop_agents()
        archive.close()


def test_garbage_is_collected_and_damage_is_found_and_mended(
    cluster: Cluster, signer: Signer, tmp_path: Path
) -> None:
    now = [time.time()]
    archive = make_archive(tmp_path / "a", signer, clock=lambda: now[0], database=cluster.database("garbage"))
    scene = Scene(archive, Shelf(tmp_path / "shelf", signer))
    scene.both()
    archive.snapshot(PPA, "one", by=ME)
    scene.both(version="1.1-1")
    scene.copy("hello")
    scene.delete("hello", address=STABLE)
    now[0] += 8 * 86400.0
    foretold = archive.collect_garbage(dry_run=True)
    assert [str(one.address) for one in foretold.ppas] == [str(STABLE)]
    assert archive.collect_garbage(dry_run=False).ppas == foretold.ppas
    assert archive.verify() == ()
    for path in archive.public_directory(PPA).glob("pool/main/h/hello/*_1.1-1*"):
        path.unlink()
    assert {one.kind.value for one in archive.verify()} == {"name missing"}
    assert archive.repair().left == ()
    archive.stop_agents()
    archive.close()


def test_four_writers_at_once_lose_nothing(cluster: Cluster, signer: Signer, tmp_path: Path) -> None:
    database = cluster.database("writers")
    archive = make_archive(tmp_path / "archive", signer, database=database)
    write_from_many_sides(archive, signer, tmp_path, database)
    archive.stop_agents()
    archive.close()


def test_a_server_that_is_gone_is_told_and_one_that_is_back_is_used(
    cluster: Cluster, signer: Signer, tmp_path: Path
) -> None:
    archive = make_archive(tmp_path / "archive", signer, database=cluster.database("restarted"))
    changes = make_source(tmp_path / "s", signer)
    cluster.stop()
    with pytest.raises(ArchiveError, match=r"the publishing history postgresql\+psycopg://.*connection"):
        archive.accept_source(PPA, SERIES, changes.parent, changes.name)
    cluster.start()
    archive.accept_source(PPA, SERIES, changes.parent, changes.name)
    archive.publish(PPA)
    check_archive(archive)
    archive.stop_agents()
    archive.close()


def test_an_import_is_as_sound_there(cluster: Cluster, signer: Signer, tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "pg", signer, database=cluster.database("imported"))
    importer = Importer(Scene(archive, Shelf(tmp_path / "shelf", signer)))
    assert [one.what for one in importer.bring(importer.parcel(), importer.parcel("other"))] == ["copied"] * 2
    assert [one.what for one in importer.bring(importer.parcel())] == ["already there"]
    with pytest.raises(ArchiveError, match="with other content"):
        importer.bring(importer.parcel(version="1.0-2"), importer.parcel(content=b"other"))  # type: ignore[arg-type]
    assert importer.scene.held() == [("hello", "1.0-1"), ("other", "1.0-1")]
    check_archive(archive)
    archive.stop_agents()
    archive.close()
