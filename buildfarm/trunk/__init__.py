"""Watched branches: git and Bazaar behind one interface, ``Trunk``; importing this loads neither tool."""

from __future__ import annotations

from pathlib import Path

from buildfarm.files import read_json
from buildfarm.job import Branch, from_plain
from buildfarm.trunk.bzr import BzrTrunk
from buildfarm.trunk.git import GitTrunk
from buildfarm.trunk.location import check_branch, local_path, redact
from buildfarm.trunk.model import DEFAULT_LIMITS, Merge, NewCommits, RevisionInfo, TimeLimits, Trunk
from buildfarm.trunk.tree import TreeSummary, summarize_tree
from buildfarm.workspace import Workspace

__all__ = [
    "REVISIONS_FILE",
    "BzrTrunk",
    "GitTrunk",
    "Merge",
    "NewCommits",
    "RevisionInfo",
    "TimeLimits",
    "TreeSummary",
    "Trunk",
    "local_path",
    "open_trunk",
    "read_revisions",
    "redact",
    "summarize_tree",
]

REVISIONS_FILE = "checkout/revision.json"


def open_trunk(branch: Branch, cache: Path, *, limits: TimeLimits = DEFAULT_LIMITS) -> Trunk:
    """The branch, ready to be asked; ``cache`` is a directory for mirrors that processes may share.

    Nothing is read yet. Raises PackageFault for a location that is none.
    """
    kind: type[GitTrunk] | type[BzrTrunk] = GitTrunk if branch.vcs == "git" else BzrTrunk
    return kind(check_branch(branch), cache, limits)


def read_revisions(workspace: Workspace) -> dict[str, RevisionInfo]:
    """What checkout left: the trunk's commit under "", and the parts' under their names.

    Raises FileNotFoundError before checkout has passed.
    """
    listed = read_json(workspace.path / REVISIONS_FILE)
    return {
        one["name"]: from_plain(RevisionInfo, {key: value for key, value in one.items() if key != "name"})
        for one in listed
    }
