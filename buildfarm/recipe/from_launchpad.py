"""Launchpad recipe text inside a recipe: its branches as the recipe's own keys, placed where they were written."""

from __future__ import annotations

import re
from dataclasses import replace

from buildfarm.recipe.launchpad_text import (
    Instruction,
    LaunchpadRecipe,
    LaunchpadTextError,
    Spot,
    join,
    parse_launchpad_text,
)
from buildfarm.recipe.layers import check_source_alone
from buildfarm.recipe.problem import Place, fault_at
from buildfarm.recipe.yaml_tree import Node

_COMMIT = re.compile(r"[0-9a-f]{7,64}")


def unfold_source(tree: Node) -> Node:
    """The tree with ``source:`` replaced by trunk, parts and version; raises RecipeFault."""
    source = tree.entries.get("source")
    if source is None or not isinstance(source.value, str) or not source.value:
        return tree.without("source")
    check_source_alone(tree)
    try:
        recipe = parse_launchpad_text(source.value)
    except LaunchpadTextError as error:
        raise fault_at(_place(source, Spot(error.line, error.column)), error.brief, error.hint) from error
    _refuse_pinned_trunk(recipe, source)

    def node(value: str, spot: Spot) -> Node:
        return Node(value, _place(source, spot), source.kind, text=value, bare=True)

    branch = {"vcs": node(recipe.vcs, Spot()), "location": node(recipe.url, recipe.url_spot)}
    if recipe.revision:
        branch["branch"] = node(recipe.revision, recipe.revision_spot)
    trunk = tree.entries.get("trunk", Node({}, _place(source, recipe.url_spot), source.kind))
    for key, value in branch.items():
        trunk = trunk.with_entry(key, value)
    parts = tuple(_part(recipe, source, directory, one) for directory, one in recipe.walk())
    tree = tree.without("source").with_entry("trunk", trunk)
    if parts:
        tree = tree.with_entry("parts", Node(parts, parts[0].place, source.kind))
    if recipe.deb_version:
        template = node(recipe.deb_version, recipe.version_spot)
        version = Node({"template": template}, template.place, source.kind, {"template": template.place})
        tree = tree.with_entry("version", version)
    return tree


def _part(recipe: LaunchpadRecipe, source: Node, directory: str, one: Instruction) -> Node:
    """One instruction as an entry of ``parts:``; REV is a branch, a tag or a commit, as the branch has it."""
    values = {
        "vcs": (recipe.vcs, "kind"),
        "location": (one.url, "url"),
        "kind": (one.kind, "kind"),
        "name": (one.name, "name"),
        "into": (directory if one.kind == "merge" else join(directory, one.target), "into"),
        "subdir": (one.subdir, "subdir"),
        "revision": (one.revision, "revision"),
    }
    place = _place(source, one.spots["kind"])
    places = {
        key: _place(source, one.spots[spot]) if spot in one.spots else place for key, (_, spot) in values.items()
    }
    entries = {
        key: Node(value, places[key], source.kind, text=value, bare=True)
        for key, (value, _) in values.items()
        if value
    }
    return Node(entries, place, source.kind, places)


def _refuse_pinned_trunk(recipe: LaunchpadRecipe, source: Node) -> None:
    if recipe.revision and (recipe.vcs == "bzr" or _COMMIT.fullmatch(recipe.revision)):
        raise fault_at(
            _place(source, recipe.revision_spot),
            f"the branch to start from is held at {recipe.revision}",
            "The farm watches that branch and builds each new commit: leave the revision out"
            + (", or name a branch." if recipe.vcs == "git" else "."),
        )


def _place(source: Node, spot: Spot) -> Place:
    """A spot of the text as a place in the YAML file; only a literal block (``|``) keeps its lines."""
    if source.indent is None:
        return source.place
    return replace(source.place, line=source.place.line + spot.line, column=source.indent + spot.column)
