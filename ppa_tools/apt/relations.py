"""Relations between packages, as Depends and its kin have them, and whether a version fits one."""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection
from typing import Any, NamedTuple

from debian.deb822 import PkgRelation

from ppa_tools.debversion import version_key


class Relation(NamedTuple):
    """One alternative of a clause; ``architectures`` and ``profiles`` restrict where it holds, None: everywhere.

    ``operator`` and ``version`` are "" where any version does.
    """

    name: str
    qualifier: str = ""
    operator: str = ""
    version: str = ""
    architectures: tuple[tuple[bool, str], ...] | None = None
    profiles: tuple[tuple[tuple[bool, str], ...], ...] | None = None

    def __str__(self) -> str:
        name = f"{self.name}:{self.qualifier}" if self.qualifier else self.name
        return f"{name} ({self.operator} {self.version})" if self.operator else name

    def holds_on(self, architecture: str, profiles: Collection[str] = ()) -> bool:
        """Whether it counts on an architecture, with these build profiles."""
        if self.architectures is not None:
            named = [_is_concerned(architecture, name) for _, name in self.architectures]
            wanted = self.architectures[0][0]
            if any(named) != wanted:
                return False
        return self.profiles is None or any(
            all((name in profiles) == wanted for wanted, name in formula) for formula in self.profiles
        )

    def fits(self, version: str) -> bool:
        """Whether a version of the named package does."""
        if not self.operator:
            return True
        try:
            here, there = version_key(version), version_key(self.version)
        except ValueError:
            return False
        match self.operator:
            case "=":
                return here == there
            case ">=" | ">":
                return here >= there
            case "<=" | "<":
                return here <= there
            case ">>":
                return here > there
            case _:
                return here < there


# It warns of relations that it cannot read, on stderr: what a stranger's index has there is no news for people.
logging.getLogger("debian.deb822").addHandler(logging.NullHandler())

Clause = tuple[Relation, ...]
"""Alternatives, one of which is enough."""


@functools.lru_cache(maxsize=65536)
def parse_relations(text: str) -> tuple[Clause, ...]:
    """The clauses of a field's value, all of which are wanted; what cannot be read is a name that nobody has."""
    wanted = ", ".join(clause for part in text.split(",") if (clause := part.strip()))
    if not wanted:
        return ()
    return tuple(tuple(_relation(one) for one in clause) for clause in PkgRelation.parse_relations(wanted))


def clause_text(clause: Clause) -> str:
    """A clause as the field has it."""
    return " | ".join(str(one) for one in clause)


def _relation(parsed: Any) -> Relation:
    operator, version = parsed["version"] or ("", "")
    architectures, profiles = parsed["arch"], parsed["restrictions"]
    return Relation(
        parsed["name"],
        parsed["archqual"] or "",
        operator,
        version,
        None if architectures is None else tuple((bool(one.enabled), one.arch) for one in architectures),
        None
        if profiles is None
        else tuple(tuple((bool(one.enabled), one.profile) for one in formula) for formula in profiles),
    )


@functools.lru_cache(maxsize=1024)
def _is_concerned(architecture: str, wildcard: str) -> bool:
    """Whether an architecture is, or matches, another, as ``linux-any`` is; dpkg knows them."""
    if architecture == wildcard or wildcard == "any":
        return True
    if "any" not in wildcard:
        return False
    return bool(_architecture_table().matches_architecture(architecture, wildcard))


@functools.cache
def _architecture_table() -> Any:
    from debian.debian_support import DpkgArchTable

    return DpkgArchTable.load_arch_table()
