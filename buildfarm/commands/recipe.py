"""``buildfarm recipe list|show``: recipes as the farm understands them, and where each value comes from."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from buildfarm.commands.check import count
from buildfarm.recipe import Recipe, RecipeBook, load_farm_recipes
from buildfarm.settings import load_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = commands.add_parser("list", help="every recipe that loads, a line each")
    listing.add_argument("--format", choices=("text", "json"), default="text", help="how to print it")
    show = commands.add_parser("show", help="one recipe, resolved: templates, matrix and defaults filled in")
    show.add_argument("name", metavar="NAME", help="the recipe's name, see `buildfarm recipe list`")
    show.add_argument("--origin", action="store_true", help="say of each value where it comes from")
    show.add_argument("--format", choices=("yaml", "json"), default="yaml", help="how to print it")


def run(args: argparse.Namespace) -> int:
    """List or show."""
    book = load_farm_recipes(load_settings())
    if args.action == "list":
        return _list(book, args.format)
    _show(book.find(args.name), with_origins=args.origin, output=args.format)
    return 0


def _list(book: RecipeBook, output: str) -> int:
    from buildfarm.recipe.show import recipe_values

    if output == "json":
        print(json.dumps([recipe_values(recipe) for recipe in book.recipes.values()], indent=2))
    else:
        rows = [("NAME", "TRUNK", "SERIES", "PUBLISH"), *map(_row, book.recipes.values())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    if book.problems:
        print(f"{count(len(book.problems), 'problem')}: see `buildfarm check`", file=sys.stderr)
    return 0


def _row(recipe: Recipe) -> tuple[str, str, str, str]:
    trunk = recipe.trunk
    branch = f" {trunk.branch}" if trunk.branch else ""
    return recipe.name, f"{trunk.vcs} {trunk.location}{branch}", ",".join(recipe.series), recipe.publish


def _show(recipe: Recipe, *, with_origins: bool, output: str) -> None:
    from buildfarm.recipe.show import origin_text, recipe_values, recipe_yaml

    here = Path.cwd()
    if output == "yaml":
        print(recipe_yaml(recipe, with_origins=with_origins, relative_to=here), end="")
        return
    values = recipe_values(recipe)
    if with_origins:
        origins = {key: origin_text(origin, here) for key, origin in recipe.origins.items()}
        values = {"recipe": values, "origins": origins}
    print(json.dumps(values, indent=2))
