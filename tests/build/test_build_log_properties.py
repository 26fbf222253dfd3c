"""What holds for any log: the reader takes all bytes, and a fingerprint knows neither build nor package."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.build.logs import Cause, LogReading, Summary, find_cause, judge, lines, read_build_log
from buildfarm.build.logs.lines import Line, scan
from buildfarm.build.logs.suites.registry import KINDS

NEEDLES = sorted(
    {needle for kind in KINDS for needle in kind.needles} | {b"rror: ", b"make[1]: *** [x] Error 2\n"}
)
PIECES = [
    *NEEDLES,
    b"\n",
    b"\r",
    b"\x1b[31m",
    b"\xff\xfe",
    b"| Summary" + 70 * b" " + b"|\n",
    b"Status: attempted\n",
    b"Fail-Stage: build\n",
    b"   dh_auto_test\n",
    b"Ran 5 tests in 0.1s\n",
    b"FAILED (failures=9, errors=9)\n",
    b"2 of 1 tests failed.\n",
    b"# TOTAL: 3\n# FAIL:  9\n# ERROR: 1\n",
    b"1..3\nok 1\nnot ok 2 - x\n",
    b"50%: Checks: 1, Failures: 5, Errors: 2\n",
    b"Running 1 test case...\n",
    b"Traceback (most recent call last):\n",
    b"==> config.log <==\n",
    b"9" * 30,
    b" - a.py::b",
    b"t/a.t .. ok\n",
]
logs = st.lists(st.sampled_from(PIECES) | st.binary(max_size=30), max_size=60).map(b"".join)


@dataclass
class Recorder:
    """Keeps the lines it is shown."""

    needles: tuple[bytes, ...]
    more: int = 0
    seen: list[tuple[int, str]] = field(default_factory=list)

    def read(self, line: Line) -> int:
        self.seen.append((line.number, line.text))
        return self.more


class Dribble(io.BytesIO):
    """A file that gives a few bytes at a time."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(7 if size is None or size < 0 else min(7, size))


@given(logs, st.integers(-9, 300))
@settings(deadline=None)
def test_any_bytes_are_read_and_judged(log: bytes, exit_status: int) -> None:
    reading = read_build_log(io.BytesIO(log))
    judgement = judge(reading, exit_status)
    cause = find_cause(reading, judgement)

    assert "\n" not in judgement.reason
    assert (cause == Cause()) is (judgement.outcome == "pass")
    if (counts := reading.tests) is not None:
        assert min(counts.passed, counts.failed, counts.skipped) >= 0
    for run in reading.suites:
        assert 1 <= run.first_line <= run.last_line <= reading.lines
        assert min(run.counts.passed, run.counts.failed, run.counts.skipped) >= 0


@given(
    st.lists(st.sampled_from(["", "an error: x", "ok 1", "no", " ok 1", "errr", "ok", "okerror"]), max_size=40),
    st.integers(1, 50),
    st.integers(0, 3),
)
def test_a_reader_is_shown_its_lines_however_the_log_is_cut_in_blocks(
    texts: list[str], block_bytes: int, more: int
) -> None:
    expected, until = [], 0
    for number, text in enumerate(texts, 1):
        hit = "error" in text or text.startswith("ok")
        if hit or number <= until:
            expected.append((number, text))
            until = max(until, number + more)
    recorder = Recorder((b"error", b"\nok"), more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK_BYTES", block_bytes)
        scanned = scan(io.BytesIO("".join(f"{text}\n" for text in texts).encode()), [recorder])

    assert recorder.seen == expected
    assert scanned.lines == len(texts)


@given(logs)
@settings(deadline=None)
def test_short_reads_change_nothing(log: bytes) -> None:
    assert read_build_log(Dribble(log)) == read_build_log(io.BytesIO(log))


def test_a_line_without_end_full_of_needles_is_read() -> None:
    log = b"rror: FAIL: <testcase " * 400_000 + b"\nE: the end\n"

    assert read_build_log(io.BytesIO(log)).errors[-1] == "E: the end"


@pytest.mark.parametrize(
    "flood",
    [
        b"case 7: provoked: error: refused\n",
        b"not ok 1 - x\n",
        b"FAIL: a.sh\n",
        b"<testsuite name='a'>\n",
        b"1..1\nok 1\n",
    ],
)
def test_a_flood_is_kept_in_bounds(flood: bytes) -> None:
    reading = read_build_log(io.BytesIO(flood * 50_000))

    assert len(reading.errors) <= 8
    assert len(reading.failing_tests) <= 1000
    assert len(reading.suites) <= 2000


@dataclass(frozen=True)
class Build:
    """What differs between builds of the same failure."""

    package: str = "tally"
    version: str = "1.0"
    directory: str = "/<<PKGBUILDDIR>>"
    time: str = "2026-11-27T18:13:13Z"
    line: int = 5
    noise: tuple[str, ...] = ()


builds = st.builds(
    Build,
    package=st.sampled_from(["tally", "abacus", "libquipu0-perl", "g++-tool", "a.b"]),
    version=st.sampled_from(["1.0", "2:3.4.5-6+deb12u7", "0~git20250101.abcdef1-1"]),
    directory=st.sampled_from(
        [
            "/<<PKGBUILDDIR>>",
            "/build/reproducible-path/x-1",
            "/build/tally-Ab3dE9/tally-1.0",
            "/build/tree/tally-1.0",
        ]
    ),
    time=st.sampled_from(["2026-11-27T18:13:13Z", "2025-01-01T00:00:00Z"]),
    line=st.integers(1, 9999),
    noise=st.permutations(["cc -c a.c", "cc -c b.c", "  CC    c.o", "a.c:3:1: warning: unused [-Wunused]"]).map(
        tuple
    ),
)


def cause_of(build: Build, *failure: str, step: str = "dh_auto_build") -> Cause:
    """The cause of a build that fails with these lines, in which {d}, {l}, {p} and {v} are replaced."""
    told = [
        text.format(d=build.directory, l=build.line, p=build.package, v=build.version, t=build.time)
        for text in failure
    ]
    text = [f"   {step}", *build.noise[:2], *told, *build.noise[2:], "make[1]: *** [Makefile:3: x] Error 1"]
    reading = read_build_log(io.BytesIO("".join(f"{line}\n" for line in text).encode()))
    values = {"Status": "attempted", "Fail-Stage": "build", "Package": build.package, "Version": build.version}
    known = LogReading(
        Summary(values),
        errors=reading.errors,
        first_error=reading.first_error,
        suites=reading.suites,
        step=reading.step,
    )
    judgement = judge(known, 2)
    assert judgement.outcome == "fail"
    return find_cause(known, judgement)


GENERAL = [
    "{d}/src/main.c:{l}:10: error: 'frob_total' undeclared",
    "main.c:{l}:1: error: {d}/include/frob.h is too old",
    "main.c:{l}:10: fatal error: frob/frob.h: No such file or directory",
    "/usr/bin/ld: main.o: in function `main':\n{d}/main.c:{l}: undefined reference to `frob_open'",
    "/usr/bin/ld: cannot find -lfrob: No such file or directory",
    "/usr/bin/ld: /tmp/ccXy1{l}.o: undefined reference to `frob_close'",
    "configure: error: {p} needs libfrob (at {t})",
    "meson.build:{l}:0: ERROR: Dependency 'frob' not found",
    "  File \"{d}/x.py\", line {l}, in <module>\nModuleNotFoundError: No module named 'frob'",
    "Can't locate Frob/Nicate.pm in @INC (you may need it) at t/{l}.t line {l}.",
    "./x: error while loading shared libraries: libfrob.so.7: cannot open shared object file",
    "src/main.rs:{l}: error[E0425]: cannot find value `frob` in this scope",
]


@given(builds, builds)
@settings(max_examples=60, deadline=None)
def test_a_fingerprint_knows_neither_the_build_nor_the_package(one: Build, other: Build) -> None:
    for failure in GENERAL:
        assert cause_of(one, failure) == cause_of(other, failure), failure


@given(builds)
@settings(deadline=None)
def test_different_causes_have_different_fingerprints(build: Build) -> None:
    fingerprints = [cause_of(build, failure).fingerprint for failure in GENERAL]

    assert len(set(fingerprints)) == len(GENERAL)
    assert all(len(fingerprint) == 16 for fingerprint in fingerprints)


@given(builds, st.permutations(["t-one", "t-two", "t-three"]))
@settings(deadline=None)
def test_the_set_of_failing_tests_is_the_cause_in_any_order(build: Build, names: list[str]) -> None:
    def failing(*names: str, **changes: str) -> Cause:
        told = [*(f"FAIL: {name}" for name in names), "PASS: t-four"]
        return cause_of(
            Build(**({"version": build.version, "noise": build.noise} | changes)), *told, step="dh_auto_test"
        )

    assert failing(*names) == failing("t-one", "t-two", "t-three")
    assert failing(*names) != failing(*names[:2])
    assert failing(*names) != failing(*names, package="abacus"), "a name means a test of its own package"


@given(st.lists(st.sampled_from(["libfrob-dev", "libplum-dev (>= 2)", "cmake:any"]), min_size=1, unique=True))
def test_unmet_dependencies_are_one_cause_whatever_else_apt_says(names: list[str]) -> None:
    def waiting(unmet: list[str]) -> Cause:
        summary = Summary({"Status": "given-back", "Fail-Stage": "install-deps", "Package": "tally"})
        reading = LogReading(summary, unmet=tuple(f"{name} but it is not installable" for name in unmet))
        return find_cause(reading, judge(reading, 3))

    assert waiting(names) == waiting([*reversed(names), names[0]])
    assert waiting(names) != waiting([*names, "quilt"])
