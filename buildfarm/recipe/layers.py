"""Laying trees over each other: templates under the recipe, the matrix over both; all purely on YAML trees."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from buildfarm.recipe.problem import Place, RecipeFault, RuleError, fault_at, problem_at, suggest
from buildfarm.recipe.rules import NAME_LIMIT, check_name
from buildfarm.recipe.yaml_tree import Node

COMBINATIONS_LIMIT = 256
MANAGING_KEYS = ("extends", "name", "matrix", "exclude")
SOURCE_KEYS = ("packaging", "parts", "version")
BRANCH_KEYS = ("vcs", "location", "branch")


@dataclass(frozen=True)
class Variant:
    """One recipe of a file: its name, where the name comes from (None: made by default), and its tree."""

    name: str
    name_node: Node | None
    tree: Node


def merge(base: Node, over: Node) -> Node:
    """``over`` laid over ``base``: mappings merge, everything else replaces."""
    if not isinstance(base.value, Mapping) or not isinstance(over.value, Mapping):
        return over
    merged = {
        **base.value,
        **{
            key: merge(base.value[key], value) if key in base.value else value for key, value in over.value.items()
        },
    }
    return replace(over, value=merged, keys={**base.keys, **over.keys})


def lay_over(template: Node, recipe: Node) -> Node:
    """A recipe (or a template) over a template: ``merge``, and the call site wins in two more ways.

    A key that the call site gives itself takes the axis of that key out of the template's matrix; and
    ``source:`` at the call site replaces what the template says about trunk, packaging, parts and version,
    as a trunk at the call site replaces the template's ``source:``.
    """
    template = _without_axes(template, recipe)
    if "source" in recipe.entries:
        template = template.without(*SOURCE_KEYS)
        trunk = template.entries.get("trunk")
        if trunk is not None:
            template = template.with_entry("trunk", trunk.without(*BRANCH_KEYS))
    elif recipe.at("trunk", "location") is not None:
        template = template.without("source")
    return merge(template, recipe)


def _without_axes(template: Node, recipe: Node) -> Node:
    matrix = template.entries.get("matrix")
    if matrix is None:
        return template
    given = [axis for axis in matrix.entries if recipe.at(*axis.split(".")) is not None]
    if not given:
        return template
    template = template.with_entry("matrix", matrix.without(*given))
    exclude = template.entries.get("exclude")
    if exclude is None:
        return template
    kept = tuple(item for item in exclude.items if not set(item.entries) & set(given))
    return template.with_entry("exclude", replace(exclude, value=kept))


def expand(tree: Node, stem: str, known_axes: Collection[str]) -> list[Variant]:
    """The recipes of one file: one for each combination of its matrix that is not excluded.

    ``stem`` names recipes by default; ``known_axes`` are the dotted keys that a matrix may vary. Raises
    RecipeFault.
    """
    axes = _axes(tree, known_axes)
    combinations = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    exclude = tree.entries.get("exclude")
    for rule in exclude.items if exclude is not None else ():
        combinations = _apply_exclude(rule, combinations, axes)
    if not combinations:
        place = exclude.place if exclude is not None else tree.place
        raise fault_at(place, "exclude leaves nothing of the matrix", "Remove an entry of exclude:.")
    return [_variant(tree, stem, combination) for combination in combinations]


def _axes(tree: Node, known: Collection[str]) -> dict[str, tuple[Node, ...]]:
    matrix = tree.entries.get("matrix")
    if matrix is None:
        return {}
    count = 1
    for axis, values in matrix.entries.items():
        if axis not in known and not re.fullmatch(r"unittest\.environment\.[A-Za-z_][A-Za-z0-9_]*", axis):
            raise fault_at(matrix.keys[axis], f"{axis!r} cannot be varied", suggest(axis, known, "keys"))
        plain = [value.plain() for value in values.items]
        twice = next((n for n, value in enumerate(plain) if value in plain[:n]), None)
        if twice is not None:
            raise fault_at(values.items[twice].place, "this value is listed twice", "Name each value once.")
        count *= len(plain)
    if count > COMBINATIONS_LIMIT:
        raise fault_at(
            matrix.place,
            f"the matrix has {count} combinations; {COMBINATIONS_LIMIT} is the limit",
            "Make several recipes with one template.",
        )
    return {axis: values.items for axis, values in matrix.entries.items()}


Combination = dict[str, Node]


def _apply_exclude(rule: Node, combinations: list[Combination], axes: Collection[str]) -> list[Combination]:
    """What is left without the combinations that have all the values of ``rule``; a rule must match something."""
    if not rule.entries:
        raise fault_at(rule.place, "this entry would exclude everything", "Name axes and values.")
    for axis in rule.entries:
        if axis not in axes:
            raise fault_at(rule.keys[axis], f"{axis!r} is no axis of the matrix", suggest(axis, axes, "axes"))

    def matches(combination: Combination) -> bool:
        return all(combination[axis].plain() == value.plain() for axis, value in rule.entries.items())

    left = [combination for combination in combinations if not matches(combination)]
    if len(left) == len(combinations):
        raise fault_at(
            rule.place,
            "this entry excludes nothing",
            "Its values must stand in the matrix as they stand here, and not be excluded before.",
        )
    return left


def _variant(tree: Node, stem: str, combination: Combination) -> Variant:
    for axis, value in combination.items():
        tree = _set(tree, axis.split("."), _as_matrix(value))
    name_node = tree.entries.get("name")
    if name_node is not None and isinstance(name_node.value, str) and name_node.value:
        name = _fill_name(name_node, combination)
        place, hint = name_node.place, ""
    else:
        name_node = None
        name = _valid_name("-".join([stem, *map(_name_of, combination.values())]))
        place, hint = Place(tree.place.file), " Give the recipe a name: of its own."
    try:
        check_name(name)
    except RuleError as error:
        raise fault_at(place, error.brief, error.hint + hint) from error
    return Variant(name, name_node, tree.without(*MANAGING_KEYS))


def _set(tree: Node, path: list[str], value: Node) -> Node:
    key, *rest = path
    if rest:
        inner = tree.entries.get(key)
        if inner is None or not isinstance(inner.value, Mapping):
            inner = Node({}, value.place, value.kind)
        value = _set(inner, rest, value)
    return tree.with_entry(key, value)


def _as_matrix(node: Node) -> Node:
    """The value, and all in it, marked as given by the matrix."""
    value: Any = node.value
    if isinstance(value, tuple):
        value = tuple(_as_matrix(item) for item in value)
    elif isinstance(value, Mapping):
        value = {key: _as_matrix(item) for key, item in value.items()}
    return replace(node, value=value, kind="matrix")


def _fill_name(node: Node, combination: Combination) -> str:
    def fill(match: re.Match[str]) -> str:
        if match[1] not in combination:
            place = replace(node.place, column=node.place.column + match.start())
            raise fault_at(
                place, f"{{{match[1]}}} is no axis of the matrix", suggest(match[1], combination, "axes")
            )
        return _valid_name(_name_of(combination[match[1]]))

    return re.sub(r"\{([^{}]*)\}", fill, str(node.value))


def _name_of(node: Node) -> str:
    if isinstance(node.value, tuple):
        return "-".join(_name_of(item) for item in node.value)
    if isinstance(node.value, Mapping):
        return "-".join(_name_of(item) for item in node.value.values())
    return node.text or str(node.value)


def _valid_name(text: str) -> str:
    """The nearest valid name: lower case, every run of other characters a dash, none at the ends."""
    return re.sub(r"[^a-z0-9+.]+", "-", text.lower()).strip("-+.")[:NAME_LIMIT].rstrip("-+.")


def check_source_alone(tree: Node) -> None:
    """Launchpad text says all about the branches: nothing else may; raises RecipeFault."""
    problems = [
        problem_at(
            tree.keys[key],
            f"{key} and source are both given",
            "The Launchpad text in source: says it already; remove one of the two.",
        )
        for key in SOURCE_KEYS
        if key in tree.entries
    ]
    trunk = tree.entries.get("trunk")
    if trunk is not None:
        problems += [
            problem_at(
                trunk.keys[key],
                f"trunk.{key} and source are both given",
                "The first branch of source: is the trunk; only trunk.poll_interval_s may stand beside it.",
            )
            for key in BRANCH_KEYS
            if key in trunk.entries
        ]
    if problems:
        raise RecipeFault(*problems)
