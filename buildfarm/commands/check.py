"""``buildfarm check [FILE...]``: read every recipe and every package set and say what is wrong, and where."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from buildfarm.errors import UsageError
from buildfarm.recipe import Problem, Recipe, RecipeBook, load_farm_recipes
from buildfarm.settings import Settings, load_settings

if TYPE_CHECKING:
    from buildfarm.recipe.loading import Defaults
    from buildfarm.regress.package_set import PackageSet


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="only these recipes, templates or sets (default: all)"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how to tell what was found")
    parser.add_argument(
        "--schema",
        choices=("recipe", "regression"),
        nargs="?",
        const="recipe",
        help="print the JSON Schema of a recipe, or of regression.yaml, and end",
    )
    parser.epilog = "Exit status: 0 all is well, 1 there are problems, 2 wrong usage."


def run(args: argparse.Namespace) -> int:
    """Check, and tell."""
    if args.schema:
        print(_schema_text(args.schema), end="")
        return 0
    settings = load_settings()
    if missing := [file for file in args.files if not file.exists()]:
        raise UsageError(f"{missing[0]} is not there", resolution="Without arguments every recipe is checked.")
    book = _load(settings, args.files)
    if args.format == "json":
        print(json.dumps(_as_json(book), indent=2))
    else:
        _print(book, ", ".join(map(str, args.files or [settings.recipes])))
    return 1 if book.problems else 0


@dataclass(frozen=True)
class _Checked:
    """What loads, and all that is wrong with the rest."""

    recipes: Mapping[str, Recipe]
    sets: Mapping[str, PackageSet]
    problems: tuple[Problem, ...]

    @property
    def counts(self) -> str:
        """How much loads, in words; sets only where there are some."""
        sets = f", {count(len(self.sets), 'package set')}" if self.sets else ""
        return f"{count(len(self.recipes), 'recipe')}{sets}"


def _schema_text(kind: str) -> str:
    if kind == "regression":
        from buildfarm.regress.set_schema import schema_text
    else:
        from buildfarm.recipe.schema import schema_text
    return schema_text()


def _load(settings: Settings, files: list[Path]) -> _Checked:
    from buildfarm.recipe.host import host_defaults
    from buildfarm.recipe.loading import SETS_FILE
    from buildfarm.regress.known import looks_by_key
    from buildfarm.regress.sets import load_sets

    defaults = host_defaults()
    set_files = [file for file in files if file.name == SETS_FILE] if files else [settings.recipes / SETS_FILE]
    recipe_files = [file for file in files if file.name != SETS_FILE]
    recipes = RecipeBook({}, ()) if files and not recipe_files else _load_recipes(settings, recipe_files, defaults)
    looks = looks_by_key(settings, defaults)
    sets = [load_sets(file, defaults, looks) for file in set_files]
    return _Checked(
        recipes.recipes,
        {name: one for book in sets for name, one in book.sets.items()},
        tuple(map(_from_here, (*recipes.problems, *(problem for book in sets for problem in book.problems)))),
    )


def _load_recipes(settings: Settings, files: list[Path], defaults: Defaults) -> RecipeBook:
    from buildfarm.recipe.loading import TEMPLATES_DIRECTORY, load_files, recipe_files

    if not files:
        return load_farm_recipes(settings)
    wanted = {file.resolve() for file in files}
    known = recipe_files(settings.recipes)
    # What else is in recipes/ is read too: names are unique over all files.
    strange = sorted(wanted - {file.resolve() for file in known})
    templates = settings.recipes / TEMPLATES_DIRECTORY
    strange = [file for file in strange if file.parent != templates.resolve()]
    book = load_files([*known, *strange], templates, defaults)
    return RecipeBook(
        {name: recipe for name, recipe in book.recipes.items() if recipe.file.resolve() in wanted},
        tuple(problem for problem in book.problems if problem.file.resolve() in wanted),
    )


def _from_here(problem: Problem) -> Problem:
    """The problem with its file as one would type it here."""
    here = Path.cwd()
    if problem.file.is_relative_to(here):
        return replace(problem, file=problem.file.relative_to(here))
    return problem


def _print(book: _Checked, place: str) -> None:
    for problem in book.problems:
        print(problem)
    if book.problems:
        files = count(len({problem.file for problem in book.problems}), "file")
        print(f"{count(len(book.problems), 'problem')} in {files}; {book.counts} well")
        return
    for recipe in book.recipes.values():
        print(f"{recipe.name}: {recipe.trunk.location} -> {recipe.publish} ({', '.join(recipe.series)})")
    for one in book.sets.values():
        print(f"{one.name}: rebuilt {one.when} ({', '.join(one.series)})")
    if not book.recipes and not book.sets:
        print(f"no recipe in {place}")
        return
    print(f"{book.counts}, all well")


def count(number: int, noun: str) -> str:
    """A number with its noun: ``1 problem``, ``2 problems``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _as_json(book: _Checked) -> dict[str, object]:
    return {
        "recipes": list(book.recipes),
        "sets": list(book.sets),
        "problems": [
            {
                "file": str(problem.file),
                "line": problem.line,
                "column": problem.column,
                "message": problem.message,
                "hint": problem.hint,
            }
            for problem in book.problems
        ],
    }
