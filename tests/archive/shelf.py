"""Uploads made once and sent many times, and what a refusal must leave as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppa_tools.address import Address
from ppa_tools.archives.local import LocalArchive, Outcome, Publication, Receipt, Wanted
from tests.archive.conftest import PPA, SERIES, Signer, architecture, make_binaries, make_source

STABLE = Address("local", "demo", "stable")
LATER = "trixie"
ME = "me@example.com"


@dataclass
class Shelf:
    """Source and binary uploads by what is in them; each is made when first asked for."""

    directory: Path
    signer: Signer
    made: dict[Any, Path] = field(default_factory=dict)

    def source(self, source: str = "hello", version: str = "1.0-1", **those: Any) -> Path:
        """The .changes of a source upload; one that is ``signed`` in another way is another .changes."""
        return self._get(self._make_source, source=source, version=version, **those)

    def _make_source(self, path: Path, *, signed: str = "", **those: Any) -> Path:
        changes = make_source(path, self.signer, **those)
        if signed:
            changes.write_bytes(self.signer.sign(payload_of(changes) + f"X-Signed: {signed}\n"))
        return changes

    def binaries(self, source: str = "hello", version: str = "1.0-1", **those: Any) -> Path:
        """The .changes of a binary upload."""
        packages = those.pop("packages", None)
        key = tuple(packages.items()) if packages else None
        return self._get(_make_binaries, source=source, version=version, packages=key, **those)

    def _get(self, make: Callable[..., Path], **those: Any) -> Path:
        key = (make.__name__, tuple(sorted(those.items())))
        if key not in self.made:
            self.made[key] = make(self.directory / str(len(self.made)), **those)
        return self.made[key]


@dataclass(frozen=True)
class Scene:
    """An archive and the uploads for it."""

    archive: LocalArchive
    shelf: Shelf

    def upload(
        self,
        source: str = "hello",
        version: str = "1.0-1",
        *,
        to: Address = PPA,
        series: str = SERIES,
        **those: Any,
    ) -> Receipt:
        """Send a source, without publishing it."""
        changes = self.shelf.source(source, version, series=series, **those)
        return self.archive.accept_source(to, series, changes.parent, changes.name)

    def build(
        self,
        source: str = "hello",
        version: str = "1.0-1",
        *,
        to: Address = PPA,
        series: str = SERIES,
        arch: str = "",
        **those: Any,
    ) -> Receipt:
        """Send the binaries of one architecture, without publishing them."""
        arch = arch or architecture()
        changes = self.shelf.binaries(source, version, series=series, arch=arch, **those)
        return self.archive.accept_binaries(to, series, arch, changes.parent, changes.name, "worker-1")

    def both(self, source: str = "hello", version: str = "1.0-1", *, to: Address = PPA) -> None:
        """Send a source and its binaries, and publish them."""
        self.upload(source, version, to=to)
        self.build(source, version, to=to)
        self.archive.publish(to)

    def copy(
        self,
        *words: str,
        source: Address = PPA,
        source_series: str = SERIES,
        to: Address = STABLE,
        series: str = SERIES,
        **those: Any,
    ) -> tuple[Outcome, ...]:
        """Copy packages, named as NAME or NAME=VERSION; none named: all."""
        packages = [wanted(word) for word in words] or None
        return self.archive.copy(source, source_series, to, series, packages, by=ME, **those)

    def delete(self, *words: str, address: Address = PPA, series: str = SERIES) -> tuple[Outcome, ...]:
        """Delete packages, named as NAME or NAME=VERSION; none named: all."""
        return self.archive.delete(address, series, [wanted(word) for word in words] or None, by=ME)

    def held(self, address: Address = PPA, series: str = "") -> list[tuple[str, str]]:
        """The active sources, as (name, version)."""
        return [(one.source, one.version) for one in self.archive.listing(address, series=series)]

    def packages(self, address: Address = PPA, series: str = SERIES) -> set[tuple[str, str, str]]:
        """The active binaries, as (index architecture, package, version)."""
        return {
            (row.index_architecture, row.package, row.version)
            for one in self.archive.publications(address, series=series)
            for row in one.binaries
            if row.span.ended_at is None
        }

    def only(self, source: str, version: str, address: Address = PPA) -> Publication:
        """The one publication of a version there ever was."""
        (found,) = self.archive.publications(address, source=source, version=version)
        return found

    def everything(self) -> Any:
        """All that a refused change must leave as it was: the history, the files, what is served."""
        archive = self.archive
        addresses = [ppa.address for ppa in archive.ppas()]
        return (
            archive.ppas(),
            [archive.changes(one) for one in addresses],
            [archive.history(one) for one in addresses],
            [archive.publications(one) for one in addresses],
            [archive.snapshots(one) for one in addresses],
            sorted(_files(archive.root, ("blobs", "incoming", "incoming-binaries", "public", "private"))),
            [path.read_bytes() for path in sorted(archive.root.glob("public/*/*/dists/*/InRelease"))],
        )


def payload_of(changes: Path) -> str:
    """The text of a signed file, without its signature."""
    return changes.read_text().partition("\n\n")[2].partition("\n-----BEGIN PGP SIGNATURE")[0].rstrip() + "\n"


def _make_binaries(path: Path, *, packages: tuple[tuple[str, str], ...] | None, **those: Any) -> Path:
    return make_binaries(path, packages=dict(packages) if packages else None, **those)


def wanted(word: str) -> Wanted:
    """NAME or NAME=VERSION."""
    name, _, version = word.partition("=")
    return Wanted(name, version)


def _files(root: Path, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        yield from (str(path.relative_to(root)) for path in (root / name).rglob("*"))
