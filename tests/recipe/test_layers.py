"""Templates, the matrix, and where each value comes from."""

from __future__ import annotations

import pytest

from buildfarm.recipe.model import Origin
from tests.recipe.conftest import GOOD, Shelf


def test_the_call_site_wins_mappings_merge_lists_replace(shelf: Shelf) -> None:
    shelf.write(
        "templates/python.yaml",
        """\
        lint: {targets: [one, two], threshold: 7.5}
        unittest: {command: [make, check], environment: {A: template, B: template}}
        series: [bookworm, trixie]
        """,
    )
    recipe = shelf.recipe(
        GOOD + "extends: python\nlint: {targets: [mine]}\nunittest: {environment: {B: mine}}\nseries: [sid]\n"
    )
    assert recipe.lint is not None
    assert recipe.unittest is not None
    assert (recipe.lint.targets, recipe.lint.threshold) == (("mine",), 7.5)
    assert recipe.unittest.command == ("make", "check")
    assert recipe.unittest.environment == {"A": "template", "B": "mine"}
    assert recipe.series == ("sid",)


def test_of_several_templates_the_later_wins_and_templates_extend_templates(shelf: Shelf) -> None:
    shelf.write("templates/base.yaml", "build: {timeout_s: 1, lintian_fail_on: error}\nmaintainer: B <b@x.org>\n")
    shelf.write("templates/a.yaml", "extends: base\nbuild: {timeout_s: 2}\nseries: [aaa]\n")
    shelf.write("templates/b.yaml", "series: [bbb]\n")
    recipe = shelf.recipe(GOOD + "extends: [a, b]\n")
    assert (recipe.build.timeout_s, recipe.build.lintian_fail_on) == (2, "error")
    assert recipe.series == ("bbb",)
    assert recipe.maintainer == "B <b@x.org>"


def test_null_takes_a_templates_section_away(shelf: Shelf) -> None:
    shelf.write("templates/python.yaml", "lint: {targets: [a]}\nunittest: {command: [a], coverage: {floor: 9}}\n")
    recipe = shelf.recipe(GOOD + "extends: python\nlint: null\nunittest: {coverage: ~}\n")
    assert recipe.lint is None
    assert recipe.unittest is not None
    assert recipe.unittest.coverage is None


def test_a_circle_of_templates_is_named(shelf: Shelf) -> None:
    shelf.write("templates/a.yaml", "extends: b\n")
    shelf.write("templates/b.yaml", "extends: [a]\n")
    (problem,) = shelf.problems(GOOD + "extends: a\n")
    assert problem.message == "templates go in a circle: a extends b extends a"
    assert (problem.file.name, problem.line, problem.column) == ("b.yaml", 1, 11)


def test_a_template_that_extends_itself_is_a_circle(shelf: Shelf) -> None:
    shelf.write("templates/a.yaml", "extends: a\n")
    (problem,) = shelf.problems(GOOD + "extends: a\n")
    assert problem.message == "templates go in a circle: a extends a"


@pytest.mark.parametrize("name", ["../templates/a", "/etc/passwd", "a.yaml", "A"])
def test_a_template_is_a_name_and_no_path(shelf: Shelf, name: str) -> None:
    shelf.write("templates/a.yaml", "series: [sid]\n")
    (problem,) = shelf.problems(GOOD + f"extends: {name}\n")
    assert f"no template is named {name!r}" in problem.message
    assert "Known templates: a" in problem.hint


def test_a_bad_template_is_told_once_and_by_those_who_need_it(shelf: Shelf) -> None:
    shelf.write("templates/bad.yaml", "lint: {treshold: 8}\n")
    shelf.write("one.yaml", GOOD + "extends: bad\n")
    problems = shelf.problems(GOOD + "extends: bad\n", name="two.yaml")
    places = [(problem.file.name, problem.line, problem.column) for problem in problems]
    assert places == [("one.yaml", 3, 10), ("bad.yaml", 1, 8), ("two.yaml", 3, 10)]
    assert "bad.yaml:1:8: unknown key 'lint.treshold'" in problems[0].hint


def test_an_unused_template_is_checked_too(shelf: Shelf) -> None:
    shelf.write("templates/bad.yaml", "lint: {threshold: 8\n")
    (problem,) = shelf.problems("zz: 1", name="bad.yaml")[:1]
    assert problem.file.name == "bad.yaml"
    assert any(problem.file.parent.name == "templates" for problem in shelf.load().problems)


def test_what_a_template_leaves_open_is_missed_in_the_recipe(shelf: Shelf) -> None:
    template = shelf.write("templates/python.yaml", "lint: {threshold: 8}\n")
    (problem,) = shelf.problems(GOOD + "extends: python\n")
    assert (problem.file.name, problem.line) == ("bad.yaml", 1)
    assert problem.message == "lint.targets is missing"
    assert f"{template}:1:1" in problem.hint


def test_a_matrix_makes_a_recipe_for_each_combination(shelf: Shelf) -> None:
    recipes = shelf.recipes(
        GOOD
        + """\
matrix:
  trunk.branch: [main, stable/1.x]
  series: [[bookworm], [trixie, sid]]
exclude: [{trunk.branch: stable/1.x, series: [trixie, sid]}]
"""
    )
    assert {name: (recipe.trunk.branch, recipe.series) for name, recipe in recipes.items()} == {
        "hello-main-bookworm": ("main", ("bookworm",)),
        "hello-main-trixie-sid": ("main", ("trixie", "sid")),
        "hello-stable-1.x-bookworm": ("stable/1.x", ("bookworm",)),
    }


def test_a_matrix_reaches_what_the_file_does_not_mention(shelf: Shelf) -> None:
    recipes = shelf.recipes(
        GOOD
        + """\
unittest: {command: [make]}
matrix: {unittest.environment.MODE: [fast, slow]}
name: "h-{unittest.environment.MODE}"
"""
    )
    modes = {name: dict(recipe.unittest.environment) for name, recipe in recipes.items() if recipe.unittest}
    assert modes == {"h-fast": {"MODE": "fast"}, "h-slow": {"MODE": "slow"}}


def test_a_key_of_the_recipe_takes_its_axis_from_the_templates_matrix(shelf: Shelf) -> None:
    shelf.write(
        "templates/two.yaml",
        """\
        matrix: {series: [[bookworm], [trixie]], trunk.branch: [main, stable]}
        exclude: [{series: [trixie], trunk.branch: stable}]
        """,
    )
    text = "trunk: {vcs: git, location: /x}\npublish: local:a/b\nextends: two\nseries: [sid]\n"
    assert list(shelf.recipes(text)) == ["hello-main", "hello-stable"]


MATRIX = [
    ("matrix: {trunk.brnch: [a]}", "3:10", "'trunk.brnch' cannot be varied", "'trunk.branch'"),
    ("matrix: {name: [a]}", "3:10", "'name' cannot be varied", ""),
    ("matrix: {series: []}", "3:18", "matrix.series", ""),
    ("matrix: {series: bookworm}", "3:18", "a list is wanted", "[bookworm]"),
    ("matrix: {series: [bookworm]}", "3:19", "series: a list is wanted, not the text 'bookworm'", "[bookworm]"),
    ("matrix: {series: [[a], [b], [a]]}", "3:29", "listed twice", "once"),
    ("matrix: {series: [[a]]}\nexclude: [{serie: [a]}]", "4:12", "'serie' is no axis", "'series'"),
    ("matrix: {series: [[a]]}\nexclude: [{series: [b]}]", "4:11", "excludes nothing", "stand in the matrix"),
    ("matrix: {series: [[a]]}\nexclude: [{series: [a]}]", "4:10", "leaves nothing", "exclude"),
    ("matrix: {series: [[a]]}\nexclude: [{}]", "4:11", "exclude everything", "axes"),
    ("matrix: {series: [[a]]}\nname: x-{serie}", "4:9", "{serie} is no axis", "'series'"),
    ("matrix: {series: [[a], [b]]}\nname: same", "4:7", "a second recipe is named 'same'", "{trunk.branch}"),
    (
        f"matrix: {{build.timeout_s: {list(range(1, 20))}, trunk.poll_interval_s: {list(range(10, 30))}}}",
        "3:9",
        "380 combinations",
        "template",
    ),
]


@pytest.mark.parametrize(("text", "place", "message", "hint"), MATRIX, ids=[row[0][:50] for row in MATRIX])
def test_a_mistake_in_a_matrix_is_placed(shelf: Shelf, text: str, place: str, message: str, hint: str) -> None:
    shelf.write("bad.yaml", GOOD + text + "\n")
    problem = shelf.load().problems[0]
    assert str(problem).startswith(f"{shelf.path}/bad.yaml:{place}: ")
    assert message in problem.message
    assert hint in problem.hint


def test_every_value_knows_where_it_comes_from(shelf: Shelf) -> None:
    template = shelf.write("templates/python.yaml", "lint:\n  threshold: 7\nmaintainer: A <a@x.org>\n")
    shelf.write(
        "hello.yaml",
        """\
        extends: python
        trunk: {vcs: git, location: /x}
        publish: local:a/b
        lint:
          targets: [a]
        matrix: {trunk.branch: [main]}
        """,
    )
    file = shelf.path / "hello.yaml"
    origins = shelf.load().recipes["hello-main"].origins
    assert origins["lint.threshold"] == Origin(template, 2, 14, "template")
    assert origins["maintainer"] == Origin(template, 3, 13, "template")
    assert origins["lint.targets"] == Origin(file, 5, 12, "recipe")
    assert origins["trunk.branch"] == Origin(file, 6, 25, "matrix")
    assert origins["publish"] == Origin(file, 3, 10, "recipe")
    for key in ("series", "name", "lint.timeout_s", "build.timeout_s", "unittest", "trunk.poll_interval_s"):
        assert origins[key] == Origin(None, 0, 0, "default")
