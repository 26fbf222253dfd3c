"""What must come along when sources are copied, and what nobody has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppa_tools.apt.closure import Closure, find_closure
from ppa_tools.apt.relations import parse_relations
from ppa_tools.apt.stanzas import BinaryPackage, Holdings, SourcePackage, scan_packages, scan_sources

NOTHING = Holdings({})


def binaries(*stanzas: str) -> list[BinaryPackage]:
    """Packages from lines like ``foo 1.0 from bar; Depends: baz``; what is left out is made up."""
    texts = []
    for line in stanzas:
        head, *fields = line.split("; ")
        name, version, *rest = head.split()
        more = [f"Source: {rest[1]}"] if rest else []
        texts.append("\n".join([f"Package: {name}", f"Version: {version}", "Architecture: amd64", *more, *fields]))
    return scan_packages("\n\n".join(texts), "test")


def sources(*stanzas: str) -> list[SourcePackage]:
    texts = []
    for line in stanzas:
        head, *fields = line.split("; ")
        name, version = head.split()
        texts.append("\n".join([f"Package: {name}", f"Version: {version}", "Architecture: any", *fields]))
    return scan_sources("\n\n".join(texts), "test")


def has(*stanzas: str) -> Holdings:
    return Holdings({"amd64": binaries(*stanzas)})


def names(closure: Closure) -> list[str]:
    return [one.source for one in closure.companions]


def test_a_backported_dependency_comes_along_with_its_own_and_tells_for_whom() -> None:
    source = has("foo 2; Depends: libbar (>= 2), libc6", "libbar 2 from bar; Depends: libbaz", "libbaz 1 from baz")
    closure = find_closure(["foo"], source, NOTHING, has("libbar 1 from bar", "libc6 2.36 from glibc"))
    assert names(closure) == ["bar", "baz"]
    assert [str(need) for one in closure.companions for need in one.needs] == [
        "needed by foo: libbar (>= 2)",
        "needed by libbar: libbaz",
    ]
    assert closure.missing == ()


def test_what_the_destination_or_its_base_has_is_left() -> None:
    source = has("foo 2; Depends: libbar (>= 2), libbaz", "libbar 2 from bar", "libbaz 1 from baz")
    assert names(find_closure(["foo"], source, has("libbar 3 from bar"), has("libbaz 1 from baz"))) == []


def test_what_nobody_has_is_said_with_the_version_that_is_there() -> None:
    source = has("foo 2; Depends: libbar (>= 3), libgone")
    closure = find_closure(["foo"], source, NOTHING, has("libbar 2"))
    assert [str(one) for one in closure.missing] == [
        "needed by foo: libbar (>= 3) (libbar 2 is there)",
        "needed by foo: libgone (nobody has it)",
    ]


def test_a_lower_version_than_the_destination_has_cannot_come() -> None:
    source = has("foo 2; Depends: libbar (= 1)", "libbar 1 from bar")
    closure = find_closure(["foo"], source, has("libbar 2 from bar"), NOTHING)
    assert names(closure) == []
    assert [one.need.clause for one in closure.missing] == ["libbar (= 1)"]


@pytest.mark.parametrize(
    ("depends", "wanted"),
    [
        ("nobody | mta", ["postfix"]),
        ("default-mta | postfix", ["postfix"]),
        ("mta (>= 2)", []),
        ("api (= 3)", ["versioned"]),
        ("api (>= 4)", []),
        ("python:any", ["python"]),
        ("postfix:any", []),
        ("postfix:amd64", ["postfix"]),
        ("postfix:armhf", []),
    ],
)
def test_alternatives_provides_and_qualifiers_are_understood(depends: str, wanted: list[str]) -> None:
    source = has(
        f"foo 1; Depends: {depends}",
        "postfix 3; Provides: mta",
        "versioned 1; Provides: api (= 3)",
        "python 3; Multi-Arch: allowed",
    )
    closure = find_closure(["foo"], source, NOTHING, NOTHING)
    assert names(closure) == wanted
    assert bool(closure.missing) == (not wanted)


def test_of_several_that_would_do_what_comes_anyway_is_taken() -> None:
    source = has("foo 1; Depends: a | b, c", "a 1", "b 1", "c 1; Depends: b")
    assert names(find_closure(["foo"], source, NOTHING, NOTHING)) == ["c", "b"]


def test_what_a_copy_replaces_no_longer_satisfies() -> None:
    source = has("foo 2", "app 1; Depends: foo-old", "foo-old 5 from other")
    destination = has("foo 1", "foo-old 1 from foo")
    assert names(find_closure(["app"], source, destination, NOTHING)) == []
    assert names(find_closure(["app", "foo"], source, destination, NOTHING)) == ["other"]


def test_build_dependencies_come_only_for_a_rebuild_and_for_the_architectures_they_are_for() -> None:
    source = Holdings(
        {"amd64": binaries("foo 1", "debhelper 14", "armtool 1", "tester 1", "libx-dev 1 from x")},
        sources(
            "foo 1; Build-Depends: debhelper (>= 14), armtool [armhf], tester <!nocheck>, libx-dev [linux-any]",
            "debhelper 14",
            "armtool 1",
            "tester 1",
            "x 1",
        ),
    )
    base = has("debhelper 13")
    assert names(find_closure(["foo"], source, NOTHING, base)) == []
    closure = find_closure(["foo"], source, NOTHING, base, rebuild=True)
    assert sorted(names(closure)) == ["debhelper", "tester", "x"]
    assert str(closure.companions[0].needs[0]) == "needed to build foo: debhelper (>= 14)"


def test_the_same_need_on_two_architectures_is_told_once() -> None:
    packages = binaries("foo 1; Depends: bar", "bar 1")
    closure = find_closure(["foo"], Holdings({"amd64": packages, "arm64": packages}), NOTHING, NOTHING)
    assert [need.architectures for need in closure.companions[0].needs] == [("amd64", "arm64")]


def test_a_name_that_the_archive_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="not in the archive that is copied from: nonesuch"):
        find_closure(["nonesuch"], has("foo 1"), NOTHING, NOTHING)


NAMES = "abcdef"
relations = st.one_of(
    st.sampled_from(NAMES),
    st.tuples(st.sampled_from(NAMES), st.sampled_from([">=", "<<", "="]), st.integers(1, 4)).map(
        lambda one: f"{one[0]} ({one[1]} {one[2]})"
    ),
    st.sampled_from(["virtual-v", "virtual-w"]),
)
clauses = st.lists(relations, min_size=1, max_size=3).map(" | ".join)
package = st.tuples(
    st.integers(1, 4),
    st.lists(clauses, max_size=3),
    st.lists(st.sampled_from(["virtual-v", "virtual-w"]), max_size=1),
)


def holdings_of(packages: dict[str, tuple[int, list[str], list[str]]]) -> Holdings:
    return has(
        *(
            f"{name} {version}"
            + (f"; Depends: {', '.join(depends)}" if depends else "")
            + (f"; Provides: {', '.join(provided)}" if provided else "")
            for name, (version, depends, provided) in packages.items()
        )
    )


worlds = st.dictionaries(st.sampled_from(NAMES), package)


@given(worlds.filter(bool), worlds, worlds, st.data())
def test_after_the_copy_every_need_is_met_or_told_and_nothing_comes_without_one(
    source: dict[str, tuple[int, list[str], list[str]]],
    destination: dict[str, tuple[int, list[str], list[str]]],
    base: dict[str, tuple[int, list[str], list[str]]],
    data: st.DataObject,
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(sorted(source)), min_size=1, unique=True))
    closure = find_closure(chosen, holdings_of(source), holdings_of(destination), holdings_of(base))
    taken = {*chosen, *names(closure)}
    assert len(taken) == len(chosen) + len(closure.companions)

    # Told once more in the plainest way: the highest version of each name, once all were copied.
    world: dict[str, tuple[int, list[str], list[str]]] = dict(base)
    for name, its in destination.items():
        if name not in taken and its[0] > world.get(name, (0,))[0]:
            world[name] = its
    for name in taken:
        if source[name][0] > world.get(name, (0,))[0]:
            world[name] = source[name]

    def met(clause: str) -> bool:
        for (one,) in ((relation,) for relation in parse_relations(clause)[0]):
            if one.name in world and one.fits(str(world[one.name][0])):
                return True
            if not one.operator and any(one.name in provided for _, _, provided in world.values()):
                return True
        return False

    told = {(one.need.by, one.need.clause) for one in closure.missing}
    for name in taken:
        for clause in source[name][1]:
            assert met(clause) != ((name, clause) in told)
    for one in closure.companions:
        assert one.needs
        assert all(need.by in taken and need.clause in source[need.by][1] for need in one.needs)
        assert one.source not in destination or destination[one.source][0] < source[one.source][0]
    again = find_closure(sorted(taken), holdings_of(source), holdings_of(destination), holdings_of(base))
    assert again.companions == ()
