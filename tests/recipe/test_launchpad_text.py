"""Launchpad's recipe text: the grammar, its errors, and what it comes to inside a recipe."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from buildfarm.job import Branch, SourcePart
from buildfarm.recipe import job_for
from buildfarm.recipe.launchpad_text import (
    Builder,
    Instruction,
    LaunchpadRecipe,
    LaunchpadTextError,
    parse_launchpad_text,
    render_launchpad_text,
)
from tests.recipe.conftest import SOURCE, Shelf

GIT = "# git-build-recipe format 0.4 deb-version {debupstream}-0~{revno}\n"


def test_the_whole_grammar_is_read() -> None:
    text = """\
# git-build-recipe format 0.4 deb-version {debupstream}-0~{revno}+{git-commit:po}
lp:hello main

# the packaging
nest packaging lp:~jane/hello debian master
  merge fixes lp:~jane/hello fixes

  nest deeper https://example.org/d sub/dir
    nest-part po https://example.org/po out/po
merge translations https://example.org/t
nest-part docs https://example.org/d /site doc/html v1.2
"""
    assert parse_launchpad_text(text) == LaunchpadRecipe(
        "git-build-recipe",
        "0.4",
        "{debupstream}-0~{revno}+{git-commit:po}",
        "lp:hello",
        "main",
        (
            Instruction(
                "nest",
                "packaging",
                "lp:~jane/hello",
                into="debian",
                revision="master",
                children=(
                    Instruction("merge", "fixes", "lp:~jane/hello", revision="fixes"),
                    Instruction(
                        "nest",
                        "deeper",
                        "https://example.org/d",
                        into="sub/dir",
                        children=(Instruction("nest-part", "po", "https://example.org/po", subdir="out/po"),),
                    ),
                ),
            ),
            Instruction("merge", "translations", "https://example.org/t"),
            Instruction(
                "nest-part", "docs", "https://example.org/d", into="doc/html", subdir="site", revision="v1.2"
            ),
        ),
    )


# Below the header; where the error is, and words of it and of its hint.
ERRORS = [
    ("http://x\nrun make dist", "3:1", "'run' is refused", "Launchpad forbids it too"),
    ("http://x\nnset a http://y d", "3:1", "unknown instruction 'nset'", "'nest'"),
    ("http://x\nmerge a", "3:8", "the line ends where the URL should stand", "merge NAME URL [REV]"),
    ("http://x\nnest a http://y", "3:16", "the directory to nest it in", "nest NAME URL DIR [REV]"),
    ("http://x\nnest-part a http://y", "3:21", "the directory to take", "nest-part NAME URL SUBDIR"),
    ("http://x\nmerge a http://y r s", "3:20", "'s' is too much", "merge NAME URL [REV]"),
    ("http://x main more", "2:15", "'more' is too much", "URL [REV]"),
    ("http://x # mine", "2:10", "a comment cannot follow", "line of its own"),
    ("http://x\nmerge a http://y # why", "3:18", "a comment cannot follow", "line of its own"),
    ("http://x\nmerge a http://y\nmerge a http://z", "4:7", "the name 'a' is used twice", "Line 3"),
    ("http://x\nnest a u d\nnest b u ./d/", "4:10", "the directory 'd' is used twice", "Line 3"),
    ("http://x\nnest a u d\n  nest b u e\nnest c u d/e", "5:10", "the directory 'd/e' is used twice", "Line 4"),
    ("http://x\nnest a u d\nnest-part b u s/d", "4:15", "the directory 'd' is used twice", "Line 3"),
    ("http://x\nnest a u /d", "3:10", "is absolute", "relative"),
    ("http://x\nnest a u ../d", "3:10", "leads out of the tree", "below"),
    ("http://x\nnest a u .", "3:10", "taken by the trunk", "debian"),
    ("http://x\nnest-part a u s ../d", "3:17", "leads out of the tree", "below"),
    ("http://x\nnest-part a u .", "3:15", "DIR is missing", "nest-part NAME URL SUBDIR"),
    ("http://x\nnest a{b u d", "3:6", "is no name of a part", "packaging"),
    ("http://x\nmerge a u\n  merge b v", "4:1", "indented too far", "'nest'"),
    ("http://x\n  merge b v", "3:1", "indented too far", "'nest'"),
    ("http://x\nnest a u d\n    merge b v", "4:1", "indented too far", "two spaces"),
    ("http://x\nnest a u d\n merge b v", "4:1", "1 spaces indent", "two spaces"),
    ("http://x\nnest a u d\n\tmerge b v", "4:1", "a tab indents", "two spaces"),
    ("  http://x", "2:1", "must not be indented", "Remove"),
    ("nest a u d", "2:1", "the branch to start from is missing", "URL [REV]"),
    ("", "2:1", "the branch to start from is missing", "URL [REV]"),
    ("http://x\u00a0main", "2:9", "is not allowed here", "plain spaces"),
    ("http://x\r", "2:9", "is not allowed here", "plain spaces"),
]


@pytest.mark.parametrize(("text", "place", "message", "hint"), ERRORS, ids=[repr(row[0])[:40] for row in ERRORS])
def test_an_error_is_placed_and_says_what_would_be_right(text: str, place: str, message: str, hint: str) -> None:
    with pytest.raises(LaunchpadTextError) as caught:
        parse_launchpad_text(GIT + text)
    assert f"{caught.value.line}:{caught.value.column}" == place
    assert message in caught.value.brief
    assert hint in caught.value.hint


HEADERS = [
    ("http://x", "1:1", "must begin with #"),
    ("# hg-builder format 0.4", "1:3", "neither git-build-recipe nor bzr-builder"),
    ("# git-build-recipe fromat 0.4", "1:20", "'format' should stand here"),
    ("# git-build-recipe format", "1:26", "the format's version"),
    ("# git-build-recipe format 0.5", "1:27", "unknown format 0.5"),
    ("# git-build-recipe format 0.4 version 1", "1:31", "'deb-version' should stand here"),
    ("# git-build-recipe format 0.4 deb-version", "1:42", "the version template"),
    ("# git-build-recipe format 0.4 deb-version 1 2", "1:45", "too much"),
    ("# git-build-recipe format 0.4 deb-version 1{revn}", "1:44", "unknown variable {revn}"),
    ("# git-build-recipe format 0.4 deb-version 1{revno:x}", "1:44", "names a branch that is not here"),
    ("# git-build-recipe format 0.4 deb-version {time:x}", "1:43", "{time} belongs to no branch"),
    ("# bzr-builder format 0.1 deb-version {debversion}", "1:38", "{debversion} needs format 0.3"),
    ("# bzr-builder format 0.3 deb-version {revtime}", "1:38", "{revtime} needs format 0.4"),
    ("# git-build-recipe format 0.4 deb-version 1~{series}", "1:45", "unknown variable {series}"),
    ("# bzr-builder format 0.3 deb-version 1{", "1:39", "cannot stand in a version"),
]


@pytest.mark.parametrize(("header", "place", "message"), HEADERS, ids=[row[0] for row in HEADERS])
def test_a_header_is_checked_word_by_word(header: str, place: str, message: str) -> None:
    with pytest.raises(LaunchpadTextError) as caught:
        parse_launchpad_text(header + "\nhttp://x\n")
    assert f"{caught.value.line}:{caught.value.column}" == place
    assert message in caught.value.brief


def test_nest_part_came_with_format_0_3() -> None:
    body = "\nhttp://x\nnest-part a http://y s\n"
    assert parse_launchpad_text("# bzr-builder format 0.3" + body).instructions
    with pytest.raises(LaunchpadTextError, match=r"'nest-part' needs format 0\.3, this is 0\.2"):
        parse_launchpad_text("# bzr-builder format 0.2" + body)


def test_a_version_is_no_must_and_the_hash_may_touch_the_word() -> None:
    assert parse_launchpad_text("#bzr-builder format 0.1\nlp:x").deb_version == ""


words = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.+~-]{0,8}", fullmatch=True)
urls = st.builds("https://example.org/{}".format, words)
components = words.filter(lambda word: word.strip(".") != "")
paths = st.lists(components, min_size=1, max_size=3).map("/".join)


@st.composite
def recipes(draw: st.DrawFn) -> LaunchpadRecipe:
    """Any recipe: names and targets are made unique by numbering them."""
    number = 0

    def instruction(depth: int) -> Instruction:
        nonlocal number
        number += 1
        name = f"n{number}-{draw(words)}"
        into = f"{draw(paths)}-{number}"
        kind = draw(st.sampled_from(["nest", "merge", "nest-part"]))
        revision = draw(st.just("") | words)
        if kind == "merge":
            return Instruction("merge", name, draw(urls), revision=revision)
        if kind == "nest-part":
            if draw(st.booleans()):
                return Instruction("nest-part", name, draw(urls), subdir=f"{draw(paths)}-{number}")
            return Instruction("nest-part", name, draw(urls), into=into, subdir=draw(paths), revision=revision)
        children = [instruction(depth + 1) for _ in range(draw(st.integers(0, 2)))] if depth < 4 else []
        return Instruction("nest", name, draw(urls), into=into, revision=revision, children=tuple(children))

    builder: Builder = draw(st.sampled_from(["git-build-recipe", "bzr-builder"]))
    version = draw(st.sampled_from(["", "1", "{debupstream}-0~{revno}", "1:{date}+{time}~{latest-tag}"]))
    instructions = tuple(instruction(0) for _ in range(draw(st.integers(0, 4))))
    return LaunchpadRecipe(
        builder, draw(st.sampled_from(["0.4"])), version, draw(urls), draw(st.just("") | words), instructions
    )


@settings(max_examples=200, deadline=None)
@given(recipes())
def test_a_rendered_recipe_is_read_back(recipe: LaunchpadRecipe) -> None:
    assert parse_launchpad_text(render_launchpad_text(recipe)) == recipe


lines = st.sampled_from(
    ["# git-build-recipe format 0.4 deb-version {revno:a}", "#bzr-builder format 0.2",
     "http://x r", "nest a u d", "  nest b u d", "    merge c u", "nest-part e u s", "run x",
     "# c", "", "\t", "merge", "  ", "nest-part f u / /"]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.text() | st.lists(lines | st.text(max_size=10), max_size=8).map("\n".join))
@example("")
@example("\ud800")
@example(GIT + "u\nnest a u d\n" + "".join(f"{'  ' * n}nest n{n} u d\n" for n in range(1, 500)))
def test_any_text_is_a_recipe_or_its_own_error(text: str) -> None:
    try:
        recipe = parse_launchpad_text(text)
    except LaunchpadTextError as error:
        place = (error.line, error.column)
        recipe = None
    if recipe is None:
        assert min(place) >= 1
    else:
        assert parse_launchpad_text(render_launchpad_text(recipe)) == recipe


def test_launchpad_text_says_all_about_the_branches(shelf: Shelf) -> None:
    recipe = shelf.recipe(SOURCE)
    job = job_for(recipe, "a" * 40, "run-1")
    assert recipe.trunk.poll_interval_s == 30
    assert job.trunk == Branch("git", "https://git.launchpad.net/hello", "main")
    assert job.version_template == "{debupstream}-0~{revno}+{revno:packaging}"
    assert job.parts == (
        SourcePart(
            "nest", "packaging", Branch("git", "https://git.launchpad.net/~jane/hello"), "debian", "", "master"
        ),
        SourcePart(
            "merge",
            "fixes",
            Branch("git", "https://example.org/fixes"),
            "debian",
            revision="0123456789abcdef0123456789abcdef01234567",
        ),
        SourcePart("nest-part", "po", Branch("git", "https://example.org/po"), "debian/po", "out/po"),
    )
    assert (recipe.origins["trunk.branch"].line, recipe.origins["trunk.branch"].column) == (5, 12)


def test_bzr_builder_text_is_bazaar(shelf: Shelf) -> None:
    job = job_for(
        shelf.recipe(
            "publish: local:a/b\nsource: |\n"
            "  # bzr-builder format 0.3 deb-version 1+{revno}\n"
            "  lp:hello\n"
            "  nest packaging lp:~jane/hello/packaging debian revno:12\n"
        ),
        "rev-1",
        "run-1",
    )
    assert job.trunk == Branch("bzr", "lp:hello")
    assert job.parts == (
        SourcePart("nest", "packaging", Branch("bzr", "lp:~jane/hello/packaging"), "debian", "", "revno:12"),
    )


INSIDE = [
    ("  # git-build-recipe format 0.4\n  http://x\n  run make", "5:3", "'run' is refused"),
    ("      # git-build-recipe format 0.4\n      http://x\n      nset a b", "5:7", "unknown instruction"),
    ("  # git-build-recipe format 0.4\n  ext::sh main", "4:3", "helper that git would run"),
    ("  # git-build-recipe format 0.4\n  http://x --upload-pack", "4:12", "cannot be the name of a git branch"),
    ("  # git-build-recipe format 0.4\n  http://x\n  nest a ext::sh d", "5:10", "helper that git would run"),
    ("  # git-build-recipe format 0.4\n  http://x 0123456789abcdef", "4:12", "is held at 0123456789abcdef"),
    ("  # bzr-builder format 0.4\n  lp:x revno:12", "4:8", "is held at revno:12"),
]


@pytest.mark.parametrize(("text", "place", "message"), INSIDE, ids=[row[2] for row in INSIDE])
def test_an_error_in_the_text_has_its_place_in_the_file(shelf: Shelf, text: str, place: str, message: str) -> None:
    (problem,) = shelf.problems(f"publish: local:a/b\nsource: |\n{text}\n")
    assert f"{problem.line}:{problem.column}" == place
    assert message in problem.message


def test_text_in_quotes_is_placed_at_its_beginning(shelf: Shelf) -> None:
    (problem,) = shelf.problems('publish: local:a/b\nsource: "# git-build-recipe format 0.4\\nhttp://x\\nrun y"\n')
    assert (problem.line, problem.column) == (2, 9)


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("trunk: {vcs: git}", "2:9"),
        ("version: {template: '1'}", "2:1"),
        ("packaging: {vcs: git, location: x}", "2:1"),
        ("parts: []", "2:1"),
    ],
)
def test_text_and_keys_do_not_contradict_each_other(shelf: Shelf, key: str, place: str) -> None:
    (problem,) = shelf.problems(
        f"publish: local:a/b\n{key}\nsource: |\n  # git-build-recipe format 0.4\n  http://x main\n"
    )
    assert f"{problem.line}:{problem.column}" == place
    assert "source are both given" in problem.message


def test_text_at_the_call_site_replaces_a_templates_branches(shelf: Shelf) -> None:
    shelf.write(
        "templates/t.yaml",
        "trunk: {vcs: git, location: /t, poll_interval_s: 99}\nversion: {template: '9'}\n",
    )
    text = "extends: t\npublish: local:a/b\nsource: |\n  # git-build-recipe format 0.4\n  http://x main\n"
    recipe = shelf.recipe(text)
    assert (recipe.trunk.location, recipe.trunk.poll_interval_s) == ("http://x", 99)
    assert recipe.version.template == ""


def test_a_trunk_at_the_call_site_replaces_a_templates_text(shelf: Shelf) -> None:
    shelf.write("templates/t.yaml", "source: |\n  # git-build-recipe format 0.4\n  http://x main\n")
    recipe = shelf.recipe("extends: t\npublish: local:a/b\ntrunk: {vcs: git, location: /t}\n")
    assert recipe.trunk.location == "/t"
