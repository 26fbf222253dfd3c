"""reprepro, driven by its command: gz indexes only, no tracking; every change is exported at once, as is its way.

It has no roll back: ``restorefilter`` brings back what a snapshot had, and leaves what has come since.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from archive_engines import BIG, SIDE, Children, Engine, Family, NotOffered, Place, Upload
from archive_packages import ARCHITECTURE, Package, write_changes


def prepare(place: Place) -> None:
    """The two distributions, and an incoming directory for each."""
    conf = place.root / "conf"
    conf.mkdir()
    (conf / "distributions").write_text(
        "\n".join(
            f"Codename: {name}\nComponents: main\nArchitectures: {ARCHITECTURE} source\n"
            f"SignWith: {place.signer.fingerprint}\n"
            "DebIndices: Packages Release .gz\nDscIndices: Sources Release .gz\n"
            for name in (BIG, SIDE)
        )
    )
    (conf / "incoming").write_text(
        "\n".join(
            f"Name: {name}\nIncomingDir: incoming-{name}\nTempDir: temporary\nDefault: {name}\n"
            for name in (BIG, SIDE)
        )
    )
    for name in (f"incoming-{BIG}", f"incoming-{SIDE}", "temporary"):
        (place.root / name).mkdir()
    Reprepro(place, Children(place.environment)).reprepro("export")


def load(place: Place, big: Sequence[Package], side: Sequence[Package]) -> None:
    """Put unsigned uploads into an incoming directory; one process takes them all and publishes."""
    for name, packages in ((BIG, big), (SIDE, side)):
        incoming = place.root / f"incoming-{name}"
        for package in packages:
            changes = write_changes(package, name, package.files, f"source {ARCHITECTURE}", "both")
            changes.rename(incoming / changes.name)
            for path in package.files:
                os.link(path, incoming / path.name)
        Reprepro(place, Children(place.environment)).reprepro("processincoming", name)


@contextlib.contextmanager
def open_column(_column: str, place: Place) -> Iterator[Engine]:
    """The command."""
    yield Reprepro(place, Children(place.environment))


FAMILY = Family("reprepro", ("reprepro",), BIG, prepare, load, open_column)


@dataclass
class Reprepro:
    """A process an operation."""

    place: Place
    children: Children
    accept_publishes = True

    def reprepro(self, *words: str) -> str:
        """Run reprepro."""
        return self.children.run("reprepro", "--silent", "--basedir", str(self.place.root), *words)

    def accept(self, upload: Upload) -> None:
        self.reprepro("include", BIG, str(upload.both))

    def publish(self) -> None:
        self.reprepro("export", BIG)

    def copy(self, names: Sequence[str]) -> None:
        self.reprepro("copy", BIG, SIDE, *names)

    def delete(self, names: Sequence[str]) -> None:
        self.reprepro("remove", BIG, *names)

    def count(self) -> int:
        return sum("|source: " in line for line in self.reprepro("list", BIG).splitlines())

    def find(self, name: str) -> bool:
        return bool(self.reprepro("list", BIG, name))

    def snapshot(self, label: str) -> None:
        self.reprepro("gensnapshot", BIG, label)

    def prepare_roll_back(self) -> None:
        pass

    def roll_back(self, label: str) -> None:
        raise NotOffered(label)

    def collect_garbage(self) -> None:
        self.reprepro("deleteunreferenced")

    def peak_rss_bytes(self) -> int:
        return self.children.peak_rss_bytes
