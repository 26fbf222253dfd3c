"""Where tests go, what an end of autopkgtest means, and what of its files comes home."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from buildfarm.errors import FarmTrouble
from buildfarm.verdict import Verdict
from buildfarm.verify.autopkgtest import (
    Declared,
    DeclaredTest,
    Plan,
    RunEnd,
    TestEnd,
    judge,
    plan,
    read_declared,
    read_message,
    read_summary,
)
from buildfarm.verify.autopkgtest_run import take_home

CONTROL = "Source: greet\nMaintainer: A <a@example.org>\n\nPackage: greet\nArchitecture: all\n"
NOTHING = Plan(overlay=())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tests: a b, c\n", {"a": set(), "b": set(), "c": set()}),
        ("Tests: a\nRestrictions: needs-root, allow-stderr\n", {"a": {"needs-root", "allow-stderr"}}),
        ("# first\nTests: a # and why\nRestrictions:\n isolation-machine\n", {"a": {"isolation-machine"}}),
        ("Test-Command: one\n\nTest-Command: two\n", {"command1": set(), "command2": set()}),
        (
            "Test-Command: one\nFeatures: test-name=first\n\nTest-Command: two\n",
            {"first": set(), "command1": set()},
        ),
        (
            "Tests: a\n\nTest-Command: true\nRestrictions: needs-reboot\n",
            {"a": set(), "command1": {"needs-reboot"}},
        ),
        ("", {}),
        ("\n\n# nothing\n", {}),
    ],
)
def test_tests_have_the_names_that_autopkgtest_gives_them(text: str, expected: dict[str, set[str]]) -> None:
    declared = read_declared(text, CONTROL)

    assert {test.name: set(test.restrictions) for test in declared.tests} == expected
    assert declared.whole


@pytest.mark.parametrize(
    "text", ["Restrictions: needs-root\n", "Tests: a a\n", "Tests: ../../x\n", "Tests: " + "a" * 999]
)
def test_what_cannot_be_read_is_left_to_autopkgtest(text: str) -> None:
    declared = read_declared(text, CONTROL)

    assert not declared.whole
    assert declared.any
    assert plan(declared) == Plan(overlay=())


def test_a_source_may_ask_for_tests_to_be_made_up() -> None:
    declared = read_declared(None, CONTROL.replace("Maintainer", "Testsuite: autopkgtest-pkg-perl\nMaintainer"))

    assert declared == Declared((), ("autopkgtest-pkg-perl",))
    assert not read_declared(None, CONTROL).any


def declared(**restrictions: str) -> Declared:
    return Declared(tuple(DeclaredTest(name, frozenset(words.split())) for name, words in restrictions.items()))


@pytest.mark.parametrize(
    ("tests", "machines", "expected"),
    [
        (declared(a="", b="needs-root"), "", Plan((), (), {})),
        (declared(a="", b="isolation-machine"), "", Plan(("a",), ("b",), {})),
        (declared(a="breaks-testbed"), "", Plan(None, ("a",), {})),
        (declared(a="isolation-container", b="needs-reboot"), "", Plan(None, ("a", "b"), {})),
        (
            declared(a="", b="isolation-machine"),
            "no qemu",
            Plan(("a",), (), {"b": "needs isolation-machine: no qemu"}),
        ),
        (declared(a="isolation-machine"), "no qemu", Plan(None, (), {"a": "needs isolation-machine: no qemu"})),
    ],
)
def test_a_test_goes_where_its_restrictions_allow_it(tests: Declared, machines: str, expected: Plan) -> None:
    assert plan(tests, machines=machines) == expected


def test_a_test_that_needs_the_internet_runs_only_where_a_recipe_gives_it_hosts() -> None:
    tests = declared(a="", far="needs-internet")

    assert plan(tests).left_out.keys() == {"far"}
    assert plan(tests, internet=True) == Plan((), (), {})


SUMMARY = """\
boots                SKIP Test restriction "isolation-machine" requires testbed capability "isolation-machine"
boots                SKIP Test restriction "isolation-machine" requires testbed capability "isolation-machine"
good                 PASS (superficial)
bad                  FAIL non-zero exit status 3
shaky                FLAKY non-zero exit status 1
gone                 FAIL badpkg
blame: /build/tree/greet_1.0.dsc
badpkg: Test dependencies are unsatisfiable.
"""
LOG = """\
autopkgtest [23:59:58]: test good: preparing testbed
autopkgtest [00:00:03]: test good: -----------------------]
autopkgtest [99:00:03]: test bad: preparing testbed
"""


def test_the_summary_is_read_once_for_each_test() -> None:
    ends = {test.name: test for test in read_summary(SUMMARY, LOG, "overlay")}

    assert {name: test.result for name, test in ends.items()} == {
        "boots": "skip",
        "good": "pass",
        "bad": "fail",
        "shaky": "flaky",
        "gone": "fail",
    }
    assert ends["good"].seconds == 5.0
    assert ends["bad"].reason == "non-zero exit status 3"
    assert [test.name for test in read_summary(SUMMARY, LOG, "overlay", only=["bad"])] == ["bad"]
    assert "boots" not in {test.name for test in read_summary(SUMMARY, LOG, "overlay", without=["boots"])}
    assert read_message(SUMMARY) == "badpkg: Test dependencies are unsatisfiable."


def test_a_hostile_summary_is_bounded_and_plain() -> None:
    text = "".join(f"t{number} FAIL \x1b[31m{'x' * 10000}\n" for number in range(10000))

    ends = read_summary(text, "", "overlay")

    assert len(ends) == 500
    assert max(len(test.reason) for test in ends) == 500
    assert "\x1b" not in ends[0].reason


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (0, Verdict.PASS),
        (2, Verdict.PASS),
        (4, Verdict.FAIL),
        (6, Verdict.FAIL),
        (8, Verdict.SKIPPED),
        (12, Verdict.FAIL),
        (14, Verdict.FAIL),
        (16, Verdict.ERROR),
        (20, Verdict.ERROR),
        (1, Verdict.ERROR),
        (-9, Verdict.ERROR),
        (None, Verdict.ERROR),
    ],
)
def test_exit_statuses_have_their_verdicts(status: int | None, verdict: Verdict) -> None:
    assert judge([RunEnd("overlay", status)], NOTHING).verdict is verdict


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ((0, 0), Verdict.PASS),
        ((0, 8), Verdict.PASS),
        ((8, 8), Verdict.SKIPPED),
        ((0, 16), Verdict.ERROR),
        ((4, 16), Verdict.FAIL),
        ((2, 6), Verdict.FAIL),
        ((), Verdict.SKIPPED),
    ],
)
def test_two_runs_have_the_worse_verdict(statuses: tuple[int, ...], verdict: Verdict) -> None:
    runs = [RunEnd(where, status) for where, status in zip(("overlay", "machine"), statuses, strict=False)]

    assert judge(runs, NOTHING).verdict is verdict  # type: ignore[arg-type]


def end(name: str, result: str, reason: str = "") -> TestEnd:
    return TestEnd(name, result, reason, "overlay")  # type: ignore[arg-type]


def test_the_reason_says_how_many_and_why() -> None:
    planned = Plan(("a", "b", "c"), (), {"d": "needs-internet: no"})
    passed = (end("a", "pass"), end("b", "pass"), end("c", "skip", "exit status 77"))

    assert judge([RunEnd("overlay", 2, passed)], planned).reason == (
        "2 tests passed, 2 skipped (exit status 77; needs-internet)"
    )
    failed = (end("a", "pass"), end("it-greets", "fail", "non-zero exit status 1"), end("c", "pass"))
    assert judge([RunEnd("overlay", 4, failed)], NOTHING).reason == (
        "1 of 3 tests failed: it-greets: non-zero exit status 1"
    )
    assert judge([RunEnd("overlay", 12, (), "erroneous package: x")], NOTHING).reason == "erroneous package: x"
    assert judge([RunEnd("overlay", 16, passed, stopped="disk")], NOTHING).verdict is Verdict.FAIL
    assert judge([], Plan(None, (), {"a": "needs isolation-machine: no qemu"})).reason == (
        "no test gave a result: a needs isolation-machine: no qemu"
    )


def packed(path: Path, *members: tuple[str, bytes, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, kind, content in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, len(content), "/etc/passwd"
            tar.addfile(entry, io.BytesIO(content))
    return path


def test_only_regular_files_come_home_and_only_below_their_place(tmp_path: Path) -> None:
    tar = packed(
        tmp_path / "x.tar",
        ("end.json", tarfile.REGTYPE, b'{"status": 4, "stopped": ""}'),
        ("out/log", tarfile.REGTYPE, b"a log"),
        ("out/artifacts/a b;$(x)", tarfile.REGTYPE, b"kept"),
        ("out/link", tarfile.SYMTYPE, b""),
        ("out/link/through", tarfile.REGTYPE, b"not through a link"),
        ("out/../../escaped", tarfile.REGTYPE, b"no"),
        ("/etc/absolute", tarfile.REGTYPE, b"etc/absolute, below"),
        ("out/log", tarfile.REGTYPE, b"a second"),
        ("out/log/below-a-file", tarfile.REGTYPE, b"no"),
        ("out/device", tarfile.CHRTYPE, b""),
        ("out/" + "d/" * 30 + "deep", tarfile.REGTYPE, b"no"),
    )
    out = tmp_path / "here" / "overlay"

    told, left_out = take_home(tar, out)

    assert told == {"status": 4, "stopped": ""}
    assert {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()} == {
        "log": b"a log",
        "artifacts/a b;$(x)".replace(" ", "_")
        .replace(";", "_")
        .replace("$", "_")
        .replace("(", "_")
        .replace(")", "_"): b"kept",
        "link/through": b"not through a link",
        "etc/absolute": b"etc/absolute, below",
    }
    assert left_out == 6
    assert not (tmp_path / "escaped").exists()
    assert not any(path.is_symlink() for path in out.rglob("*"))


def test_what_is_too_large_or_no_archive_stays_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("buildfarm.verify.autopkgtest_run.FILE_LIMIT_BYTES", 10)
    monkeypatch.setattr("buildfarm.verify.autopkgtest_run.FILES_LIMIT", 3)
    files = [(f"out/{number}", tarfile.REGTYPE, b"x") for number in range(5)]
    tar = packed(tmp_path / "x.tar", ("out/big", tarfile.REGTYPE, b"x" * 11), *files)

    assert take_home(tar, tmp_path / "out")[1] == 3
    (tmp_path / "y.tar").write_bytes(b"garbage" * 1000)
    with pytest.raises(FarmTrouble):
        take_home(tmp_path / "y.tar", tmp_path / "out2")


def test_a_name_in_the_summary_leads_to_no_other_file() -> None:
    assert read_summary("../../../etc/x FAIL no\n/etc/x FAIL no\n", "", "overlay") == ()


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nTests: a\n",
        "-----BEGIN PGP SIGNATURE-----\n",
        "no field\n",
        "Tests\n: a\n",
        "\x00\x01: \n\n\n Tests: a\n",
        "Tests: " + "a " * 100000,
    ],
)
def test_no_text_is_too_strange_to_be_read(text: str) -> None:
    plan(read_declared(text, text))


def test_an_archive_of_endless_headers_is_no_archive(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 512
    block = header.tobuf(tarfile.GNU_FORMAT) + b"x" * 512
    (tmp_path / "x.tar").write_bytes(block * 5000)

    with pytest.raises(FarmTrouble):
        take_home(tmp_path / "x.tar", tmp_path / "out")
