"""ppa-copy, ppa-sync and ppa-rollback as they are given: the plan, consent, what is done, and how they end."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time

import pytest

from tests.archive.conftest import PPA, SERIES
from tests.archive.shelf import LATER, STABLE, Scene
from tests.ppa_tools.commands.conftest import BIN, STABLE_NAME, TRUNK_NAME, Shell

COPY = ("ppa-copy", TRUNK_NAME, STABLE_NAME)
SYNC = ("ppa-sync", TRUNK_NAME, STABLE_NAME)


def test_packages_are_copied_once_they_are_built_and_the_rest_is_named(shell: Shell, scene: Scene) -> None:
    scene.both("hello")
    scene.upload("unbuilt")
    said = shell(*COPY, "hello", "unbuilt", "--yes", "--why", "it is ready", status=1)
    assert [line.split()[:4] for line in said.lines[1:]] == [
        ["copy", "hello", "1.0-1", SERIES],
        ["blocked", "unbuilt", "1.0-1", SERIES],
    ]
    assert "wait for its builds, or --rebuild" in said.out
    assert "1 to copy, 1 blocked" in said.err
    assert said.err.endswith("1 done\n")
    assert scene.held(STABLE) == [("hello", "1.0-1")]
    assert "it is ready" in shell("ppa-history", STABLE_NAME).out
    assert "already there" in shell(*COPY, "hello", "--yes").out


def test_nothing_is_done_where_all_or_nothing_is_asked_for(shell: Shell, scene: Scene) -> None:
    scene.both("hello")
    scene.upload("unbuilt")
    said = shell(*COPY, "--all", "--yes", "--all-or-nothing", status=4)
    assert "refused: 1 of the packages cannot be copied" in said.err
    assert scene.held(STABLE) == []


def test_a_dry_run_says_by_its_end_whether_anything_would_change(shell: Shell, scene: Scene) -> None:
    scene.both("hello")
    told = shell(*COPY, "hello", "--dry-run", "--format", "json", status=3).json
    assert told["dry_run"]
    assert [(one["kind"], one["source"], one["version"]) for one in told["actions"]] == [
        ("copy", "hello", "1.0-1")
    ]
    assert scene.held(STABLE) == []
    scene.copy("hello")
    assert "nothing to do" not in shell(*COPY, "hello", "--dry-run").err
    assert shell(*COPY, "hello", "--dry-run", "--format", "json").json["counts"]["skip"] == 1


def test_programs_read_what_became_of_the_plan(shell: Shell, scene: Scene) -> None:
    scene.both("hello")
    told = shell(*COPY, "hello", "--yes", "--format", "json").json
    assert [(one["source"], one["outcome"]) for one in told["results"]] == [("hello", "done")]
    assert told["stopped"] == ""
    (line,) = shell(*COPY, "hello", "--yes", "--format", "lines").lines
    assert line.split("\t")[:4] == ["skip", STABLE_NAME, "hello", "1.0-1"]


def test_without_a_terminal_nothing_is_done_unasked(shell: Shell, scene: Scene) -> None:
    scene.both("hello")
    said = shell(*COPY, "hello", status=2).err
    assert f"Copy 1 package to {STABLE_NAME}? Nobody is there to say so" in said
    assert "--yes" in said
    assert scene.held(STABLE) == []


@pytest.mark.parametrize(("answer", "status", "held"), [("y", 0, [("hello", "1.0-1")]), ("n", 1, [])])
def test_at_a_terminal_somebody_is_asked(
    shell: Shell, scene: Scene, answer: str, status: int, held: list[tuple[str, str]]
) -> None:
    scene.both("hello")
    ended, seen = at_a_terminal(shell, *COPY, "hello", answer=answer)
    assert (ended, scene.held(STABLE)) == (status, held)
    assert "\x1b[32mcopy\x1b[0m" in seen
    assert ("1/1" in seen) == (answer == "y")


def test_no_color_is_heeded(shell: Shell, scene: Scene) -> None:
    scene.both("hello")
    _, seen = at_a_terminal(shell, *COPY, "hello", answer="n", NO_COLOR="1")
    assert "\x1b[3" not in seen
    assert "nothing was done" in seen


def test_what_is_not_there_is_named_with_the_nearest_before_anything_is_done(shell: Shell, scene: Scene) -> None:
    scene.both("hello")
    said = shell(*COPY, "helo", "hello=2", "--yes", status=2).err
    assert "helo; there is hello" in said
    assert "hello=2; there is 1.0-1" in said
    assert scene.held(STABLE) == []
    assert "--all" in shell(*COPY, status=2).err
    assert "no series trixi" in shell(*COPY, "hello", "--from-series", "trixi", status=2).err
    assert "'hello=': '' is no Debian version" in shell(*COPY, "hello=", status=2).err


def test_a_move_leaves_nothing_behind(shell: Shell, scene: Scene) -> None:
    scene.both("hello")
    shell(*COPY, "hello", "--move", "--yes")
    assert (scene.held(PPA), scene.held(STABLE)) == ([], [("hello", "1.0-1")])
    shell(*COPY, "hello", "--move", "--yes")


def test_options_may_stand_anywhere(shell: Shell, scene: Scene) -> None:
    scene.both("hello")
    scene.both("world")
    shell("ppa", "copy", TRUNK_NAME, "--yes", STABLE_NAME, "hello", "--why", "x", "world")
    assert scene.held(STABLE) == [("hello", "1.0-1"), ("world", "1.0-1")]


def test_a_sync_copies_what_is_missing_and_deletes_what_is_gone(shell: Shell, scene: Scene) -> None:
    for name in ("one", "two", "three", "four"):
        scene.both(name)
    scene.copy("one", "two", "three", "four")
    scene.delete("four")
    scene.both("one", "1.0-2")
    scene.both("kept", to=STABLE)
    said = shell(*SYNC, "--protect", "k*", "--yes")
    assert "protected" in said.out
    assert scene.held(STABLE) == [("kept", "1.0-1"), ("one", "1.0-2"), ("three", "1.0-1"), ("two", "1.0-1")]
    assert shell(*SYNC, "--protect", "k*", "--dry-run", "--format", "json").json["counts"]["copy"] == 0


def test_a_sync_that_would_empty_the_destination_is_stopped(shell: Shell, scene: Scene) -> None:
    scene.both("hello", to=STABLE)
    said = shell(*SYNC, "--yes", "--from-series", SERIES, status=4).err
    assert "--allow-empty-source" in said
    assert scene.held(STABLE) == [("hello", "1.0-1")]
    assert (
        "--allow-deletions" in shell(*SYNC, "--allow-empty-source", "--from-series", SERIES, "--yes", status=4).err
    )
    shell(*SYNC, "--allow-empty-source", "--allow-deletions", "--from-series", SERIES, "--yes")
    assert scene.held(STABLE) == []
    assert "hell?o" in shell(*SYNC, "--include", "hell?o", status=2).err
    assert "is both sides" in shell("ppa-sync", TRUNK_NAME, TRUNK_NAME, status=2).err


def test_much_that_is_skipped_is_counted_and_shown_when_asked_for(shell: Shell, scene: Scene) -> None:
    names = [f"package-{number}" for number in range(11)]
    for name in names:
        scene.upload(name)
    scene.archive.publish(PPA)
    scene.copy(*names, binaries=False)
    said = shell(*SYNC, "--rebuild", "--yes")
    assert "package-3" not in said.out
    assert "skipped: 11 packages, already there" in said.err
    assert "package-3" in shell(*SYNC, "--rebuild", "--yes", "--verbose").out


def test_a_ppa_goes_back_to_a_snapshot(shell: Shell, scene: Scene) -> None:
    scene.both("hello", "1.0-1")
    scene.both("stays")
    scene.archive.snapshot(PPA, "good", by="me")
    scene.both("hello", "1.0-2")
    scene.both("new")
    plan = shell("ppa-rollback", TRUNK_NAME, "good", "--dry-run", status=3)
    assert [line.split()[:3] for line in plan.lines[1:]] == [
        ["copy", "hello", "1.0-1"],
        ["delete", "hello", "1.0-2"],
        ["delete", "new", "1.0-1"],
    ]
    shell("ppa-rollback", TRUNK_NAME, "good", "hello", "--yes", "--why", "it does not start")
    assert scene.held() == [("hello", "1.0-1"), ("new", "1.0-1"), ("stays", "1.0-1")]
    shell("ppa-rollback", TRUNK_NAME, "good", "--yes", "--allow-deletions", "--why", "nothing starts")
    assert scene.held() == [("hello", "1.0-1"), ("stays", "1.0-1")]
    assert scene.archive.changes(PPA)[-1].what == "rollback"
    assert "has no snapshot 'bad'" in shell("ppa-rollback", TRUNK_NAME, "bad", status=2).err


def test_conflicts_say_which_version_apt_takes(shell: Shell, scene: Scene) -> None:
    scene.both("hello", "1.0-1")
    scene.copy("hello")
    scene.both("hello", "1.0-2")
    words = ("ppa-conflicts", STABLE_NAME, TRUNK_NAME)
    said = shell(*words, "--exit-code", status=3)
    assert re.split("  +", said.lines[1])[-2:] == [f"1.0-2 of {TRUNK_NAME}", f"1.0-1 of {STABLE_NAME}"]
    assert f"{STABLE_NAME} would run against other versions of 1 package" in said.err
    (row,) = shell(*words, "--pin", f"{STABLE_NAME}=600", "--format", "json").json["conflicts"]
    assert row["chosen"] == {"archive": STABLE_NAME, "version": "1.0-1", "priority": 600}
    assert "Name two or more" in shell("ppa-conflicts", TRUNK_NAME, status=2).err


def test_a_second_run_beside_the_first_is_told_to_wait(shell: Shell, scene: Scene) -> None:
    scene.both("hello")
    shell(*COPY, "hello", "--yes")
    (journal,) = (shell.directory / "state/ppa-tools").glob("*.jsonl")
    import fcntl

    scene.upload("late", series=LATER)
    with journal.with_suffix(".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        scene.both("world")
        said = shell(*COPY, "world", "--yes", status=1).err
    assert f"another run is changing {STABLE_NAME}" in said
    assert [json.loads(line)["state"] for line in journal.read_text().splitlines()][-1] == "arrived"


def at_a_terminal(shell: Shell, *words: str, answer: str, **variables: str) -> tuple[int, str]:
    """Give a command at a terminal, and answer the question that it asks; its end and all that was seen."""
    master, slave = pty.openpty()
    environment = {**shell.environment, "TERM": "xterm", **variables}
    with subprocess.Popen(
        [BIN / words[0], *words[1:]],
        cwd=shell.directory,
        env=environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    ) as process:
        os.close(slave)
        seen, answered, until = b"", False, time.monotonic() + 60
        while time.monotonic() < until:
            ready, _, _ = select.select([master], [], [], 1)
            try:
                seen += os.read(master, 4096) if ready else b""
            except OSError:  # the other side is closed
                break
            if b"[y/N]" in seen and not answered:
                answered = True
                os.write(master, answer.encode() + b"\n")
        os.close(master)
        return process.wait(timeout=60), seen.decode()
