"""Real build logs, read and compared with what a person read in them before."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from ruamel.yaml import YAML

from buildfarm.build.logs import Cause, Judgement, LogReading, Outcome, find_cause, judge, read_build_log

DATA = Path(__file__).with_name("data")
REPLAYS = DATA / "replays"
WANTED_LOGS = 60
LABELS: dict[str, dict[str, Any]] = YAML(typ="safe").load(DATA / "labels.yaml")


@dataclass(frozen=True)
class Replay:
    label: dict[str, Any]
    reading: LogReading
    judgement: Judgement
    cause: Cause

    @property
    def line(self) -> int | None:
        return self.reading.first_error.line_number if self.reading.first_error is not None else None


def replay(name: str) -> Replay:
    with (REPLAYS / f"{name}.log").open("rb") as file:
        reading = read_build_log(file)
    judgement = judge(reading, LABELS[name]["exit"])
    return Replay(LABELS[name], reading, judgement, find_cause(reading, judgement))


@pytest.fixture(scope="module")
def replays() -> dict[str, Replay]:
    return {name: replay(name) for name in LABELS}


def said(replay: Replay, what: str) -> Any:
    counts = replay.reading.tests
    return {
        "outcome": replay.judgement.outcome,
        "stage": replay.judgement.stage,
        "line": replay.line,
        "tests": list(replay.reading.failing_tests),
        "counts": [counts.passed, counts.failed, counts.skipped] if counts is not None else None,
    }[what]


@pytest.mark.parametrize("what", ["outcome", "stage", "line", "tests", "counts"])
def test_the_reader_agrees_with_a_person(replays: dict[str, Replay], what: str) -> None:
    labelled = {name: replay for name, replay in replays.items() if what in replay.label}

    wrong = {
        name: (replay.label[what], said(replay, what))
        for name, replay in labelled.items()
        if replay.label[what] != said(replay, what)
    }

    # agreed / labelled
    assert (len(labelled) - len(wrong), len(labelled), wrong) == (len(labelled), len(labelled), {})
    assert len(labelled) >= {"outcome": WANTED_LOGS, "stage": 50, "line": 45, "tests": 20, "counts": 20}[what]


def test_tests_are_named_and_counted_only_where_a_person_saw_any(replays: dict[str, Replay]) -> None:
    seen = {name for name, replay in replays.items() if replay.reading.failing_tests}

    assert seen == {name for name, label in LABELS.items() if "tests" in label}


def test_one_cause_has_one_fingerprint_and_another_has_another(replays: dict[str, Replay]) -> None:
    by_label: dict[str, set[str]] = defaultdict(set)
    by_fingerprint: dict[str, set[str]] = defaultdict(set)
    for replay in replays.values():
        if "cause" in replay.label:
            by_label[replay.label["cause"]].add(replay.cause.fingerprint)
            by_fingerprint[replay.cause.fingerprint].add(replay.label["cause"])
        else:
            assert replay.cause == Cause()

    assert {cause: found for cause, found in by_label.items() if len(found) != 1} == {}
    assert {
        (fingerprint, next(r.cause.words for r in replays.values() if r.cause.fingerprint == fingerprint)): causes
        for fingerprint, causes in by_fingerprint.items()
        if len(causes) != 1
    } == {}
    shared = [cause for cause in by_label if sum(r.label.get("cause") == cause for r in replays.values()) > 1]
    assert len(shared) >= 6


def test_every_log_is_labelled_and_every_outcome_has_some() -> None:
    assert {path.stem for path in REPLAYS.glob("*.log")} == set(LABELS)
    assert {label["outcome"] for label in LABELS.values()} == set(get_args(Outcome))


def test_the_context_has_the_line_and_its_neighbours(replays: dict[str, Replay]) -> None:
    for name, replay in replays.items():
        first = replay.reading.first_error
        if first is not None:
            lines = (REPLAYS / f"{name}.log").read_text(errors="backslashreplace").split("\n")
            assert first.line_number in dict(first.context)
            assert all(
                text.strip() == lines[number - 1].split("\r")[-1].strip()[:400].strip()
                or "\x1b" in lines[number - 1]
                or len(lines[number - 1]) > 400
                for number, text in first.context
            ), name


def test_a_reason_is_one_line(replays: dict[str, Replay]) -> None:
    assert all("\n" not in replay.judgement.reason and replay.judgement.reason for replay in replays.values())
