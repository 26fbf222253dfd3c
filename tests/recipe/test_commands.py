"""``buildfarm check`` and ``buildfarm recipe``, run as people run them; the published schema."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
from ruamel.yaml import YAML

from buildfarm.cli import main
from buildfarm.recipe.schema import recipe_schema, schema_text
from buildfarm.recipe.show import recipe_yaml
from tests.recipe.conftest import EVERYTHING, GOOD, SOURCE, Shelf

ROOT = Path(__file__).parents[2]


@pytest.fixture
def farm(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """We stand in a farm's root, with its recipes/."""
    monkeypatch.chdir(shelf.path.parent)
    return shelf


def test_check_counts_what_is_well(farm: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    farm.write("a.yaml", GOOD)
    farm.write("b.yaml", GOOD)
    assert main(["check"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 recipes, all well"


def test_check_that_finds_no_recipe_says_where_it_looked(farm: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    farm.path.mkdir(exist_ok=True)
    assert main(["check"]) == 0
    assert capsys.readouterr().out == f"no recipe in {farm.path}\n"


def test_check_prints_problems_as_places_here(farm: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    farm.write("a.yaml", GOOD)
    farm.write("b.yaml", GOOD + "lnt: 1\n")
    assert main(["check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "recipes/b.yaml:3:1: unknown key 'lnt'"
    assert lines[1].startswith("  Did you mean 'lint'?")
    assert lines[-1] == "1 problem in 1 file; 1 recipe well"


def test_check_of_one_file_says_nothing_of_the_others(farm: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = farm.write("good.yaml", GOOD), farm.write("bad.yaml", "x: 1\n")
    assert main(["check", str(good)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 recipe, all well"
    assert main(["check", str(bad)]) == 1


def test_check_of_a_file_from_elsewhere_uses_the_farms_templates_and_names(
    farm: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    farm.write("templates/python.yaml", "series: [sid]\n")
    farm.write("hello.yaml", GOOD)
    draft = tmp_path / "draft.yaml"
    draft.write_text(GOOD + "extends: python\n")
    assert main(["check", str(draft)]) == 0
    draft.write_text(GOOD + "name: hello\n")
    assert main(["check", str(draft)]) == 1
    assert "a second recipe is named 'hello'" in capsys.readouterr().out


def test_check_of_a_template_checks_the_template(farm: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    template = farm.write("templates/python.yaml", "lint: {treshold: 8}\n")
    assert main(["check", str(template)]) == 1
    assert "templates/python.yaml:1:8: unknown key" in capsys.readouterr().out


def test_check_gives_json_to_programs(farm: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    farm.write("a.yaml", GOOD)
    farm.write("b.yaml", "trunk: 1\n")
    assert main(["check", "--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["recipes"] == ["a"]
    assert told["problems"][0]["file"] == "recipes/b.yaml"
    assert (told["problems"][0]["line"], told["problems"][0]["column"]) == (1, 8)


def test_check_of_what_is_not_there_is_wrong_usage(farm: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "nothing.yaml"]) == 2
    assert "nothing.yaml is not there" in capsys.readouterr().err


def test_list_names_every_recipe_and_admits_problems(farm: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    farm.write("a.yaml", GOOD)
    farm.write("b.yaml", "trunk: 1\n")
    assert main(["recipe", "list"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[1].split()[:4] == ["a", "git", "https://example.org/hello.git", "main"]
    assert printed.err == "1 problem: see `buildfarm check`\n"


def test_show_tells_each_value_and_its_origin(farm: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    farm.write("templates/python.yaml", "lint: {threshold: 7}\n")
    farm.write("a.yaml", GOOD + "extends: python\nlint: {targets: [x]}\n")
    assert main(["recipe", "show", "a", "--origin"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["threshold:", "7.0", "#", "recipes/templates/python.yaml:1:19", "(template)"] in lines
    assert ["publish:", "local:demo/trunk", "#", "recipes/a.yaml:2:10"] in lines
    assert ["timeout_s:", "600", "#", "default"] in lines
    assert main(["recipe", "show", "a", "--origin", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["recipe"]["lint"]["threshold"] == 7.0
    assert told["origins"]["lint.threshold"] == "recipes/templates/python.yaml:1:19 (template)"


def test_show_of_an_unknown_name_brings_the_nearest(farm: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    farm.write("hello.yaml", GOOD)
    assert main(["recipe", "show", "helo"]) == 2
    assert "Did you mean 'hello'?" in capsys.readouterr().err


@pytest.mark.parametrize("text", [GOOD, EVERYTHING, SOURCE])
@pytest.mark.parametrize("with_origins", [False, True])
def test_a_shown_recipe_loads_to_the_same_recipe(shelf: Shelf, text: str, with_origins: bool) -> None:
    recipe = shelf.recipe(text)
    again = shelf.recipe(recipe_yaml(recipe, with_origins=with_origins))
    assert again.model_dump(exclude={"origins"}) == recipe.model_dump(exclude={"origins"})


def test_the_published_schema_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    published = (ROOT / "docs" / "reference" / "recipe.schema.json").read_text(encoding="utf-8")
    assert published == schema_text(), "run: buildfarm check --schema > docs/reference/recipe.schema.json"
    assert main(["check", "--schema"]) == 0
    assert capsys.readouterr().out == published


def test_the_reference_describes_every_key() -> None:
    reference = (ROOT / "docs" / "reference" / "recipes.md").read_text(encoding="utf-8")
    keys = set(recipe_schema()["properties"])
    for definition in recipe_schema()["$defs"].values():
        keys |= set(definition["properties"])
    assert [key for key in sorted(keys) if f"`{key}`" not in reference] == []


@pytest.mark.parametrize(
    "text", [GOOD, EVERYTHING, SOURCE, GOOD + "matrix: {series: [[a], [b]]}\nexclude: [{series: [a]}]\nlint: ~\n"]
)
def test_the_schema_takes_what_loads(shelf: Shelf, text: str) -> None:
    shelf.recipes(text)
    jsonschema.Draft202012Validator.check_schema(recipe_schema())
    jsonschema.validate(YAML(typ="safe", pure=True).load(text), recipe_schema())


@pytest.mark.parametrize(
    "text",
    ["lnt: 1", "trunk: {vcs: svn}", "lint: {targets: x}", "series: [Foo]", "matrix: {trunk.brnch: [a]}",
     "unittest: {command: []}", "build: {timeout_s: 0}", "publish: demo"],
)  # fmt: skip
def test_the_schema_refuses_what_an_editor_can_see(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(YAML(typ="safe", pure=True).load(text), recipe_schema())


def test_shipped_templates_fit_the_schema() -> None:
    for file in (ROOT / "recipes" / "templates").glob("*.yaml"):
        jsonschema.validate(YAML(typ="safe", pure=True).load(file), recipe_schema())
