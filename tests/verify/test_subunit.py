"""Reading a suite's subunit streams: those of python-subunit, and those that mean no good."""

from __future__ import annotations

import time
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildfarm.build.junit import FAILED_LIMIT, FailedTest, Report
from buildfarm.errors import PackageFault
from buildfarm.verify import subunit
from buildfarm.verify.results import add_up, read_results

DATA = Path(__file__).parent / "data"
VERSION_1 = (b"test: a\n", b"\n", b"]\n", b"s\n")
STATUS = {name: number for number, name in enumerate(subunit._STATUSES)}


def number(value: int) -> bytes:
    for size in (1, 2, 3, 4):
        if value < 1 << (8 * size - 2):
            return (value | (size - 1) << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError(value)


def string(content: bytes) -> bytes:
    return number(len(content)) + content


def packet(
    name: str = "",
    status: str = "",
    *,
    text: bytes = b"",
    mime: str = "text/plain",
    route: str = "",
    tail: bytes = b"",
) -> bytes:
    flags, fields = 0x2000 | STATUS[status], b""
    if name:
        flags, fields = flags | 0x0800, fields + string(name.encode())
    if text:
        flags, fields = flags | 0x0060, fields + string(mime.encode()) + string(b"details") + string(text)
    if route:
        flags, fields = flags | 0x0400, fields + string(route.encode())
    return flagged(flags, fields + tail)


def flagged(flags: int, fields: bytes) -> bytes:
    length = next(n for n in (1, 2, 3) if len(number(len(fields) + 7 + n)) == n)
    data = b"\xb3" + flags.to_bytes(2, "big") + number(len(fields) + 7 + length) + fields
    return data + zlib.crc32(data).to_bytes(4, "big")


def read(tmp_path: Path, data: bytes) -> Report:
    path = tmp_path / "r"
    path.write_bytes(data)
    return read_results(path, "/var/tmp/r.subunit")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_what_python_subunit_writes_is_read(version: str) -> None:
    report = read_results(DATA / f"six.{version}.subunit", "six.subunit")

    assert (report.tests, report.skipped, report.failed) == (6, 1, 3)
    assert report.failures == (
        FailedTest("__main__.T.test_bad", "testtools.matchers._impl.MismatchError: 1 != 2"),
        FailedTest("__main__.T.test_error", "RuntimeError: broken"),
        FailedTest("__main__.T.test_ux", "passed unexpectedly"),
    )


def test_a_test_that_did_not_end_has_failed(tmp_path: Path) -> None:
    for data in (packet("a", "inprogress") + packet("b", "success"), b"test: b\nsuccess: b\ntest: a\n"):
        report = read(tmp_path, data)

        assert (report.tests, report.failed) == (2, 1)
        assert report.failures == (FailedTest("a", "began, and did not end"),)


def test_listed_tests_are_no_tests_that_ran(tmp_path: Path) -> None:
    assert read(tmp_path, packet("a", "exists") + packet("b", "success")).tests == 1


def test_output_between_packets_is_passed_over(tmp_path: Path) -> None:
    noise = "price: 5 ³ \u00b3\n".encode() + b"\xb3\x10 not a packet\n"

    report = read(tmp_path, noise + packet("a", "success") + noise + packet("b", "fail", text=b"why\nno") + noise)

    assert report == Report(2, 0, 1, (FailedTest("b", "why"),))


def test_the_same_name_by_two_routes_is_two_tests(tmp_path: Path) -> None:
    report = read(
        tmp_path,
        packet("a", "inprogress", route="0")
        + packet("a", "inprogress", route="1")
        + packet("a", "success", route="0")
        + packet("a", "fail", route="1"),
    )

    assert report == Report(2, 0, 1, (FailedTest("a (1)", "no message"),))


def test_lines_that_only_look_like_results_are_output(tmp_path: Path) -> None:
    report = read(
        tmp_path,
        b"success: never began\ntest: a b\nerror: something else\nfailure: a\n test: c\ntime: 2020-01-01\n"
        b"failure: a b [\nfirst words\n ]\n]\nsuccess: a b\ntest d\nsuccessful d\n",
    )

    assert report == Report(2, 0, 1, (FailedTest("a b", "first words"),))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nothing of the kind\n",
        b"\xb3",
        b"\xb3" * 100,
        packet("a", "success") + packet("b", "success")[:-1],
        packet("a", "success") + packet("b", "success")[:-1] + b"x",
        packet("a", "success") + b"\xb3\x20\x00\x01",
        packet("a", "success") + flagged(0x2800, b""),
        packet("a", "success") + flagged(0x2800, b"\x05abc"),
        packet("a", "success") + flagged(0x2080, b"\xff\xff\xff\xff"),
        packet("a", "success") + flagged(0x2200, b"\0\0"),
        packet("a", "success") + b"\xb3\x28\x03\x08" + zlib.crc32(b"\xb3\x28\x03\x08").to_bytes(4, "big"),
        b"test: a\nfailure: a [\nno end\n",
        b"test: a\nfailure: a [ multipart\nContent-Type: text/plain\nlog\nzz\r\n",
        b"test: a\nfailure: a [ multipart\nContent-Type: text/plain\nlog\nFFFFFFFF\r\nabc",
        b"test: a\nfailure: a [ multipart\nno type\n",
    ],
)
def test_what_is_no_stream_is_the_packages_fault(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(PackageFault, match="no subunit stream"):
        read(tmp_path, data)


def test_sizes_and_numbers_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = b"".join(packet(f"t{n}" * 200, "fail", text=b"x" * 3000) for n in range(2 * FAILED_LIMIT))
    report = read(tmp_path, many)
    assert report.failed == 2 * FAILED_LIMIT
    assert len(report.failures) == FAILED_LIMIT
    assert all(len(failure.name) <= 500 and len(failure.message) <= 500 for failure in report.failures)

    monkeypatch.setattr(subunit, "RUNNING_LIMIT", 10)
    with pytest.raises(PackageFault, match="at once"):
        read(tmp_path, b"".join(packet(f"t{n}", "inprogress") for n in range(11)))
    monkeypatch.setattr("buildfarm.verify.results.FILE_LIMIT_BYTES", 100)
    with pytest.raises(PackageFault, match="larger"):
        read(tmp_path, bytes(101))


@pytest.mark.parametrize("unit", [b"\xb3\x28\x03\xbf", b"\xb3", b"\xc2\xb3 ", b"\xb3\x20\x00\x08", *VERSION_1])
def test_hostile_streams_are_read_quickly(tmp_path: Path, unit: bytes) -> None:
    started = time.monotonic()
    with suppress(PackageFault):
        read(tmp_path, packet("a", "success") * (unit not in VERSION_1) + unit * ((4 << 20) // len(unit)))
    assert time.monotonic() - started < 10


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.builds(packet, st.sampled_from(["a", "b", "ü"]), st.sampled_from(subunit._STATUSES)),
            st.builds(
                lambda tail: packet("a", "fail", tail=tail).replace(b"\x28", b"\x2f", 1), st.binary(max_size=9)
            ),
            st.sampled_from([b"test: a\n", b"failure: a [\n", b"]\n", b"success: a\n", b"error: a [ multipart\n"]),
        ),
        max_size=12,
    ).map(b"".join)
)
def test_whatever_the_bytes_there_is_a_report_or_a_fault(tmp_path: Path, data: bytes) -> None:
    try:
        report = read(tmp_path, data)
    except PackageFault:
        return
    assert report.skipped + report.failed <= report.tests
    assert len(report.failures) == report.failed


def test_results_are_read_by_their_suffix_and_added_up(tmp_path: Path) -> None:
    junit = tmp_path / "copy"
    junit.write_text('<testsuite><testcase name="x"><failure message="m"/></testcase></testsuite>')

    total = add_up([read_results(junit, "/r.xml"), read(tmp_path, packet("a", "skip"))])

    assert total == Report(2, 1, 1, (FailedTest("x", "m"),))
    assert add_up([]) == Report(0, 0, 0, ())
