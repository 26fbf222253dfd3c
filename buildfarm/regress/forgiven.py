"""Tests that fail in a build that passes all the same, because the package's rules forgive it.

The suite of PHP, for one, cannot fail Debian's build of it. Whether such a suite still passes is seen by the
names of its tests alone: one that fails now, and failed in no pass before, has broken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from buildfarm.build.logs.cause import name_tests, normalise_name
from buildfarm.build.logs.reading import LogReading, failed_tests
from buildfarm.regress.model import BuildReport

SHOWN_NAMES = 3


def key_of_test(name: str) -> str:
    """What a test is known by from night to night: its name without what a build or a run adds to it."""
    return re.sub(r"\b\d+(?:\.\d+)?\s?(?:[mnuµ]?s|sec|seconds?|min)\b", "TIME", normalise_name(name))


@dataclass(frozen=True)
class WatchedTests:
    """What the tests of a build that passes are held to.

    Those ``known`` may fail: they did in passes before, or by chance. With ``only`` no others count than these, by
    which an earlier build failed. All are keys, as ``key_of_test`` makes them.
    """

    known: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    def broken(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the tests that failed, by name, that were not to fail."""
        known, only = frozenset(self.known), frozenset(self.only)
        keys = {name: key_of_test(name) for name in names}
        return tuple(name for name, key in keys.items() if key not in known and (not only or key in only))


def hold_to(watch: WatchedTests, report: BuildReport, reading: LogReading) -> BuildReport:
    """The report of a build that passed; it fails by the tests that were not to fail, if there are any."""
    broken = watch.broken(report.failing_tests)
    if not broken:
        return report
    cause = name_tests(reading.package, broken)
    shown = ", ".join(broken[:SHOWN_NAMES]) + (", ..." if len(broken) > SHOWN_NAMES else "")
    count = f"{len(broken)} tests fail that" if len(broken) > 1 else "a test fails that"
    return replace(
        report,
        outcome="fail",
        reason=f"{count} did not before, and the package's rules forgive it: {shown}",
        stage="build",
        first_error=_where(reading, broken[0]),
        failing_tests=(*broken, *(name for name in report.failing_tests if name not in broken)),
        broken_tests=broken,
        fingerprint=cause.fingerprint,
        cause=cause.words,
    )


def _where(reading: LogReading, name: str) -> tuple[str, ...]:
    for test in failed_tests(reading.suites):
        if test.name == name:
            return test.numbered_lines()
    return ()
