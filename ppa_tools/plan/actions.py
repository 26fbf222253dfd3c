"""What a plan is made of: copies, deletions, and what is left alone, each with its reason."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ppa_tools.address import Address


class Kind(enum.StrEnum):
    """What happens to a package."""

    COPY = "copy"
    DELETE = "delete"
    SKIP = "skip"
    BLOCKED = "blocked"


@dataclass(frozen=True)
class Action:
    """One line of a plan.

    A copy takes ``source`` at ``version`` from ``from_series`` to ``to_series`` of ``archive``, where it replaces
    ``replaces`` ("" where nothing was). A deletion takes it from ``to_series`` of ``archive``. ``key`` is the
    publication that is copied, or goes, as its own archive knows it; a deletion with the key of a copy waits until
    that has arrived. ``latest`` says of a copy that it is the newest active version where it comes from.
    ``reason`` says why: of what is skipped or blocked always.
    """

    kind: Kind
    archive: Address
    source: str
    version: str
    to_series: str
    from_series: str = ""
    replaces: str = ""
    reason: str = ""
    with_binaries: bool = True
    key: str = ""
    latest: bool = True

    @property
    def changes_something(self) -> bool:
        """Whether applying it changes an archive."""
        return self.kind in (Kind.COPY, Kind.DELETE)

    def __str__(self) -> str:
        return f"{self.kind} {self.source} {self.version} in {self.to_series} of {self.archive}"


@dataclass(frozen=True)
class Plan:
    """What is to be done, in the order in which it is shown; ``held`` counts what the destination holds now.

    ``unembargo`` is the word of consent for copies from a private archive to a public one.
    """

    source: Address | None
    destination: Address
    actions: tuple[Action, ...]
    held: int = 0
    unembargo: bool = False
    notes: tuple[str, ...] = ()

    def of(self, kind: Kind) -> tuple[Action, ...]:
        """The actions of one kind."""
        return tuple(one for one in self.actions if one.kind is kind)

    @property
    def pending(self) -> tuple[Action, ...]:
        """What applying would change."""
        return tuple(one for one in self.actions if one.changes_something)

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        found = Counter(str(one.kind) for one in self.actions)
        return {str(kind): found[str(kind)] for kind in Kind}


@dataclass(frozen=True)
class Guard:
    """Why a plan is not applied unless told so; ``option`` tells so."""

    reason: str
    option: str


def in_order(actions: Sequence[Action]) -> tuple[Action, ...]:
    """As plans are shown: by series, then name; copies before deletions."""
    order = {kind: at for at, kind in enumerate(Kind)}
    return tuple(sorted(actions, key=lambda one: (one.to_series, one.source, order[one.kind], one.version)))
