"""Reading JUnit reports from tests nobody vouches for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildfarm.build import junit
from buildfarm.build.junit import FailedTest, read_junit
from buildfarm.errors import PackageFault

REPORT = """\
<?xml version="1.0"?>
<testsuites tests="999" failures="0">
 <testsuite name="one" tests="2">
  <testcase classname="a.B" name="fine"/>
  <testcase classname="a.B" name="bad"><failure message="first line&#10;second"/></testcase>
  <testsuite name="nested"><testcase name="broken"><error type="E">said
  so</error></testcase></testsuite>
  <testcase classname="a.B" name="left"><skipped/></testcase>
 </testsuite>
</testsuites>
"""


def read(tmp_path: Path, text: str | bytes) -> junit.Report:
    path = tmp_path / "r.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_junit(path, "r.xml")


def test_testcases_count_whatever_the_attributes_claim(tmp_path: Path) -> None:
    report = read(tmp_path, REPORT)

    assert (report.tests, report.skipped, report.failed) == (4, 1, 2)
    assert report.failures == (FailedTest("a.B.bad", "first line"), FailedTest("broken", "said"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no xml",
        "<testsuite>",
        '<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>',
        '<!DOCTYPE x [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><x>&c;</x>',
        b"<x>\xff\xfe</x>",
    ],
)
def test_what_is_no_plain_xml_is_the_packages_fault(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(PackageFault, match="no JUnit XML"):
        read(tmp_path, text)


def test_the_number_of_elements_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(junit, "ELEMENT_LIMIT", 100)

    with pytest.raises(PackageFault, match="more than 100 elements"):
        read(tmp_path, "<a>" * 200 + "</a>" * 200)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["", "<failure/>", "<error/>", "<skipped/>"]), max_size=30))
def test_counts_add_up(tmp_path: Path, cases: list[str]) -> None:
    report = read(
        tmp_path, "<testsuite>" + "".join(f"<testcase>{case}</testcase>" for case in cases) + "</testsuite>"
    )

    assert report.tests == len(cases)
    assert report.skipped == cases.count("<skipped/>")
    assert report.failed == cases.count("<failure/>") + cases.count("<error/>")
