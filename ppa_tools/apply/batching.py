"""Putting copies into batches: what may be asked for in one go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ppa_tools.address import Address
from ppa_tools.archives.door import Copy, CopyBatch
from ppa_tools.debversion import version_key
from ppa_tools.plan.actions import Action


@dataclass(frozen=True)
class Batch:
    """Actions that are asked for together; any part of them makes a ``CopyBatch``."""

    source: Address
    actions: tuple[Action, ...]
    unembargo: bool
    why: str

    def to_ask(self) -> CopyBatch:
        """What the archive is asked."""
        first = self.actions[0]
        return CopyBatch(
            self.source,
            first.from_series,
            first.to_series,
            tuple(Copy(one.source, one.version, one.key) for one in self.actions),
            first.with_binaries,
            self.unembargo,
            first.latest,
            self.why,
        )

    def halves(self) -> tuple[Batch, ...]:
        """Two smaller batches; none of a single copy."""
        middle = len(self.actions) // 2
        parts = (self.actions[:middle], self.actions[middle:]) if middle else ()
        return tuple(Batch(self.source, part, self.unembargo, self.why) for part in parts)


def in_batches(
    source: Address, actions: Iterable[Action], *, size: int, one_by_one: bool, unembargo: bool, why: str
) -> tuple[Batch, ...]:
    """Copies from one series to another, lower versions first; a source is in a batch once.

    With ``one_by_one``, those that are not the latest stand alone: such an archive is asked for each by itself, so
    that none of them stands for the others when the connection breaks.
    """
    rounds: dict[tuple[str, str, bool, bool, int], list[Action]] = defaultdict(list)
    seen: dict[tuple[str, str, str], int] = defaultdict(int)
    for action in sorted(actions, key=lambda one: (one.source, version_key(one.version))):
        place = (action.from_series, action.to_series, action.source)
        key = (action.from_series, action.to_series, action.with_binaries, action.latest, seen[place])
        rounds[key].append(action)
        seen[place] += 1
    found = []
    for (*_, latest, _), members in sorted(rounds.items(), key=lambda item: (item[0][4], item[0])):
        limit = size if latest or not one_by_one else 1
        found += [Batch(source, part, unembargo, why) for part in _parts(members, limit)]
    return tuple(found)


def _parts(actions: Sequence[Action], size: int) -> Iterable[tuple[Action, ...]]:
    return (tuple(actions[at : at + size]) for at in range(0, len(actions), size))
