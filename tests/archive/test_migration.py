"""An archive of an earlier program: it opens with all it had, publishes, and goes on.

``data/history-v1.sql`` and ``data/blobs-v1.tar.xz`` were made by the program that had schema 1: hello 1.0-1 and
1.1-1 with binaries, published, and then ``waiting``, which was accepted but not published yet.
"""

from __future__ import annotations

import sqlite3
import tarfile
from pathlib import Path

import pytest

from ppa_tools import openpgp
from ppa_tools.address import Address
from ppa_tools.archives.errors import ArchiveError
from ppa_tools.archives.local import LocalArchive, Status, Wanted
from tests.archive.conftest import PPA, SERIES, Signer, make_binaries, make_source
from tests.archive.shelf import ME, STABLE
from tests.archive.soundness import check_archive

DATA = Path(__file__).parent / "data"
ARCH = "amd64"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The root of an archive that was last used by the earlier program."""
    root = tmp_path / "archive"
    text = (DATA / "history-v1.sql").read_text()
    for address in (PPA, STABLE):
        home = root / "keys" / address.owner / address.name
        home.mkdir(parents=True, mode=0o700)
        key = openpgp.create_key(home, f"Embedded archive {address}")
        text = text.replace(f"@KEY OF {address}@", key.fingerprint)
    with tarfile.open(DATA / "blobs-v1.tar.xz") as tar:
        for member in tar:
            blob = root / "blobs" / member.name[:2]
            blob.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None
            (blob / member.name).write_bytes(content.read())
    database = sqlite3.connect(root / "history.sqlite")
    database.executescript(text)
    for owner, name, pool_path, sha256 in database.execute(
        "SELECT owner, ppas.name, pool_path, sha256 FROM file_names JOIN ppas ON ppas.id = ppa_id"
    ):
        path = root / "public" / owner / name / pool_path
        path.parent.mkdir(parents=True, exist_ok=True)
        if "waiting" not in pool_path:
            path.hardlink_to(root / "blobs" / sha256[:2] / sha256)
    database.close()
    return root


def test_an_archive_of_schema_1_is_complete_and_goes_on(old: Path, signer: Signer, tmp_path: Path) -> None:
    archive = LocalArchive(old)
    assert [str(one.address) for one in archive.ppas()] == [str(STABLE), str(PPA)]
    ppa = archive.ppa(PPA)
    assert ppa.description == "A PPA of the first days"
    assert len(ppa.key_fingerprints) == 1
    statuses = {(one.source, one.version): one.status for one in archive.listing(PPA, active=False)}
    assert statuses == {
        ("hello", "1.0-1"): Status.SUPERSEDED,
        ("hello", "1.1-1"): Status.PUBLISHED,
        ("waiting", "1.0-1"): Status.PENDING,
    }
    assert [(one.what, one.name, one.version) for one in archive.history(PPA)][:2] == [
        ("uploaded", "hello", "1.0-1"),
        ("published", "hello", "1.0-1"),
    ]
    assert [one.series for one in archive.publish_due()] == [SERIES]
    archive.publish(STABLE, force=True)
    check_archive(archive)
    pool = archive.public_directory(PPA) / "pool"
    assert ppa.used_bytes == sum(path.stat().st_size for path in pool.rglob("*") if path.is_file())
    archive.ensure_ppa(PPA, uploaders=[signer.public])
    changes = make_source(tmp_path / "s", signer, version="1.1-2", with_orig=False)
    archive.accept_source(PPA, SERIES, changes.parent, changes.name)
    binaries = make_binaries(tmp_path / "b", version="1.1-2", arch=ARCH)
    archive.accept_binaries(PPA, SERIES, ARCH, binaries.parent, binaries.name, "worker-1")
    archive.publish(PPA)
    archive.copy(PPA, SERIES, STABLE, SERIES, [Wanted("hello", "1.0-1")], by=ME)
    archive.copy(PPA, SERIES, STABLE, SERIES, [Wanted("hello", "1.1-1")], by=ME)
    archive.roll_back(PPA, 1_794_000_000.0, by=ME)
    assert [(one.source, one.version) for one in archive.listing(PPA)] == [
        ("hello", "1.1-1"),
        ("waiting", "1.0-1"),
    ]
    assert archive.diff(PPA, 1_794_000_000.0) == ()
    assert (
        held_binaries(archive, PPA)
        == held_binaries(archive, STABLE)
        == {("hello", "1.1-1"), ("hello-data", "1.1-1")}
    )
    check_archive(archive)
    archive.stop_agents()
    archive.close()


def held_binaries(archive: LocalArchive, address: Address) -> set[tuple[str, str]]:
    return {
        (row.package, row.version)
        for one in archive.publications(address)
        for row in one.binaries
        if row.span.ended_at is None
    }


def test_a_history_of_a_later_program_is_left_alone(old: Path) -> None:
    LocalArchive(old).close()
    database = sqlite3.connect(old / "history.sqlite")
    database.execute("UPDATE schema_version SET version = 99")
    database.commit()
    database.close()
    with pytest.raises(ArchiveError, match=r"has schema 99; this program knows \d+: update it"):
        LocalArchive(old)
