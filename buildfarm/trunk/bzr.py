"""Bazaar: a branch on this machine is read where it is, one elsewhere through a mirror that a child brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.job import Branch
from buildfarm.trunk.location import local_path, locked, mirror_path
from buildfarm.trunk.model import DEFAULT_LIMITS, Merge, NewCommits, RevisionInfo, TimeLimits
from buildfarm.trunk.tree import settle_tree


@dataclass(frozen=True)
class BzrTrunk:
    """A Bazaar branch.

    Reading a local branch runs nothing that its owner wrote and takes less than a millisecond, so it is done in
    this process. Everything over a network is done by a child that is killed at its time limit, because breezy
    itself waits for ever.
    """

    branch: Branch
    cache: Path
    limits: TimeLimits = DEFAULT_LIMITS

    def tip(self) -> str:
        """See ``Trunk``."""
        from buildfarm.trunk import breezy_room

        path = local_path(self.branch.location)
        if path is not None:
            return breezy_room.tip(path)
        from buildfarm.trunk.bzr_child import ask

        return ask("tip", self.branch.location, timeout_s=self.limits.ask_s)

    def commits_between(self, old: str, new: str) -> NewCommits:
        """See ``Trunk``."""
        from buildfarm.trunk import breezy_room

        try:
            path = self._with(new)
        except PackageFault as gone:
            raise FarmTrouble(
                gone.brief, where=gone.where, resolution="The branch moved meanwhile; it is looked at again."
            ) from gone
        return breezy_room.commits_between(path, self.branch.location, old, new)

    def describe(self, revision: str) -> RevisionInfo:
        """See ``Trunk``."""
        from buildfarm.trunk import breezy_room

        return breezy_room.describe(self._with(revision), self.branch.location, revision)

    def resolve(self, expression: str) -> str:
        """See ``Trunk``: ``revno:12`` or ``12``, dotted too; ``tag:1.0`` or ``1.0``; ``revid:`` and the id."""
        from buildfarm.trunk import breezy_room

        tip = self.tip()
        return breezy_room.resolve(self._with(tip), self.branch.location, expression) if expression else tip

    def export(
        self,
        revision: str,
        destination: Path,
        *,
        subdir: str = "",
        inside: Path | None = None,
        merges: Sequence[Merge] = (),
    ) -> tuple[str, ...]:
        """See ``Trunk``. Directories are kept when they are empty: Bazaar versions them."""
        from buildfarm.trunk import breezy_room

        paths = []
        for merge in merges:
            if not isinstance(merge.trunk, BzrTrunk):
                raise PackageFault(
                    f"{merge.name}: only a Bazaar branch can be merged into a Bazaar trunk",
                    resolution="Nest the branch instead, or name one in Bazaar.",
                )
            paths.append(merge.trunk._with(merge.revision))
        own = self._with(revision)
        left_out = breezy_room.export(own, revision, destination, subdir, tuple(zip(merges, paths, strict=True)))
        settle_tree(destination, inside or destination)
        return left_out

    def tool(self) -> tuple[str, str]:
        """See ``Trunk``."""
        from buildfarm.trunk import breezy_room

        return "breezy", breezy_room.version()

    def _with(self, revision: str) -> Path:
        """The local branch that has ``revision``: this one, or its mirror; PackageFault when it is gone."""
        from buildfarm.trunk import breezy_room

        path = local_path(self.branch.location)
        if path is not None:
            if breezy_room.has(path, revision):
                return path
            raise self._gone(revision)
        mirror = mirror_path(self.cache, self.branch, ".bzr")
        if mirror.is_dir() and breezy_room.has(mirror, revision):
            return mirror
        from buildfarm.trunk.bzr_child import ask

        with locked(mirror.with_name(mirror.name + ".lock"), self.limits.fetch_s):
            if not mirror.is_dir() or not breezy_room.has(mirror, revision):
                ask("fetch", self.branch.location, str(mirror), timeout_s=self.limits.fetch_s)
                if not breezy_room.has(mirror, revision):
                    raise self._gone(revision)
        return mirror

    def _gone(self, revision: str) -> PackageFault:
        return PackageFault(
            f"the branch was rewritten: revision {revision} is gone from it",
            where=self.branch.location,
            resolution="Nothing is to be done when the rewriting was meant: what replaced the revision has a"
            " run of its own. Else push the revision again and start this run once more.",
        )
