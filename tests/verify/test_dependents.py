"""The tests of packages that depend on the one that changed: only what the change broke counts."""

from __future__ import annotations

from typing import Any

import pytest

from buildfarm.verdict import Verdict
from buildfarm.verify.autopkgtest import Judgement
from buildfarm.verify.dependents import Dependent, find_before, find_dependents, with_dependents
from ppa_tools.apt.stanzas import scan_packages
from tests.verify.conftest import Bench

PACKAGES = """\
Package: greet
Version: 1.0
Depends: libc6

Package: party
Version: 1.0
Depends: greet (>= 0.5) | hello

Package: choir-tools
Source: choir (2.0)
Version: 1.0
Pre-Depends: greet

Package: lonely
Version: 1.0
Depends: greet-extra, hello | greet
"""
USES = "Tests: uses\nDepends: @\n"


def test_dependents_are_other_sources_whose_binaries_want_the_tested_ones() -> None:
    assert find_dependents(scan_packages(PACKAGES, "Packages"), "greet", ["greet"]) == ("choir", "party")
    assert find_dependents(scan_packages(PACKAGES, "Packages"), "party", ["party"]) == ()


def test_the_version_before_is_the_highest_below_that_was_published() -> None:
    def published(version: str, at: float | None = 1.0) -> dict[str, Any]:
        binaries = [{"package": "greet", "version": version, "index": "amd64"}]
        return {"version": version, "published_at": at, "binaries": binaries}

    told = [published("1.0"), published("1.10"), published("1.9"), published("1.11", None), published("2.0")]

    assert find_before(told, "2.0", "amd64") == {"greet": "1.10"}
    assert find_before(told, "1.0", "amd64") == {}
    assert find_before(told, "2.0", "arm64") == {}


@pytest.mark.parametrize(
    ("own", "dependents", "verdict", "reason"),
    [
        (Verdict.PASS, ("pass",), Verdict.PASS, "own; of those that depend on it: 1 pass"),
        (
            Verdict.PASS,
            ("pass", "already"),
            Verdict.PASS,
            "own; of those that depend on it: 1 pass, 1 fail already",
        ),
        (Verdict.PASS, ("broken",), Verdict.FAIL, "it breaks the tests of 1 that depend on it: s0: why"),
        (Verdict.SKIPPED, ("pass",), Verdict.PASS, "own; of those that depend on it: 1 pass"),
        (Verdict.SKIPPED, ("broken",), Verdict.FAIL, "it breaks the tests of 1 that depend on it: s0: why"),
        (Verdict.FAIL, ("broken",), Verdict.FAIL, "own; of those that depend on it: 1 broken by it"),
        (Verdict.PASS, ("skipped",), Verdict.PASS, "own; of those that depend on it: none has tests"),
        (Verdict.PASS, (), Verdict.PASS, "own"),
    ],
)
def test_a_dependent_counts_when_the_change_broke_it(
    own: Verdict, dependents: tuple[str, ...], verdict: Verdict, reason: str
) -> None:
    found = [Dependent(f"s{number}", one, "why") for number, one in enumerate(dependents)]

    assert with_dependents(Judgement(own, "own"), found) == Judgement(verdict, reason)


def test_a_change_that_breaks_what_depends_on_it_fails(bench: Bench) -> None:
    own = {"control": "Tests: own\nDepends: @\n", "own": "#!/bin/sh\ngreet\n"}
    bench.publish(own, version="1.0", script="echo hello")
    bench.publish(
        {"control": USES, "uses": "#!/bin/sh\ngreet | grep hello\n"}, name="party", depends="greet", beside=True
    )
    bench.publish({"control": USES, "uses": "#!/bin/sh\nexit 1\n"}, name="sulk", depends="greet", beside=True)
    bench.publish({"control": USES, "uses": "#!/bin/sh\ngreet\n"}, name="easy", depends="greet", beside=True)
    bench.publish(own, version="2.0", script="echo goodbye")

    result = bench.run(reverse_dependencies=True)

    assert result.verdict is Verdict.FAIL, bench.log()
    assert result.reason == ("it breaks the tests of 1 that depend on it: party: uses: non-zero exit status 1"), (
        bench.log()
    )
    assert {one["source"]: one["verdict"] for one in result.facts["dependents"]} == {
        "party": "broken",
        "sulk": "already",
        "easy": "pass",
    }
