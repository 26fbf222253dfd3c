"""What another archive has published comes in by the rules of a copy, and says where it came from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ppa_tools.address import Address
from ppa_tools.archives.durable import digests_of
from ppa_tools.archives.importing import Origin, Parcel
from ppa_tools.archives.local import ChangeRefused, LocalArchive, Outcome
from tests.archive.conftest import PPA, SERIES, Signer, architecture
from tests.archive.shelf import ME, STABLE, Scene, Shelf
from tests.archive.soundness import check_archive

ORIGIN = Origin(Address("ppa", "owner", "name"), "noble")


@dataclass(frozen=True)
class Importer:
    """An archive, and packages as another archive has them."""

    scene: Scene

    @property
    def archive(self) -> LocalArchive:
        return self.scene.archive

    def parcel(self, source: str = "hello", version: str = "1.0-1", *, built: bool = True, **those: str) -> Parcel:
        """A source with its binaries, as files in the archive's incoming."""
        directory = (
            self.archive.incoming / f".parcel-{source}-{version}-{len(list(self.archive.incoming.iterdir()))}"
        )
        directory.mkdir()
        shelf = self.scene.shelf
        made = [shelf.source(source, version, series=SERIES, **those)]
        if built:  # named as ``Scene.build`` names it: packed again at another moment a .deb is another
            made.append(shelf.binaries(source, version, series=SERIES, arch=architecture()))
        for changes in made:
            for path in changes.parent.iterdir():
                if path.suffix != ".changes":
                    shutil.copyfile(path, directory / path.name)
        files = tuple(sorted(directory.iterdir()))
        return Parcel(source, version, files, (architecture(),) if built else ())

    def bring(self, *parcels: Parcel, to: Address = PPA, series: str = SERIES) -> tuple[Outcome, ...]:
        return self.archive.import_parcels(to, series, ORIGIN, parcels, by=ME, why="a milestone")


@pytest.fixture
def scene(archive: LocalArchive, signer: Signer, tmp_path: Path) -> Iterator[Scene]:
    archive.ensure_ppa(STABLE, series=[SERIES], architectures=[architecture()])
    yield Scene(archive, Shelf(tmp_path / "shelf", signer))
    check_archive(archive)


@pytest.fixture
def importer(scene: Scene) -> Importer:
    return Importer(scene)


def test_an_import_is_published_with_its_binaries_and_its_origin(importer: Importer) -> None:
    importer.bring(importer.parcel())
    (one,) = importer.archive.publications(PPA)
    assert one.source.span.status == "Published"
    assert one.built_on == (architecture(),)
    assert importer.scene.packages() == {(architecture(), "hello", "1.0-1")}
    events = importer.archive.history(PPA)
    assert {(event.what, event.why) for event in events if event.why} == {
        ("copied", "copied from ppa:owner/name noble: a milestone")
    }
    assert {event.who for event in events if event.why} == {ME}


def test_importing_again_changes_nothing(importer: Importer) -> None:
    importer.bring(importer.parcel())
    before = importer.scene.everything()
    (again,) = importer.bring(importer.parcel())
    assert again.what == "already there"
    assert importer.archive.changes(PPA) == before[1][1]
    assert importer.archive.publications(PPA) == before[3][1]


def test_binaries_may_come_after_their_source(importer: Importer) -> None:
    importer.bring(importer.parcel(built=False))
    assert importer.scene.packages() == set()
    importer.bring(importer.parcel())
    assert importer.scene.packages() == {(architecture(), "hello", "1.0-1")}
    assert len(importer.archive.publications(PPA)) == 1


def test_a_newer_import_supersedes(importer: Importer) -> None:
    importer.bring(importer.parcel())
    importer.bring(importer.parcel(version="1.0-2"))
    assert importer.scene.held() == [("hello", "1.0-2")]
    assert importer.scene.packages() == {(architecture(), "hello", "1.0-2")}


def test_an_import_lower_than_what_is_active_is_refused(importer: Importer) -> None:
    importer.scene.both(version="1.0-2")
    before = importer.scene.everything()
    with pytest.raises(ChangeRefused, match=r"1\.0-2 is there, which is newer"):
        importer.bring(importer.parcel(), importer.parcel("other"))
    assert importer.scene.held() == [("hello", "1.0-2")]
    assert importer.scene.everything()[:5] == before[:5]


def test_a_deleted_version_may_be_followed_by_a_lower_one(importer: Importer) -> None:
    importer.scene.both(version="1.0-2")
    importer.scene.delete("hello")
    importer.bring(importer.parcel())
    assert importer.scene.held() == [("hello", "1.0-1")]


def test_another_source_by_the_same_version_is_refused_for_ever(importer: Importer) -> None:
    importer.scene.both()
    importer.scene.delete("hello")
    with pytest.raises(ChangeRefused, match="with other content"):
        importer.bring(importer.parcel(content=b"other"))  # type: ignore[arg-type]


def test_the_same_source_signed_by_somebody_else_is_the_same(importer: Importer, stranger: Signer) -> None:
    importer.scene.both()
    parcel = importer.parcel()
    (dsc,) = [path for path in parcel.files if path.suffix == ".dsc"]
    text = dsc.read_text().partition("\n\n")[2].partition("\n-----BEGIN PGP SIGNATURE")[0]
    dsc.write_bytes(stranger.sign(text))
    assert importer.bring(parcel)[0].what == "already there"


def test_a_parcel_that_is_not_what_its_dsc_says_is_refused(importer: Importer) -> None:
    parcel = importer.parcel()
    (debian,) = [path for path in parcel.files if ".debian." in path.name]
    debian.write_bytes(b"other")
    with pytest.raises(ChangeRefused, match=r"is not what hello_1\.0-1\.dsc says"):
        importer.bring(parcel)


def test_every_sum_of_a_dsc_must_hold_since_the_index_repeats_them(importer: Importer, signer: Signer) -> None:
    parcel = importer.parcel()
    (dsc,) = [path for path in parcel.files if path.suffix == ".dsc"]
    (debian,) = [path for path in parcel.files if ".debian." in path.name]
    text = dsc.read_text().partition("\n\n")[2].partition("\n-----BEGIN PGP SIGNATURE")[0]
    dsc.write_bytes(signer.sign(text.replace(digests_of(debian).md5, "0" * 32)))
    with pytest.raises(ChangeRefused, match=r"is not what hello_1\.0-1\.dsc says"):
        importer.bring(parcel)


def test_an_import_that_was_copied_in_before_is_there_already(importer: Importer) -> None:
    importer.scene.both()
    importer.scene.copy()
    assert importer.bring(importer.parcel(), to=STABLE)[0].what == "already there"


def test_an_import_over_the_quota_is_refused(importer: Importer) -> None:
    importer.archive.configure(PPA, quota_bytes=100, by=ME)
    with pytest.raises(ChangeRefused, match="of the 100 that it may"):
        importer.bring(importer.parcel())


def test_binaries_for_architectures_the_series_has_not_are_told(importer: Importer) -> None:
    importer.archive.ensure_ppa(PPA, series=["trixie"], architectures=["riscv64"])
    with pytest.raises(ChangeRefused, match="this series has riscv64"):
        importer.bring(importer.parcel(), series="trixie")
