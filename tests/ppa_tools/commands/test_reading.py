"""ppa-list, ppa-diff and ppa-history as they are given: what they print, and how they end."""

from __future__ import annotations

import csv
import io

from tests.archive.conftest import PPA, SERIES, architecture
from tests.archive.shelf import LATER, STABLE, Scene
from tests.ppa_tools.commands.conftest import STABLE_NAME, TRUNK_NAME, Shell


def test_a_list_shows_what_is_published_and_not_what_was(shell: Shell, scene: Scene) -> None:
    scene.both("hello", "1.0-1")
    scene.both("hello", "1.0-2")
    scene.upload("world", "3.0-1", series=LATER)
    said = shell("ppa-list", TRUNK_NAME)
    assert said.lines[0].split() == ["SERIES", "SOURCE", "VERSION", "STATUS", "SINCE", "(UTC)", "AGE"]
    assert [line.split()[:4] for line in said.lines[1:]] == [
        [SERIES, "hello", "1.0-2", "Published"],
        [LATER, "world", "3.0-1", "Pending"],
    ]
    assert said.err == "2 publications of 2 source packages\n"
    everything = shell("ppa-list", TRUNK_NAME, "--all", "--include", "hello", "--format", "json").json
    assert [(row["version"], row["status"]) for row in everything] == [
        ("1.0-1", "Superseded"),
        ("1.0-2", "Published"),
    ]
    superseded = shell("ppa-list", TRUNK_NAME, "--status", "superseded", "--format", "lines")
    assert [line.split("\t")[:5] for line in superseded.lines] == [
        [TRUNK_NAME, SERIES, "hello", "1.0-1", "Superseded"]
    ]


def test_every_format_has_the_same_rows(shell: Shell, scene: Scene) -> None:
    scene.both()
    words = ("ppa-list", TRUNK_NAME, STABLE_NAME, "--builds", "--format")
    (value,) = shell(*words, "json").json
    (row,) = csv.DictReader(io.StringIO(shell(*words, "csv").out))
    (line,) = shell(*words, "lines").lines
    assert value["builds"] == {architecture(): "Successfully built"}
    assert row["builds"] == f"{architecture()}=Successfully built"
    assert {name: row[name] for name in ("archive", "source", "created_at")} == {
        name: value[name] for name in ("archive", "source", "created_at")
    }
    assert line.split("\t") == list(row.values())
    assert value["created_at"].endswith("Z")


def test_the_state_of_builds_is_shown(shell: Shell, scene: Scene) -> None:
    scene.both("hello")
    scene.upload("world")
    said = shell("ppa-list", TRUNK_NAME, "--builds").out
    assert f"{architecture()}: built\n" in said
    assert f"{architecture()}: needs building\n" in said


def test_ages_choose(shell: Shell, scene: Scene) -> None:
    scene.both()
    assert shell("ppa-list", TRUNK_NAME, "--newer-than", "1h", "--format", "lines").lines
    assert not shell("ppa-list", TRUNK_NAME, "--older-than", "1h", "--format", "lines").lines
    assert "90s, 30m, 1h30m" in shell("ppa-list", TRUNK_NAME, "--older-than", "soon", status=2).err


def test_a_name_that_is_not_there_gets_the_nearest(shell: Shell, scene: Scene) -> None:
    scene.both("hello")
    said = shell("ppa-list", TRUNK_NAME, "--include", "helo", status=2).err
    assert f"{TRUNK_NAME} has no helo (did you mean hello?)" in said
    assert "helllo" in shell("ppa-history", TRUNK_NAME, "helllo", status=2).err
    said = shell("ppa-list", TRUNK_NAME, "--series", "bookwrm", status=2).err
    assert f"has no series bookwrm\n  It has {SERIES}, {LATER}." in said
    said = shell("ppa-list", "local:demo/trnk", status=2).err
    assert "local:demo/trunk" in said
    assert "ppa:owner/name or local:owner/name is wanted" in shell("ppa-list", "demo/trunk", status=2).err
    assert "did you mean `ppa list`?" in shell("ppa", "lst", status=2).err.lower()


def test_no_embedded_archive_says_how_to_name_one(shell: Shell) -> None:
    said = shell("ppa-list", TRUNK_NAME, status=2, PPA_LOCAL_ARCHIVE="").err
    assert "--local-archive" in said


def test_two_ppas_are_compared(shell: Shell, scene: Scene) -> None:
    scene.both("hello", "1.0-1")
    scene.both("gone", "1.0-1", to=STABLE)
    scene.copy("hello")
    scene.both("hello", "1.0-2")
    scene.both("new", "1.0-1")
    said = shell("ppa-diff", STABLE_NAME, TRUNK_NAME)
    assert said.lines[0].split() == ["SERIES", "SOURCE", STABLE_NAME, TRUNK_NAME, "CHANGE"]
    assert [line.split() for line in said.lines[1:]] == [
        [SERIES, "gone", "1.0-1", "-", "removed"],
        [SERIES, "hello", "1.0-1", "1.0-2", "newer"],
        [SERIES, "new", "-", "1.0-1", "added"],
    ]
    assert shell("ppa-diff", TRUNK_NAME, STABLE_NAME, "--include", "hello", "--exit-code", status=3)
    assert "0 differences" in shell("ppa-diff", TRUNK_NAME, TRUNK_NAME, "--exit-code").err


def test_a_ppa_is_compared_with_what_it_was(shell: Shell, scene: Scene) -> None:
    scene.both("hello", "1.0-1")
    scene.archive.snapshot(STABLE, "empty", by="me")
    scene.copy("hello")
    (row,) = shell("ppa-diff", f"{STABLE_NAME}@empty", STABLE_NAME, "--format", "json").json
    assert (row["left"], row["right"], row["change"]) == ([], ["1.0-1"], "added")
    (row,) = shell("ppa-diff", STABLE_NAME, f"{STABLE_NAME}@2026-01-01", "--format", "json").json
    assert row["change"] == "removed"
    said = shell("ppa-diff", f"{STABLE_NAME}@mpty", STABLE_NAME, status=2).err
    assert "It has empty" in said
    assert "2026-11-01" in said
    assert "has not come yet" in shell("ppa-diff", f"{STABLE_NAME}@2999-01-01", STABLE_NAME, status=2).err


def test_the_history_tells_who_and_why(shell: Shell, scene: Scene) -> None:
    scene.both("hello", "1.0-1")
    scene.both("hello", "1.0-2")
    scene.delete("hello")
    rows = shell("ppa-history", TRUNK_NAME, "hello", "--format", "json").json
    assert [(row["version"], row["what"]) for row in rows] == [
        ("1.0-1", "came"),
        ("1.0-1", "superseded"),
        ("1.0-2", "came"),
        ("1.0-2", "deleted"),
    ]
    assert rows[-1]["by"] == "me@example.com"
    last = shell("ppa-history", TRUNK_NAME, "--last", "1", "--since", "1h")
    assert len(last.lines) == 2
    assert last.err == "1 event of 4\n"


def test_nothing_that_was_written_by_others_reaches_the_terminal_as_it_is(shell: Shell, scene: Scene) -> None:
    scene.both("hello")
    scene.archive.copy(
        PPA,
        SERIES,
        STABLE,
        SERIES,
        None,
        by="me",
        why="\x1b[2Jgone\nand away",
    )
    said = shell("ppa-history", STABLE_NAME).out
    assert "\x1b" not in said
    assert "gone and away" in said


def test_statistics_are_told_at_the_end(shell: Shell, scene: Scene) -> None:
    scene.both()
    assert "requests, " in shell("ppa-diff", TRUNK_NAME, STABLE_NAME, "--stats").err
