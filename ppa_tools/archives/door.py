"""The one door to every archive: what the tools ask of Launchpad and of the embedded archive alike.

Reading gives plain values (``ppa_tools.publication``). Asking for a copy or a deletion returns when the archive
has taken it, which is not when it is done: Launchpad queues copies and tells nobody how they ended. Whoever asked
looks for the publication, and must not ask again blindly.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from ppa_tools.address import Address
from ppa_tools.publication import Binary, Build, File, Publication, Side, Status


class DoorError(Exception):
    """An archive cannot be asked, or says no; ``resolution`` says what to do."""

    def __init__(self, message: str, *, resolution: str = "") -> None:
        super().__init__(message)
        self.resolution = resolution

    def __str__(self) -> str:
        said = super().__str__()
        return f"{said}\n  {self.resolution}" if self.resolution else said


class NotThere(DoorError):
    """There is no such archive, series or publication; the nearest names there are stand in the resolution."""


class NoRights(DoorError):
    """No credentials, or they may not do this."""


class Refused(DoorError):
    """The archive understood, and refuses; asking again changes nothing."""


class Unreachable(DoorError):
    """The archive did not answer, or is in trouble itself, and nothing was taken; trying again may help."""


class Uncertain(DoorError):
    """The connection broke after a change was sent: it may have been taken. Look before asking again."""


@dataclass(frozen=True)
class Copy:
    """A source version to be copied: ``key`` is its publication in the archive that it comes from."""

    source: str
    version: str
    key: str = ""


@dataclass(frozen=True)
class CopyBatch:
    """Copies that are asked for in one go: from one series to one series.

    ``latest`` says that each is the newest active version in its archive and series, which Launchpad takes in
    bulk; others it takes one by one.
    """

    source: Address
    from_series: str
    to_series: str
    copies: tuple[Copy, ...]
    with_binaries: bool = True
    unembargo: bool = False
    latest: bool = True
    why: str = ""


@dataclass
class Stats:
    """What talking to an archive has cost so far."""

    requests: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    retried: int = 0
    seconds: float = 0.0
    by_kind: dict[str, int] = field(default_factory=dict)


class Archive(Protocol):
    """An archive that is open. One thread at a time may use it."""

    @property
    def address(self) -> Address:
        """Which one."""

    @property
    def stats(self) -> Stats:
        """What it has cost so far."""

    @property
    def batch_size(self) -> int:
        """How many copies may be asked for in one batch."""

    @property
    def is_immediate(self) -> bool:
        """Whether copies and deletions are done when they have been taken (the embedded archive), or queued."""

    def side(self, *, with_past: bool, names: Collection[str] = (), series: Collection[str] = ()) -> Side:
        """What planning needs: the archive's facts and its publications, with the ended ones where asked for.

        ``names`` and ``series`` may narrow it (an archive may give more). Raises NotThere, NoRights, Unreachable.
        """

    def publications(
        self,
        *,
        names: Collection[str] = (),
        series: Collection[str] = (),
        statuses: Collection[Status] = (),
        since: float | None = None,
    ) -> tuple[Publication, ...]:
        """Source publications, each name's newest last; empty filters: any; ``since``: created then or later."""

    def builds(self, publications: Sequence[Publication]) -> Mapping[str, tuple[Build, ...]]:
        """The builds of publications, by their keys: one for each architecture they are, or will be, built on."""

    def binaries(self, publications: Sequence[Publication]) -> Mapping[str, tuple[Binary, ...]]:
        """The binaries published of each, by key."""

    def source_files(self, publications: Sequence[Publication]) -> Mapping[str, tuple[File, ...]]:
        """The .dsc and the files that it names, by key; empty where they are no longer kept."""

    def binary_files(self, publications: Sequence[Publication]) -> Mapping[str, tuple[File, ...]]:
        """The .debs of each, by key."""

    def ask_copies(self, batch: CopyBatch) -> None:
        """Ask that a batch be copied to this archive from one of the same kind.

        Raises Refused (naming packages where it is known), NoRights, Unreachable (not taken), Uncertain.
        """

    def ask_deletion(self, publication: Publication, why: str) -> None:
        """Ask that a source go with its binaries. Raises as ``ask_copies``; one that has ended is fine."""

    def close(self) -> None:
        """Let go of connections and files."""


@runtime_checkable
class DeletesTogether(Protocol):
    """An archive that takes many deletions in less time: the embedded one in bulk, Launchpad several at once."""

    def ask_deletions(self, publications: Sequence[Publication], why: str) -> frozenset[str]:
        """Ask that sources go with their binaries; returns the keys of those that are sure to have gone.

        Why others have not, ``ask_deletion`` tells for each. Raises as that does, where none was asked for.
        """


@runtime_checkable
class CopiesTogether(Protocol):
    """An archive that takes several batches at once in less time: Launchpad is slow at each."""

    def ask_batches(self, batches: Sequence[CopyBatch]) -> Sequence[DoorError | None]:
        """Ask for each as ``ask_copies``; what it raised, None where it was taken. Raises NoRights for all."""
