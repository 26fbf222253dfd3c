"""Headings that are read, and entries that stay entries whatever a commit says."""

from __future__ import annotations

import subprocess

import pytest
from debian.changelog import Changelog
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.source.changelog import ChangelogError, Entry, read_heading


def entry(author: str, summary: str) -> Entry:
    return Entry(
        source="hello",
        version="1.0-0~debian12.1",
        distribution="bookworm",
        urgency="medium",
        changes=(("", ("Automated build.",)), (author, (summary,))),
        changed_by="Farm <farm@example.org>",
        changed_at=1_700_000_000,
    )


def test_the_newest_entry_is_read() -> None:
    heading = read_heading(b"\nhello (1:2.10-3) unstable experimental; urgency=HIGH, binary-only=no\n\n  * \xff\n")
    assert (heading.source, str(heading.version), heading.urgency) == ("hello", "1:2.10-3", "high")
    assert heading.line == 2


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        ("", 1, 1, "no entry"),
        ("\n<<<<<<< HEAD\nhello (1-1) unstable; urgency=low\n", 2, 1, "name"),
        ("Hello (1-1) unstable; urgency=low\n", 1, 1, "lower case"),
        ("hello 1-1 unstable; urgency=low\n", 1, 6, "parentheses"),
        ("hello (1 1) unstable; urgency=low\n", 1, 8, "version"),
        ("hello (1-1; urgency=low\n", 1, 8, "version"),
        ("hello (1-1); urgency=low\n", 1, 12, "distribution"),
        ("hello (1-1) unstable\n", 1, 21, "semicolon"),
        ("hello (v1-1) unstable; urgency=low\n", 1, 8, "digit"),
        ("hello (1_2) unstable; urgency=low\n", 1, 8, "'_'"),
    ],
)
def test_a_broken_heading_is_shown_to_the_column(text: str, line: int, column: int, reason: str) -> None:
    with pytest.raises(ChangelogError, match=reason) as caught:
        read_heading(text.encode())
    assert (caught.value.line, caught.value.column) == (line, column)


@given(st.text(max_size=80), st.text(max_size=300))
def test_no_author_and_no_summary_breaks_out_of_its_entry(author: str, summary: str) -> None:
    written = str(entry(author, summary))
    parsed = Changelog(
        f"{written}\nhello (0.9-1) unstable; urgency=low\n\n  * x\n\n"
        " -- A <a@b>  Sat, 21 Oct 2023 09:00:00 +0000\n",
        strict=True,
    )
    assert [str(block.version) for block in parsed] == ["1.0-0~debian12.1", "0.9-1"]
    assert parsed.author == "Farm <farm@example.org>"


def test_dpkg_reads_the_entry_without_a_word() -> None:
    said = subprocess.run(
        ["dpkg-parsechangelog", "--file", "-"],
        input=str(
            entry("Ada <a@b>", "-- Eve <e@x>  Sat, 21 Oct 2023 09:00:00 +0000\nfake (9) sid; urgency=low")
        ).encode(),
        capture_output=True,
        check=True,
    )
    assert said.stderr == b""
    assert b"Date: Tue, 14 Nov 2023 22:13:20 +0000" in said.stdout
