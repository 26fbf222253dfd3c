"""The check of version templates, which are written in the words of Launchpad's ``deb-version``."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal

from buildfarm.recipe.problem import RuleError, suggest
from buildfarm.source.version import VARIABLES

Format = Literal["0.1", "0.2", "0.3", "0.4"]
FORMATS: tuple[Format, ...] = ("0.1", "0.2", "0.3", "0.4")


_PIECE = re.compile(r"\{([^{}]*)\}|([A-Za-z0-9.+~:-]+)")


def check_version_template(text: str, branches: Collection[str] = (), recipe_format: Format | None = None) -> str:
    """A version template; raises RuleError with the offset of what is wrong.

    ``branches`` are the names that ``{revno:NAME}`` may use. With a format of Launchpad's recipes only the
    variables of that format are taken; without, the farm's own too.
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


def _check_variable(text: str, branches: Collection[str], recipe_format: Format | None, offset: int) -> None:
    name, colon, branch = text.partition(":")
    variable = VARIABLES.get(name)
    if variable is None or (recipe_format and not variable.minimum_format):
        known = [one.name for one in VARIABLES.values() if one.minimum_format or not recipe_format]
        raise RuleError(f"unknown variable {{{name}}}", suggest(name, known, "variables"), offset)
    if recipe_format and variable.minimum_format > recipe_format:
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
