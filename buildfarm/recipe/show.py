"""A resolved recipe for people and programs: YAML that loads again, JSON, each value's origin beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildfarm.recipe.loading import body_of
from buildfarm.recipe.model import Origin, Recipe
from buildfarm.recipe.yaml_tree import plain_scalar

# Where a comment begins at the least, so that short lines have theirs in one column.
COMMENT_COLUMN = 48


@dataclass(frozen=True)
class _Line:
    """A line of YAML, and the dotted key whose value it begins, if any."""

    text: str
    key: str = ""


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """The resolved recipe as plain JSON values, its name first."""
    dumped = recipe.model_dump(mode="json", exclude={"file", "origins"})
    return {"name": recipe.name} | {name: dumped[name] for name in body_of(recipe)}


def recipe_yaml(recipe: Recipe, *, with_origins: bool = False, relative_to: Path | None = None) -> str:
    """The resolved recipe as YAML; loaded again from the same directory it gives the same recipe.

    ``with_origins`` adds a comment to each value: where it comes from, its file relative to ``relative_to``.
    """
    lines = list(_mapping_lines(recipe_values(recipe), "", ""))
    if not with_origins:
        return "".join(f"{line.text}\n" for line in lines)
    return "".join(_with_comment(line, recipe.origins, relative_to) + "\n" for line in lines)


def origin_text(origin: Origin, relative_to: Path | None = None) -> str:
    """An origin as ``file:line:column``, with the sort of place unless it is the recipe; or ``default``."""
    if origin.file is None:
        return "default"
    file = origin.file
    if relative_to is not None and file.is_relative_to(relative_to):
        file = file.relative_to(relative_to)
    kind = "" if origin.kind == "recipe" else f" ({origin.kind})"
    return f"{file}:{origin.line}:{origin.column}{kind}"


def _with_comment(line: _Line, origins: Mapping[str, Origin], relative_to: Path | None) -> str:
    origin = origins.get(line.key)
    if origin is None:
        return line.text
    return f"{line.text:<{COMMENT_COLUMN}}  # {origin_text(origin, relative_to)}"


def _mapping_lines(values: Mapping[str, Any], indent: str, prefix: str) -> Iterator[_Line]:
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield _Line(f"{indent}{_scalar(name)}:")
            yield from _mapping_lines(value, indent + "  ", f"{key}.")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            yield _Line(f"{indent}{_scalar(name)}:", key)
            for item in value:
                yield from _item_lines(item, indent)
        else:
            yield _Line(f"{indent}{_scalar(name)}: {_flow(value)}", key)


def _item_lines(item: Mapping[str, Any], indent: str) -> Iterator[_Line]:
    dash = "- "
    for name, value in item.items():
        yield _Line(f"{indent}{dash}{_scalar(name)}: {_flow(value)}")
        dash = "  "


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return "{}" if isinstance(value, Mapping) else _scalar(value)


def _scalar(value: Any) -> str:
    """A scalar as YAML: bare where nothing else could be read from it, as JSON otherwise (which YAML takes)."""
    bare = (
        isinstance(value, str)
        and re.fullmatch(r"(-{1,2}(?=[A-Za-z]))?[A-Za-z0-9_/.][A-Za-z0-9_/.+~=:@-]*", value)
        and not value.endswith(":")
        and isinstance(plain_scalar(value), str)
    )
    return str(value) if bare else json.dumps(value)
