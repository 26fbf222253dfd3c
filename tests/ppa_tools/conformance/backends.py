"""The two kinds of archives as the cases see them: what is put into them behind the door, and how time passes."""

from __future__ import annotations

import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from ppa_tools.address import Address
from ppa_tools.archives.door import Archive, Copy, CopyBatch, Refused
from ppa_tools.archives.local import LocalArchive
from ppa_tools.archives.opening import Options, open_archive
from ppa_tools.publication import Publication
from tests.archive.conftest import Signer
from tests.archive.shelf import Shelf
from tests.doubles.launchpad import LaunchpadDouble

OWNER = "me"
NOBLE, JAMMY = "noble", "jammy"
ARCHITECTURES = ("amd64", "arm64")
DAY_S = 86400.0


class Backend(ABC):
    """Archives of one kind: ``ppa`` makes them, ``put`` fills them, ``open`` opens the door."""

    kind = ""

    def __init__(self) -> None:
        self.opened: list[Archive] = []

    @abstractmethod
    def options(self) -> Options:
        """What archives are opened with."""

    @abstractmethod
    def ppa(self, name: str, *, private: bool = False) -> Archive:
        """A new PPA, empty and open."""

    @abstractmethod
    def put(
        self,
        archive: Archive,
        source: str = "hello",
        version: str = "1.0-1",
        *,
        series: str = NOBLE,
        built: Sequence[str] = ARCHITECTURES,
        content: str = "hello",
        package: str = "any",
    ) -> Publication:
        """A source that is published, with the binaries of the builds that have come; ``package`` is for what."""

    @abstractmethod
    def settle(self) -> None:
        """Whatever was asked for is done, or has failed."""

    @abstractmethod
    def pass_days(self, days: float) -> None:
        """Time passes, and files go that nothing needs."""

    def address(self, name: str) -> Address:
        """A PPA of this kind."""
        return Address(self.kind, OWNER, name)  # type: ignore[arg-type]

    def open(self, name: str) -> Archive:
        """A PPA, opened as every command opens it."""
        one = open_archive(self.address(name), self.options())
        self.opened.append(one)
        return one

    def close(self) -> None:
        """All archives are closed."""
        for one in self.opened:
            one.close()


class Embedded(Backend):
    """The embedded archive, with real packages."""

    kind = "local"

    def __init__(self, directory: Path, shelf: Shelf) -> None:
        super().__init__()
        self._ahead_s = 0.0
        self._shelf = shelf
        self.local = LocalArchive(directory / "archive", clock=self._now)

    def _now(self) -> float:
        return time.time() + self._ahead_s

    def options(self) -> Options:
        return Options(local_archive=self.local.root, by=OWNER)

    def ppa(self, name: str, *, private: bool = False) -> Archive:
        self.local.ensure_ppa(
            self.address(name),
            series=[JAMMY, NOBLE],
            architectures=ARCHITECTURES,
            uploaders=[self._shelf.signer.public],
            private=private,
            by=OWNER,
        )
        return self.open(name)

    def put(
        self,
        archive: Archive,
        source: str = "hello",
        version: str = "1.0-1",
        *,
        series: str = NOBLE,
        built: Sequence[str] = ARCHITECTURES,
        content: str = "hello",
        package: str = "any",
    ) -> Publication:
        ppa, local = archive.address, self.local
        those = {"architectures": package, "content": content.encode()}
        changes = self._shelf.source(source, version, series=series, **those)
        local.accept_source(ppa, series, changes.parent, changes.name)
        for arch in built:
            packages = {source: "all" if package == "all" else arch}
            deb = self._shelf.binaries(
                source, version, series=series, arch=arch, packages=packages, content=content
            )
            local.accept_binaries(ppa, series, arch, deb.parent, deb.name, f"worker-{arch}")
        local.publish(ppa)
        (found,) = [
            one
            for one in archive.publications(names=[source], series=[series])
            if one.version == version and one.is_active
        ]
        return found

    def settle(self) -> None:
        """Nothing waits: the archive does at once what it is asked."""

    def pass_days(self, days: float) -> None:
        self._ahead_s += days * DAY_S
        for ppa in self.local.ppas():
            self.local.publish(ppa.address, force=True)
        self.local.collect_garbage(dry_run=False)

    def close(self) -> None:
        super().close()
        self.local.stop_agents()
        self.local.close()


class Launchpad(Backend):
    """Launchpad's double, asked by the real client."""

    kind = "ppa"

    def __init__(self, double: LaunchpadDouble) -> None:
        super().__init__()
        self.double = double
        self._login = double.token(OWNER).text

    def options(self) -> Options:
        return Options(instance=self.double.url, environment={"LP_CREDENTIALS": self._login})

    def ppa(self, name: str, *, private: bool = False) -> Archive:
        self.double.add_ppa(f"{OWNER}/{name}", private=private, architectures=ARCHITECTURES)
        return self.open(name)

    def put(
        self,
        archive: Archive,
        source: str = "hello",
        version: str = "1.0-1",
        *,
        series: str = NOBLE,
        built: Sequence[str] = ARCHITECTURES,
        content: str = "hello",
        package: str = "any",
    ) -> Publication:
        states = {one: "Successfully built" if one in built else "Needs building" for one in ARCHITECTURES}
        if package == "all":
            states = {one: states[one] for one in built or ARCHITECTURES[:1]}
        ppa = f"{archive.address.owner}/{archive.address.name}"
        key = self.double.add_package(
            ppa,
            source,
            version,
            series=series,
            binaries=[{"package": source, "architecture": package}],
            builds=states,
            content=content,
            creator=OWNER,
        )
        (found,) = [one for one in archive.publications(names=[source]) if one.key == str(key)]
        return found

    def settle(self) -> None:
        for _ in range(2):  # copies are made, and then published; nothing is built
            self.double.advance(60)

    def pass_days(self, days: float) -> None:
        self.double.advance(days * DAY_S)


def batch(
    source: Archive,
    *copies: Publication,
    to_series: str = "",
    with_binaries: bool = True,
    unembargo: bool = False,
    latest: bool = True,
) -> CopyBatch:
    """Copies of publications of one series."""
    series = copies[0].series
    return CopyBatch(
        source.address,
        series,
        to_series or series,
        tuple(Copy(one.source, one.version, one.key) for one in copies),
        with_binaries=with_binaries,
        unembargo=unembargo,
        latest=latest,
        why="a test",
    )


def copy(backend: Backend, source: Archive, destination: Archive, *copies: Publication, **those: object) -> None:
    """Ask for copies that can be, and let them be made."""
    destination.ask_copies(batch(source, *copies, **those))  # type: ignore[arg-type]
    backend.settle()


def copy_in_vain(
    backend: Backend, source: Archive, destination: Archive, *copies: Publication, **those: object
) -> None:
    """Ask for copies that cannot be: refused at once, or taken and never made."""
    before = held(destination)
    try:
        copy(backend, source, destination, *copies, **those)
    except Refused as error:
        assert copies[0].source in str(error) or destination.address.owner in str(error)  # noqa: PT017
    assert held(destination) == before


def held(archive: Archive, series: str = "") -> list[tuple[str, str, str]]:
    """What is active: series, source, version."""
    found = archive.publications(series=[series] if series else ())
    return sorted((one.series, one.source, one.version) for one in found if one.is_active)


def only(archive: Archive, source: str = "hello", series: str = NOBLE) -> Publication:
    """The one active publication of a source."""
    (found,) = [one for one in archive.publications(names=[source], series=[series]) if one.is_active]
    return found


def shelf_for(directory: Path, signer: Signer) -> Shelf:
    """Packages that are made once for all cases."""
    subprocess.run(["dpkg-deb", "--version"], check=True, capture_output=True)
    return Shelf(directory, signer)
