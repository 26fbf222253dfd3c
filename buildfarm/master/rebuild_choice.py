"""Which rebuild goes where, and when: what is given to Buildbot of what is due, and who may take it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from buildfarm.regress.lookups import OWN_KINDS
from buildfarm.regress.records import Build, Night, Rebuild

AHEAD = 2
"""Builds that are given to Buildbot for each worker: one that runs, and one that waits. The others wait on record,
where what comes after a failure goes before them, and where a thousand of them cost nothing."""
ALL_OUT_PATIENCE_S = 3600.0
"""How long builds wait for somebody to put a worker back when all are out; then they end without a verdict."""
GONE_AFTER_S = 900.0
BEHIND_COMMITS = -2_000_000
BEHIND_ALL = -10_000_000
NIGHT_STEP, LONGEST_RANK, FIRST_RANK = 10_000, 9_998, 9_999


@dataclass(frozen=True)
class Workers:
    """The workers that rebuild, by name.

    ``out`` are those out of service: why, and since when (epoch seconds). ``gone`` are those that have not been
    connected for so long that nothing waits for them any more.
    """

    names: tuple[str, ...]
    out: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()

    @property
    def in_service(self) -> tuple[str, ...]:
        """Those that may be given something."""
        return tuple(name for name in self.names if name not in self.out and name not in self.gone)

    def hopeless_since(self) -> float | None:
        """Since when all workers are out of service (epoch seconds); None while one is not."""
        if not self.names or not self.out.keys() >= set(self.names):
            return None
        return max(self.out[name][1] for name in self.names)


def choose_due(due: Sequence[Build], submitted: Iterable[Build], workers: Workers) -> tuple[Build, ...]:
    """Of what is due, in its order, what Buildbot is given now, besides what it was given before.

    A search for a culprit is given out only when nothing else waits: it is long, and nobody waits for it.
    """
    serving = set(workers.in_service)
    load = Counter(_place(one) for one in submitted)
    room = {
        "": AHEAD * len(serving),
        "culprit": len(serving),
        "publish": AHEAD,  # for the signing worker, which is in service whoever else is
        **dict.fromkeys(serving, AHEAD),
    }
    searches_only = all(one.kind == "culprit" or is_signers(one) for one in due)
    chosen = []
    for one in due:
        place = _place(one)
        if load[place] < room.get(place, 0) and (searches_only or one.kind != "culprit"):
            load[place] += 1
            chosen.append(one)
    return tuple(chosen)


def _place(build: Build) -> str:
    if is_signers(build):
        return "publish"
    return "culprit" if build.kind == "culprit" else build.wanted_worker


def is_signers(build: Build) -> bool:
    """Whether the signing worker does it: it publishes, or Launchpad builds."""
    return build.kind == "publish" or (build.kind in OWN_KINDS and build.job.is_launchpads)


def priority_of(night: Night, rebuild: Rebuild, build: Build) -> int:
    """A build's priority in Buildbot: after all commits; by its set's; what follows a failure; the longest."""
    base = BEHIND_ALL if build.kind == "culprit" else BEHIND_COMMITS
    if build.kind != "first":
        rank = FIRST_RANK
    elif rebuild.expected_s is None:  # it may be the longest of all
        rank = LONGEST_RANK
    else:
        rank = min(LONGEST_RANK, int(rebuild.expected_s) // 10)
    return base + night.settings.priority * NIGHT_STEP + rank


@dataclass(frozen=True)
class Wish:
    """Where a build wants to be: on one worker ("" is any), not on others if there are more, alone there."""

    worker: str = ""
    avoid: frozenset[str] = frozenset()
    alone: bool = False


def may_run_on(wish: Wish, worker: str, workers: Workers, connected: Iterable[str]) -> bool:
    """Whether a worker may take a build, as far as its wishes go."""
    if worker in workers.out:
        return False
    if wish.worker:
        return wish.worker == worker
    others = {name for name in connected if name in workers.in_service}
    return worker not in wish.avoid or not others - wish.avoid
