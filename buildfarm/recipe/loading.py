"""A directory of YAML files to recipes: each file by itself, so that a bad one stops nobody but itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from buildfarm.errors import UsageError
from buildfarm.recipe.explain import dotted_keys, explain
from buildfarm.recipe.from_launchpad import unfold_source
from buildfarm.recipe.layers import MANAGING_KEYS, Variant, expand, lay_over
from buildfarm.recipe.model import DEFAULT_ORIGIN, Origin, Recipe, RecipeFile
from buildfarm.recipe.problem import Place, Problem, RecipeFault, fault_at, problem_at, suggest
from buildfarm.recipe.yaml_tree import Node, read_tree

SUFFIXES = (".yaml", ".yml")
TEMPLATES_DIRECTORY = "templates"
# Package sets, which are no recipes: see buildfarm/regress/sets.py.
SETS_FILE = "regression.yaml"
AXES = tuple(key for key in dotted_keys(RecipeFile) if key not in MANAGING_KEYS)


@dataclass(frozen=True)
class Defaults:
    """What a recipe that names no series or architectures is built for."""

    series: tuple[str, ...]
    architectures: tuple[str, ...]


@dataclass(frozen=True)
class RecipeBook:
    """All recipes that load, by name and sorted, and all that is wrong with the others."""

    recipes: Mapping[str, Recipe]
    problems: tuple[Problem, ...]

    def find(self, name: str) -> Recipe:
        """The recipe of a name; raises UsageError with the nearest that exist, or with why it did not load."""
        if name in self.recipes:
            return self.recipes[name]
        own = [problem for problem in self.problems if problem.file.stem == name]
        raise UsageError(
            f"no recipe is named {name!r}",
            details="\n".join(map(str, own)),
            resolution="Mend the file; the farm takes it up then."
            if own
            else suggest(name, self.recipes, "recipes"),
        )


def load_recipes(
    directory: Path, default_series: tuple[str, ...], default_architectures: tuple[str, ...]
) -> RecipeBook:
    """Every recipe of a directory (``*.yaml``, ``*.yml``; templates in ``templates/``).

    Never raises for what the files hold: whatever is wrong stands in ``problems``, sorted by place.
    """
    if not directory.is_dir():
        problem = Problem(directory, 1, 1, "there is no such directory", "Recipes live in recipes/.")
        return RecipeBook(MappingProxyType({}), (problem,))
    return load_files(
        recipe_files(directory), directory / TEMPLATES_DIRECTORY, Defaults(default_series, default_architectures)
    )


def yaml_files(directory: Path) -> list[Path]:
    """The YAML files of a directory, sorted; hidden ones (an editor's) are left out."""
    if not directory.is_dir():
        return []
    return sorted(
        path for path in directory.iterdir() if path.suffix in SUFFIXES and not path.name.startswith(".")
    )


def recipe_files(directory: Path) -> list[Path]:
    """The recipes among the YAML files of a directory."""
    return [path for path in yaml_files(directory) if path.name != SETS_FILE]


def load_files(files: Sequence[Path], templates_directory: Path, defaults: Defaults) -> RecipeBook:
    """The recipes of these files; of two with one name the later is the problem."""
    templates = Templates(templates_directory)
    problems = set(templates.problems())
    recipes: dict[str, Recipe] = {}
    for file in files:
        try:
            found = load_file(file, templates, defaults)
        except RecipeFault as fault:
            problems.update(fault.problems)
            continue
        for recipe in found:
            if (first := recipes.get(recipe.name)) is not None:
                problems.add(_same_name(recipe, first))
            else:
                recipes[recipe.name] = recipe
    return RecipeBook(MappingProxyType(dict(sorted(recipes.items()))), tuple(sorted(problems)))


def _same_name(recipe: Recipe, first: Recipe) -> Problem:
    origin = recipe.origins["name"]
    place = Place(origin.file or recipe.file, max(origin.line, 1), max(origin.column, 1))
    if first.file == recipe.file:
        hint = 'Name the axes that differ, as in name: "hello-{trunk.branch}".'
    else:
        hint = f"It is the name of {first.file} already; give this one another, with name:."
    return problem_at(place, f"a second recipe is named {recipe.name!r}", hint)


def load_file(file: Path, templates: Templates, defaults: Defaults) -> list[Recipe]:
    """The recipes of one file, one for each combination of its matrix; raises RecipeFault."""
    own = read_checked(file, "recipe")
    tree = templates.lay_under(own)
    variants = expand(tree, file.stem, AXES)
    recipes: list[Recipe] = []
    problems: list[Problem] = []
    for variant in variants:
        try:
            recipes.append(_resolve(variant, file, defaults))
        except RecipeFault as fault:
            problems += fault.problems
    if problems:
        raise RecipeFault(*dict.fromkeys(problems))
    return recipes


def read_checked(file: Path, kind: Any) -> Node:
    """The tree of a recipe or a template, each key and value checked by itself; raises RecipeFault."""
    tree = read_tree(file, kind)
    if tree.value is None:
        if kind == "template":
            return Node({}, tree.place, kind)
        raise fault_at(Place(file), "the file is empty", "A recipe has trunk: and publish: at least.")
    try:
        RecipeFile.model_validate(tree.plain())
    except ValidationError as error:
        if problems := explain(error, tree, RecipeFile, partial=True):
            raise RecipeFault(*problems) from error
    return tree


@dataclass
class Templates:
    """The templates of a directory, each read once."""

    directory: Path
    _read: dict[str, Node | RecipeFault] = field(default_factory=dict)

    def files(self) -> dict[str, Path]:
        """Every template's file by its name."""
        return {path.stem: path for path in yaml_files(self.directory)}

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the templates themselves, used or not."""
        for name in self.files():
            try:
                self._get(name)
            except RecipeFault as fault:
                yield from fault.problems

    def lay_under(self, tree: Node, chain: tuple[str, ...] = ()) -> Node:
        """The tree with all the templates it extends under it; raises RecipeFault."""
        extends = tree.entries.get("extends")
        if extends is None:
            return tree
        base: Node | None = None
        for node in extends.items or (extends,):
            name = str(node.value)
            if name in chain:
                circle = " extends ".join((*chain[chain.index(name) :], name))
                raise fault_at(node.place, f"templates go in a circle: {circle}", "Remove one extends:.")
            layer = self.lay_under(self._named(name, node), (*chain, name))
            base = layer if base is None else lay_over(base, layer)
        return lay_over(base, tree) if base is not None else tree

    def _named(self, name: str, node: Node) -> Node:
        known = self.files()
        if name not in known:
            raise fault_at(node.place, f"no template is named {name!r}", suggest(name, known, "templates"))
        try:
            return self._get(name)
        except RecipeFault as fault:
            raise fault_at(
                node.place, f"the template {name!r} cannot be used", f"Mend it first: {fault.problems[0]}"
            ) from fault

    def _get(self, name: str) -> Node:
        if name not in self._read:
            try:
                self._read[name] = read_checked(self.files()[name], "template")
            except RecipeFault as fault:
                self._read[name] = fault
        found = self._read[name]
        if isinstance(found, RecipeFault):
            raise found
        return found


def _resolve(variant: Variant, file: Path, defaults: Defaults) -> Recipe:
    """The recipe of one combination, checked as a whole; raises RecipeFault."""
    tree = unfold_source(variant.tree)
    values = tree.plain()
    values.setdefault("series", defaults.series)
    values.setdefault("architectures", defaults.architectures)
    try:
        # The whole is checked first without, then with its origins: they are told of the checked values.
        recipe = Recipe.model_validate(
            {**values, "name": variant.name, "file": file, "origins": {}}, context=file.parent.absolute()
        )
    except ValidationError as error:
        raise RecipeFault(*explain(error, tree, Recipe)) from error
    origins = {"name": _origin(variant.name_node), **_origins(recipe, tree)}
    return recipe.model_copy(update={"origins": origins})


def _origin(node: Node | None) -> Origin:
    if node is None:
        return DEFAULT_ORIGIN
    return Origin(node.place.file, node.place.line, node.place.column, node.kind)


def _origins(recipe: Recipe, tree: Node) -> dict[str, Origin]:
    """Where each value comes from, by its dotted key; a list is one value."""
    origins: dict[str, Origin] = {}

    def note(value: Any, node: Node | None, key: str) -> None:
        inner = _entries(value)
        if inner is None or not inner:
            origins[key] = _origin(node)
            return
        for name, item in inner.items():
            note(item, node.entries.get(name) if node is not None else None, f"{key}.{name}" if key else name)

    for name, value in body_of(recipe).items():
        note(value, tree.entries.get(name), name)
    return origins


def body_of(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says, by key, in the order in which people write it."""
    names = [
        "trunk",
        *(name for name in type(recipe).model_fields if name not in ("trunk", "name", "file", "origins")),
    ]
    return {name: getattr(recipe, name) for name in names}


def _entries(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields}
    return value if isinstance(value, Mapping) else None
