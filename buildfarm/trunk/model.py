"""What is known of a branch: its commits as plain values, and the one interface git and Bazaar share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from buildfarm.job import Branch

TEXT_LIMIT = 200


@dataclass(frozen=True)
class RevisionInfo:
    """One commit of a branch.

    ``revision`` is a full git commit id or a Bazaar revision id. ``revno`` is the number of commits on its
    mainline, itself included (first parents only). ``committed_at`` is in seconds since the epoch. ``author`` is
    "Name <mail>", ``summary`` the message's first line; neither holds control characters. ``latest_tag`` is the
    nearest tag at or below the commit, "" when there is none.
    """

    vcs: str
    location: str
    branch: str
    revision: str
    revno: int
    committed_at: int
    author: str
    summary: str
    latest_tag: str = ""

    @property
    def short(self) -> str:
        """What people call the commit: the start of a git commit id, ``r12`` in Bazaar."""
        return self.revision[:10] if self.vcs == "git" else f"r{self.revno}"


@dataclass(frozen=True)
class NewCommits:
    """What a branch gained, oldest first; ``rewritten`` when what it was is no part of what it is now."""

    commits: tuple[RevisionInfo, ...]
    rewritten: bool = False


@dataclass(frozen=True)
class TimeLimits:
    """How long a question to a branch may take, and how long bringing its content, in seconds."""

    ask_s: float = 30.0
    fetch_s: float = 900.0


DEFAULT_LIMITS = TimeLimits()


class Trunk(Protocol):
    """A watched branch.

    Every method raises FarmTrouble when the branch cannot be reached, and PackageFault when what it holds
    cannot be used. All may be called from several threads and processes at once.
    """

    @property
    def branch(self) -> Branch:
        """Which branch this is."""

    def tip(self) -> str:
        """The newest commit, asked of the branch itself."""

    def commits_between(self, old: str, new: str) -> NewCommits:
        """The mainline commits of ``new`` that ``old`` does not have, oldest first; only ``new`` for old "".

        Where ``old`` is no ancestor of ``new`` the branch was rewritten: then they are the commits since the two
        parted, or only ``new`` when they never were one or ``old`` is gone.
        """

    def describe(self, revision: str) -> RevisionInfo:
        """What is known of a commit; PackageFault when the branch does not have it."""

    def resolve(self, expression: str) -> str:
        """The commit that a recipe's words mean: a tag, a branch, a number, an id; "" is the tip."""

    def export(
        self,
        revision: str,
        destination: Path,
        *,
        subdir: str = "",
        inside: Path | None = None,
        merges: Sequence[Merge] = (),
    ) -> tuple[str, ...]:
        """Write a commit's content, as committed, to ``destination`` (empty or not there yet).

        ``subdir`` takes only that directory. Symbolic links may point anywhere below ``inside`` (the destination,
        when None). ``merges`` are merged into the commit first; a conflict is a PackageFault that names the
        files. Returns what was left out, a line each.
        """

    def tool(self) -> tuple[str, str]:
        """The name and the version of the tool that reads the branch."""


@dataclass(frozen=True)
class Merge:
    """A commit of another branch, to be merged; ``name`` is what people call that branch."""

    name: str
    trunk: Trunk
    revision: str


def clean_text(text: str) -> str:
    """One line that is safe to show: nothing unprintable, no runs of blanks, of bounded length."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:TEXT_LIMIT]


def clean_author(name: str, mail: str) -> str:
    """``Name <mail>`` with nothing in it that ends either early."""
    name, mail = (re.sub(r"[<>]", "", clean_text(part)) for part in (name, mail))
    return f"{name.strip() or mail or 'unknown'} <{mail.replace(' ', '')}>"
