"""Mixed environments hold together: ties are found beforehand, and who checks relation by relation agrees."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.build.manifest import EnvironmentPackage
from buildfarm.regress.culprit import Case, find_culprit
from buildfarm.regress.environment_diff import compare
from buildfarm.regress.mixing import Mixing
from ppa_tools.apt.relations import parse_relations


def package(name, version, source="", **more):
    return EnvironmentPackage(name, version, more.pop("architecture", "amd64"), source, **more)


def listed(mix):
    return {str(one) for one in mix.packages}


def test_the_ends_are_the_environments_themselves():
    before = [package("foo", "1"), package("gone", "3"), package("base", "1")]
    after = [package("foo", "2", depends="libnew1"), package("libnew1", "5"), package("base", "1")]
    mixing = Mixing(compare(before, after))
    assert listed(mixing.mix(())) == {"foo 2", "libnew1 5", "base 1"}
    assert listed(mixing.mix({"foo", "gone"})) == {"foo 1", "gone 3", "base 1"}
    assert mixing.mix(()).is_consistent
    assert mixing.mix({"foo", "gone"}).is_consistent


def test_a_new_dependency_goes_and_an_old_one_comes_back_with_who_needs_it():
    before = [package("foo", "1", depends="libold1"), package("libold1", "5"), package("bar", "1")]
    after = [package("foo", "2", depends="libnew1"), package("libnew1", "5"), package("bar", "2")]
    mixing = Mixing(compare(before, after))
    assert listed(mixing.mix({"foo"})) == {"foo 1", "libold1 5", "bar 2"}
    assert listed(mixing.mix({"bar"})) == {"foo 2", "libnew1 5", "bar 1"}


def test_a_dependency_that_two_need_stays_for_the_other():
    before = [package("foo", "1"), package("bar", "1")]
    after = [
        package("foo", "2", depends="libnew1"),
        package("bar", "2", depends="libnew1"),
        package("libnew1", "5"),
    ]
    mixing = Mixing(compare(before, after))
    assert listed(mixing.mix({"foo"})) == {"foo 1", "bar 2", "libnew1 5"}
    assert listed(mixing.mix({"foo", "bar"})) == {"foo 1", "bar 1"}


def test_two_sonames_stand_side_by_side_where_relations_allow_it():
    before = [package("libbar1", "1", "bar"), package("libbar-dev", "1", "bar", depends="libbar1 (= 1)"),
              package("tool", "1", depends="libbar1")]  # fmt: skip
    after = [package("libbar2", "2", "bar"), package("libbar-dev", "2", "bar", depends="libbar2 (= 2)"),
             package("tool", "1+b1", depends="libbar2")]  # fmt: skip
    mixing = Mixing(compare(before, after))
    mix = mixing.mix({"bar"})
    assert mix.is_consistent
    assert listed(mix) == {"libbar1 1", "libbar-dev 1", "libbar2 2", "tool 1+b1"}


def test_what_needs_the_newer_version_of_another_is_taken_back_with_it():
    before = [package("a", "1"), package("b", "1")]
    after = [package("a", "2", depends="b (>= 2)"), package("b", "2")]
    mixing = Mixing(compare(before, after))
    mix = mixing.mix({"b"})
    assert mix.problems == ("a 2 needs b (>= 2)",)
    assert mixing.mix({"a"}).is_consistent
    assert mixing.ties.taking_back({"b"}, {"a", "b"}) == {"a", "b"}
    assert mixing.ties.taking_back({"a"}, {"a", "b"}) == {"a"}
    assert mixing.ties.moving_on({"a"}, {"a", "b"}) == {"a", "b"}


def test_breaks_tie_as_well():
    before = [package("a", "1"), package("b", "1")]
    after = [package("a", "2", breaks="b (<< 2)"), package("b", "2")]
    mixing = Mixing(compare(before, after))
    assert mixing.mix({"b"}).problems == ("a 2 does not go with b 1 (Breaks: b (<< 2))",)
    assert mixing.ties.taking_back({"b"}, {"a", "b"}) == {"a", "b"}


def test_versioned_provides_satisfy_and_unversioned_ones_only_what_asks_for_none():
    before = [package("a", "1"), package("b", "1", provides="api (= 1)")]
    after = [package("a", "2", depends="api (>= 2)"), package("b", "2", provides="api (= 2)")]
    assert not Mixing(compare(before, after)).mix({"b"}).is_consistent
    before = [package("a", "1"), package("b", "1", provides="api")]
    after = [package("a", "2", depends="api"), package("b", "2", provides="api")]
    assert Mixing(compare(before, after)).mix({"b"}).is_consistent


def test_a_qualified_or_foreign_dependency_is_met_across_architectures():
    other = package("tool", "1", architecture="i386", depends="python3:any, perl")
    before = [package("python3", "3.1"), package("perl", "5.1", multi_arch="foreign"), other, package("c", "1")]
    after = [package("python3", "3.2"), package("perl", "5.2", multi_arch="foreign"), other, package("c", "1")]
    assert Mixing(compare(before, after)).ties.rules == ()


def test_what_an_environment_itself_violates_is_no_tie():
    before = [package("a", "1", depends="nowhere, ((("), package("b", "1")]
    after = [package("a", "2", depends="nowhere"), package("b", "2")]
    mixing = Mixing(compare(before, after))
    assert mixing.ties.rules == ()
    assert mixing.mix({"b"}).is_consistent


def test_an_unknown_suspect_is_an_error():
    with pytest.raises(KeyError, match="nobody"):
        Mixing(compare([package("a", "1")], [package("a", "2")])).mix({"nobody"})


NAMES = tuple("abcdefgh")


@st.composite
def environments(draw):
    """Two environments in which every relation holds."""

    def environment(version):
        there = draw(st.sets(st.sampled_from(NAMES), min_size=4))
        moved = {name: draw(st.sampled_from(["1", version])) for name in there}
        packages = []
        for name in sorted(there):
            wants = draw(st.lists(st.sampled_from(sorted(there - {name})), max_size=2, unique=True))
            how = draw(st.sampled_from(["", " (= {})", " (>= {})"]))
            depends = ", ".join(
                f"{one}{how.format(moved[one])}" + draw(st.sampled_from(["", f" | {NAMES[0]}", " | v"]))
                for one in wants
            )
            rivals = [one for one in NAMES if one != name and one not in there]
            breaks = ", ".join(
                [one for one in rivals if draw(st.booleans())]
                + [f"{one} (<< {moved[one]})" for one in there - {name} if draw(st.integers(0, 5)) == 0]
            )
            provides = draw(st.sampled_from(["", "", "v"]))
            sha = f"{name}{moved[name]}{depends}{breaks}{provides}"
            packages.append(
                package(
                    name,
                    moved[name],
                    f"src-{name if name > 'c' else 'x'}",
                    depends=depends,
                    breaks=breaks,
                    provides=provides,
                    sha256=sha,
                )
            )
        return packages

    return environment("2"), environment("3")


def holds_together(packages):
    """By each relation of each package, as dpkg would look at it."""

    def is_met(relation, asking):
        return any(
            (one.name == relation.name and relation.fits(one.version))
            or (not relation.operator and relation.name in one.provides.split(", "))
            for one in packages
            if one is not asking or asking is None
        )

    for one in packages:
        if not all(any(is_met(each, None) for each in clause) for clause in parse_relations(one.depends)):
            return False
        if any(is_met(clause[0], one) for clause in parse_relations(one.breaks)):
            return False
    return len({one.name for one in packages}) == len(packages)


@given(environments(), st.data())
@settings(deadline=None, max_examples=400)
def test_the_ties_say_what_checking_each_relation_says(both, data):
    before, after = both
    diff = compare(before, after)
    mixing = Mixing(diff)
    names = [one.source for one in diff.suspects]
    earlier = data.draw(st.sets(st.sampled_from(names))) if names else set()
    mix = mixing.mix(earlier)
    assert mix.is_consistent == holds_together(mix.packages), mix
    closed = mixing.ties.taking_back(earlier, names)
    assert closed >= earlier
    assert holds_together(mixing.mix(closed).packages)
    opened = mixing.ties.moving_on(earlier, names)
    assert opened >= earlier
    assert holds_together(mixing.mix(set(names) - opened).packages)


@given(environments(), st.data())
@settings(deadline=None, max_examples=200)
def test_a_search_over_real_relations_never_asks_for_what_cannot_be_installed(both, data):
    before, after = both
    diff = compare(before, after)
    mixing = Mixing(diff)
    if not diff.suspects:
        return
    guilty = data.draw(st.sampled_from([one.source for one in diff.suspects]))

    def probe(earlier):
        assert holds_together(mixing.mix(earlier).packages)
        return "pass" if guilty in earlier else "fail"

    culprit = find_culprit(Case("victim", diff.suspects, mixing.ties), probe, clock=lambda: 0.0)
    assert culprit.confirmed
    assert guilty in culprit.words
