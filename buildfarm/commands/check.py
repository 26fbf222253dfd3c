"""``buildfarm check [FILE...]``: read every recipe and say what is wrong, with file, line and column."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from buildfarm.errors import UsageError
from buildfarm.recipe import Problem, RecipeBook, load_farm_recipes
from buildfarm.settings import Settings, load_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="only these recipes or templates (default: all)"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how to tell what was found")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of a recipe and end")
    parser.epilog = "Exit status: 0 all is well, 1 there are problems, 2 wrong usage."


def run(args: argparse.Namespace) -> int:
    """Check, and tell."""
    if args.schema:
        from buildfarm.recipe.schema import schema_text

        print(schema_text(), end="")
        return 0
    settings = load_settings()
    book = _load(settings, args.files)
    problems = [_from_here(problem) for problem in book.problems]
    if args.format == "json":
        print(json.dumps(_as_json(book, problems), indent=2))
    else:
        _print(book, problems, ", ".join(map(str, args.files or [settings.recipes])))
    return 1 if problems else 0


def _load(settings: Settings, files: list[Path]) -> RecipeBook:
    from buildfarm.recipe.host import host_defaults
    from buildfarm.recipe.loading import TEMPLATES_DIRECTORY, load_files, yaml_files

    if not files:
        return load_farm_recipes(settings)
    if missing := [file for file in files if not file.exists()]:
        raise UsageError(f"{missing[0]} is not there", resolution="Without arguments every recipe is checked.")
    wanted = {file.resolve() for file in files}
    known = yaml_files(settings.recipes)
    # What else is in recipes/ is read too: names are unique over all files.
    strange = sorted(wanted - {file.resolve() for file in known})
    templates = settings.recipes / TEMPLATES_DIRECTORY
    strange = [file for file in strange if file.parent != templates.resolve()]
    book = load_files([*known, *strange], templates, host_defaults())
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


def _print(book: RecipeBook, problems: list[Problem], place: str) -> None:
    for problem in problems:
        print(problem)
    if problems:
        files = count(len({problem.file for problem in problems}), "file")
        well = count(len(book.recipes), "recipe")
        print(f"{count(len(problems), 'problem')} in {files}; {well} well")
        return
    for recipe in book.recipes.values():
        print(f"{recipe.name}: {recipe.trunk.location} -> {recipe.publish} ({', '.join(recipe.series)})")
    if not book.recipes:
        print(f"no recipe in {place}")
        return
    print(f"{count(len(book.recipes), 'recipe')}, all well")


def count(number: int, noun: str) -> str:
    """A number with its noun: ``1 problem``, ``2 problems``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _as_json(book: RecipeBook, problems: list[Problem]) -> dict[str, object]:
    return {
        "recipes": list(book.recipes),
        "problems": [
            {
                "file": str(problem.file),
                "line": problem.line,
                "column": problem.column,
                "message": problem.message,
                "hint": problem.hint,
            }
            for problem in problems
        ],
    }
