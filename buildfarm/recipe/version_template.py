"""Version templates, in the words of Launchpad's ``deb-version``: which variables there are, and their checks."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from buildfarm.recipe.problem import RuleError, suggest

Format = Literal["0.1", "0.2", "0.3", "0.4"]
FORMATS: tuple[Format, ...] = ("0.1", "0.2", "0.3", "0.4")


@dataclass(frozen=True)
class Variable:
    """A variable: the recipe format that brought it, and whether ``{NAME:BRANCH}`` may name a branch."""

    name: str
    minimum_format: Format
    of_a_branch: bool = True


VARIABLES = {
    variable.name: variable
    for variable in (
        Variable("time", "0.1", of_a_branch=False),
        Variable("date", "0.1", of_a_branch=False),
        Variable("revno", "0.1"),
        Variable("debupstream", "0.1"),
        Variable("debversion", "0.3"),
        Variable("debupstream-base", "0.3"),
        Variable("revtime", "0.4"),
        Variable("revdate", "0.4"),
        Variable("git-commit", "0.4"),
        Variable("latest-tag", "0.4"),
        Variable("svn-revno", "0.4"),
    )
}
_PIECE = re.compile(r"\{([^{}]*)\}|([A-Za-z0-9.+~:-]+)")


def check_version_template(text: str, branches: Collection[str] = (), recipe_format: Format = "0.4") -> str:
    """A version template; raises RuleError with the offset of what is wrong.

    ``branches`` are the names that ``{revno:NAME}`` may use.
    """
    offset = 0
    while offset < len(text):
        piece = _PIECE.match(text, offset)
        if piece is None:
            raise RuleError(
                f"{text[offset]!r} cannot stand in a version",
                "Versions have letters, digits, . + ~ : - and variables, as in {debupstream}+r{revno}.",
                offset,
            )
        if piece[1] is not None:
            _check_variable(piece[1], branches, recipe_format, offset)
        offset = piece.end()
    return text


def _check_variable(text: str, branches: Collection[str], recipe_format: Format, offset: int) -> None:
    name, colon, branch = text.partition(":")
    variable = VARIABLES.get(name)
    if variable is None:
        raise RuleError(f"unknown variable {{{name}}}", suggest(name, VARIABLES, "variables"), offset)
    if variable.minimum_format > recipe_format:
        raise RuleError(
            f"{{{name}}} needs format {variable.minimum_format}, this is {recipe_format}",
            f"Write 'format {variable.minimum_format}' in the first line.",
            offset,
        )
    if colon and not variable.of_a_branch:
        raise RuleError(f"{{{name}}} belongs to no branch", f"Write {{{name}}}.", offset)
    if colon and branch not in branches:
        raise RuleError(
            f"{{{text}}} names a branch that is not here", suggest(branch, branches, "branches"), offset
        )
