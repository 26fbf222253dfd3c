"""Plans of copies and moves: the table of Launchpad's rules, in the words that people read."""

from __future__ import annotations

import pytest

from ppa_tools.plan.choosing import Selection, choose, pair_series, parse_wanted
from ppa_tools.plan.copying import plan_copy, really_missing
from ppa_tools.plan.facts import Facts, Shelf, Terms, questions
from ppa_tools.publication import Build, BuildState, File, Publication, Side, Status
from tests.ppa_tools.plan.sides import line, lines, pub, side

BUILT, FAILED, BUILDING = BuildState.BUILT, BuildState.FAILED, BuildState.BUILDING
SOURCE = side("ppa:o/from", "hello=1.0-1")
KEY = "hello=1.0-1@noble"


def builds(*states: BuildState, published: bool = True) -> tuple[Build, ...]:
    return tuple(Build(name, state, published) for name, state in zip(("amd64", "arm64"), states, strict=False))


def files(**contents: str) -> tuple[File, ...]:
    names = {"dsc": "hello_1.0-1.dsc", "orig": "hello_1.0.orig.tar.xz", "deb": "hello_1.0-1_amd64.deb"}
    return tuple(File(names[name], "", content, 1) for name, content in contents.items())


def first_line(
    destination: Side,
    *,
    source: Side = SOURCE,
    facts: Facts = Facts(builds={KEY: builds(BUILT, BUILT)}),  # noqa: B008
    terms: Terms = Terms(),  # noqa: B008
    to_series: str = "",
    name: str = "hello",
) -> str:
    pairs = pair_series(source, ["noble"], [to_series] if to_series else [])
    chosen = choose(source, Selection((parse_wanted(name),)), pairs)
    return line(plan_copy(chosen, source, destination, facts, terms).actions[0])


def test_what_is_not_there_is_copied() -> None:
    assert first_line(side("ppa:o/to")) == "copy hello=1.0-1 noble"


def test_what_is_older_there_is_replaced() -> None:
    assert first_line(side("ppa:o/to", "hello=0.9-1")) == "copy hello=1.0-1 noble over 0.9-1"


def test_what_is_there_is_skipped() -> None:
    assert first_line(side("ppa:o/to", "hello=1.0-1")) == "skip hello=1.0-1 noble: already there"


@pytest.mark.parametrize(
    ("theirs", "begins"),
    [
        (files(dsc="signed by another", orig="a"), "skip hello=1.0-1 noble: already there"),
        (files(dsc="a", orig="b"), "blocked hello=1.0-1 noble over 1.0-1: another source of the same version"),
        (files(dsc="a"), "skip hello=1.0-1 noble: already there"),
        ((), "skip hello=1.0-1 noble: already there"),
    ],
)
def test_what_is_there_under_the_same_version_is_compared_as_far_as_its_files_are_known(
    theirs: tuple[File, ...], begins: str
) -> None:
    facts = Facts(source_files={KEY: files(dsc="a", orig="a")}, there_source_files={KEY: theirs})
    assert first_line(side("ppa:o/to", "hello=1.0-1"), facts=facts).startswith(begins)


def test_what_was_deleted_there_may_come_in_a_lower_version() -> None:
    there = side("ppa:o/to", pub("hello=2.0-1", status=Status.DELETED))
    assert first_line(there) == "copy hello=1.0-1 noble"


@pytest.mark.parametrize(
    ("destination", "how", "reason"),
    [
        (side("ppa:o/to", "hello=1.1-1"), {}, "1.1-1 is there, which is newer"),
        (side("ppa:o/to"), {"to_series": "lucid"}, "lucid is obsolete: nothing is copied to it any more"),
        (side("ppa:o/to"), {"to_series": "oracular"}, "ppa:o/to has no series oracular, only jammy, noble"),
        (
            side("ppa:o/to"),
            {"source": side("ppa:o/from", "hello=1.0-1", private=True)},
            "ppa:o/from is private and ppa:o/to is public: only --unembargo lets everybody see it",
        ),
        (
            side("ppa:o/to"),
            {"source": side("local:o/from", "hello=1.0-1")},
            "Launchpad takes no binaries from outside: --rebuild uploads the source, and builds it there",
        ),
        (
            side("ppa:o/to"),
            {"facts": Facts(builds={KEY: ()})},
            "it has no binaries yet; wait for its builds, or --rebuild",
        ),
        (
            side("ppa:o/to"),
            {"facts": Facts(builds={KEY: builds(BUILT, BUILDING)})},
            "it is not built yet on arm64; wait (ppa-wait), or --rebuild",
        ),
        (
            side("ppa:o/to"),
            {"facts": Facts(builds={KEY: builds(BUILT, BUILT, published=False)})},
            "its binaries for amd64, arm64 are not published yet; wait (ppa-wait)",
        ),
        (
            side("ppa:o/to"),
            {"facts": Facts(builds={KEY: builds(BUILT, FAILED)})},
            "its builds did not succeed on arm64 (failed to build); --incomplete copies what there is",
        ),
        (
            side("ppa:o/to"),
            {"facts": Facts(builds={KEY: builds(FAILED, FAILED)}), "terms": Terms(incomplete=True)},
            (
                "its builds did not succeed on amd64 (failed to build), arm64 (failed to build); "
                "hello has no binaries to copy"
            ),
        ),
    ],
)
def test_what_launchpad_would_refuse_is_blocked_with_the_reason(
    destination: Side, how: dict[str, object], reason: str
) -> None:
    said = first_line(destination, **how)  # type: ignore[arg-type]
    assert said.startswith("blocked hello=1.0-1 ")
    assert said.partition(": ")[2] == reason


@pytest.mark.parametrize(
    ("facts", "terms"),
    [
        (Facts(builds={KEY: builds(BUILT, FAILED)}), Terms(incomplete=True)),
        (Facts(builds={KEY: builds(BUILDING, FAILED)}), Terms(with_binaries=False)),
    ],
)
def test_consent_lets_the_incomplete_pass(facts: Facts, terms: Terms) -> None:
    assert first_line(side("ppa:o/to"), facts=facts, terms=terms) == "copy hello=1.0-1 noble"


def test_consent_lets_the_private_pass() -> None:
    hidden = side("ppa:o/from", "hello=1.0-1", private=True)
    assert first_line(side("ppa:o/to"), source=hidden, terms=Terms(unembargo=True)) == "copy hello=1.0-1 noble"


# File names stand for the same for ever

GONE = pub("hello=1.0-1", status=Status.DELETED)
ORIG = pub("hello=1.0-9", status=Status.DELETED)


@pytest.mark.parametrize(
    ("rival", "mine", "theirs", "reason"),
    [
        (GONE, {"dsc": "a"}, {"dsc": "b"}, "another source of the same version is or was there"),
        (
            GONE,
            {"dsc": "a", "deb": "a"},
            {"dsc": "a", "deb": "b"},
            "hello_1.0-1_amd64.deb is or was there with other",
        ),
        (
            ORIG,
            {"dsc": "a", "orig": "a"},
            {"orig": "b"},
            "hello_1.0.orig.tar.xz is or was there with other contents",
        ),
    ],
)
def test_a_name_with_other_contents_is_blocked_for_ever(
    rival: Publication, mine: dict[str, str], theirs: dict[str, str], reason: str
) -> None:
    facts = Facts(
        {KEY: builds(BUILT, BUILT)},
        {KEY: [one for one in files(**mine) if not one.name.endswith("deb")]},  # type: ignore[dict-item]
        {KEY: [one for one in files(**mine) if one.name.endswith("deb")]},  # type: ignore[dict-item]
        {rival.key: [one for one in files(**theirs) if not one.name.endswith("deb")]},  # type: ignore[dict-item]
        {rival.key: [one for one in files(**theirs) if one.name.endswith("deb")]},  # type: ignore[dict-item]
    )
    assert reason in first_line(side("ppa:o/to", rival), facts=facts)


def test_what_was_there_with_the_same_contents_may_come_back() -> None:
    same = {GONE.key: files(dsc="a")}
    facts = Facts({KEY: builds(BUILT, BUILT)}, {KEY: files(dsc="a")}, {}, same, {})
    assert first_line(side("ppa:o/to", GONE), facts=facts) == "copy hello=1.0-1 noble"


def test_what_had_binaries_there_is_not_built_again() -> None:
    facts = Facts(there_binary_files={GONE.key: files(deb="a")})
    said = first_line(side("ppa:o/to", GONE), facts=facts, terms=Terms(with_binaries=False))
    assert "blocked" in said
    assert "building it again would give their names other contents" in said


def test_what_is_no_longer_kept_is_blocked() -> None:
    old = side("ppa:o/from", pub("hello=1.0-1", status=Status.SUPERSEDED), "hello=1.1-1")
    facts = Facts({KEY: builds(BUILT, BUILT)}, {KEY: ()}, {KEY: ()})
    said = first_line(side("ppa:o/to"), source=old, facts=facts, name="hello=1.0-1")
    assert said == "blocked hello=1.0-1 noble: its files are no longer kept"


def test_files_are_asked_of_suspects_alone() -> None:
    source = side("ppa:o/from", "new=1.0-1", "same=1.0-1", "native=2", "orig=1.0-2", "known=1.0-2")
    destination = side(
        "ppa:o/to",
        pub("same=1.0-1", status=Status.DELETED),
        pub("native=1"),
        pub("orig=1.0-1"),
        pub("known=1.0-1"),
    )
    past = (*source.publications, pub("known=1.0-1", status=Status.SUPERSEDED))
    source = Side(source.address, False, source.series, past)
    picks = choose(source, Selection(everything=True), pair_series(source, (), ())).picks
    asked = questions(picks, Shelf(source), Shelf(destination), Terms())
    assert {one.source for one in asked.builds} == {"new", "same", "native", "orig", "known"}
    assert {one.source for one in asked.source_files} == {"same", "orig"}
    assert {one.source for one in asked.there_source_files} == {"same", "orig"}
    assert {one.source for one in asked.binary_files} == {"same"}


def test_an_epoch_does_not_tell_file_names_apart() -> None:
    source, destination = side("ppa:o/from", "a=1:1.0"), side("ppa:o/to", pub("a=1.0"))
    picks = choose(source, Selection(everything=True), pair_series(source, (), ())).picks
    asked = questions(picks, Shelf(source), Shelf(destination), Terms())
    assert [one.version for one in asked.there_source_files] == ["1.0"]


# Several at once


def plan_all(source: Side, destination: Side, froms: list[str], tos: list[str], *names: str, move: bool = False):  # type: ignore[no-untyped-def]
    selection = Selection(tuple(map(parse_wanted, names)), everything=not names)
    chosen = choose(source, selection, pair_series(source, froms, tos))
    return chosen, plan_copy(chosen, source, destination, Facts(), Terms(), move=move)


def test_no_series_gets_two_versions_of_a_package() -> None:
    source = side("ppa:o/from", "hello=1.0", pub("hello=1.1", "jammy"))
    _, plan = plan_all(source, side("ppa:o/to"), ["noble", "jammy"], ["noble", "noble"])
    assert lines(plan) == [
        "blocked hello=1.0 noble: 1.1 is wanted in noble as well; one version can be copied there",
        "blocked hello=1.1 noble: 1.0 is wanted in noble as well; one version can be copied there",
    ]


def test_a_version_that_two_series_have_comes_once() -> None:
    source = side("ppa:o/from", "hello=1.0", pub("hello=1.0", "jammy"))
    _, plan = plan_all(source, side("ppa:o/to"), ["noble", "jammy"], ["noble", "noble"])
    assert lines(plan) == ["copy hello=1.0 noble"]


def test_one_package_to_several_series_is_warned_of() -> None:
    _, plan = plan_all(side("ppa:o/from", "hello=1.0"), side("ppa:o/to"), ["noble"], ["noble", "jammy"])
    assert lines(plan) == ["copy hello=1.0 jammy", "copy hello=1.0 noble"]
    assert "one series after the other" in plan.notes[0]


def test_a_move_deletes_what_comes_and_what_is_there_but_not_what_is_blocked() -> None:
    source = side("ppa:o/from", "comes=1", "there=1", "stays=1")
    _, plan = plan_all(source, side("ppa:o/to", "there=1", "stays=2"), [], [], move=True)
    assert [one.partition(":")[0] for one in lines(plan)] == [
        "copy comes=1 noble",
        "delete comes=1 noble",
        "blocked stays=1 noble over 2",
        "delete there=1 noble",
        "skip there=1 noble",
    ]


def test_a_move_that_was_done_in_part_finds_the_rest() -> None:
    source, destination = side("ppa:o/from", "left=1"), side("ppa:o/to", "gone=1")
    chosen, plan = plan_all(source, destination, ["noble"], [], "left", "gone", "never", move=True)
    assert [one.partition(":")[0] for one in lines(plan)] == [
        "skip gone=1 noble",
        "copy left=1 noble",
        "delete left=1 noble",
    ]
    assert [one.source for one in really_missing(chosen, destination, move=True)] == ["never"]
    assert [one.source for one in really_missing(chosen, destination, move=False)] == ["gone", "never"]


def test_a_move_by_pattern_that_was_done_is_no_slip_of_the_hand() -> None:
    source, destination = side("ppa:o/from", "hello=1"), side("ppa:o/to", "qt-base=1")
    chosen = choose(source, Selection(include=("qt-*", "kde-*")), pair_series(source, ["noble"], []))
    assert [one.asked for one in really_missing(chosen, destination, move=True)] == ["kde-*"]
    assert [one.asked for one in really_missing(chosen, destination, move=False)] == ["qt-*", "kde-*"]


def test_a_move_of_a_version_that_two_series_have_deletes_only_what_itself_has_come() -> None:
    source = side("ppa:o/from", "hello=1.0", pub("hello=1.0", "jammy"))
    _, plan = plan_all(source, side("ppa:o/to"), ["noble", "jammy"], ["noble", "noble"], move=True)
    assert lines(plan) == [
        "skip hello=1.0 jammy: it goes once its like has come; run this again then",
        "copy hello=1.0 noble",
        "delete hello=1.0 noble: moved",
    ]
