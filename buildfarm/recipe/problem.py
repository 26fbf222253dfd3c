"""What is wrong with a recipe: where it stands, what it is, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Place:
    """A place in a file; lines and columns count from 1."""

    file: Path
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong: ``message`` says what, ``hint`` says what would be right."""

    file: Path
    line: int
    column: int
    message: str
    hint: str

    def __str__(self) -> str:
        head = f"{self.file}:{self.line}:{self.column}: {self.message}"
        return f"{head}\n  {self.hint}" if self.hint else head


class RecipeFault(Exception):
    """A recipe or a template that cannot be used, with everything found wrong in it."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class RuleError(ValueError):
    """A value breaks a rule: ``brief`` says how, ``hint`` what would be right, ``offset`` where in the text."""

    def __init__(self, brief: str, hint: str, offset: int = 0) -> None:
        super().__init__(brief)
        self.brief = brief
        self.hint = hint
        self.offset = offset


def problem_at(place: Place, message: str, hint: str) -> Problem:
    """The problem of a place."""
    return Problem(place.file, place.line, place.column, message, hint)


def fault_at(place: Place, message: str, hint: str) -> RecipeFault:
    """A fault with one problem."""
    return RecipeFault(problem_at(place, message, hint))


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that ``word`` was most likely meant to be, or "" when none is near."""
    candidates = list(known)
    folded = {candidate.lower(): candidate for candidate in candidates}
    near = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else ""


def suggest(word: str, known: Iterable[str], noun: str) -> str:
    """A hint for an unknown word: the nearest that exists; and all of them, when they are few or none is near."""
    candidates = sorted(known)
    if not candidates:
        return f"There are no {noun} here."
    near = nearest(word, candidates)
    if near and len(candidates) > 8:
        return f"Did you mean {near!r}?"
    everything = f"Known {noun}: {', '.join(candidates)}."
    return f"Did you mean {near!r}? {everything}" if near else everything
