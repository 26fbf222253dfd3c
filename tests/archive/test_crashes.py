"""Killed at any moment, in anything: the archive opens, is whole, and has all that it acknowledged."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import fmean

import pytest

from ppa_tools.archives.local import LocalArchive
from tests.archive.conftest import SERIES, Apt, Signer, architecture
from tests.archive.model import ADDRESSES, Job, Model, agrees, perform, prepare
from tests.archive.shelf import Shelf
from tests.archive.soundness import check_archive, held_by_apt

SEED_VARIABLE = "ARCHIVE_CRASH_SEED"
ROUND_S = 7200.0  # by the archive's clock: what was superseded before may be collected in the next round
JOBS_AT_MOST = 3
ANSWER_TIMEOUT_S = 120
USUAL_SPAN_S = 0.1
READY = -1


def work(root: Path, behind_s: float, jobs: Sequence[Job], answers: Connection) -> None:
    """In a process of its own: do all jobs, and acknowledge each when it is done."""
    archive = LocalArchive(root, clock=lambda: time.time() - behind_s)
    answers.send(READY)
    for number, job in enumerate(jobs):
        perform(archive, job)
        answers.send(number)


@dataclass
class Trial:
    """An archive that is killed again and again, and what it ought to hold."""

    root: Path
    url: str
    shelf: Shelf
    apt: Apt
    luck: random.Random
    model: Model = field(default_factory=Model)
    spans_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    interrupted: Counter[str] = field(default_factory=Counter)
    undone: Counter[str] = field(default_factory=Counter)

    def kill_once(self, behind_s: float) -> None:
        """Do a few operations and kill in one of them; then all that a crash must leave is looked at."""
        jobs, models = [], [self.model]
        for _ in range(self.luck.randint(1, JOBS_AT_MOST)):
            operation = models[-1].choose(self.luck)
            jobs.append(prepare(operation, self.shelf))
            models.append(models[-1].after(operation))
        done = self._run_and_kill(jobs, behind_s)
        archive = LocalArchive(self.root, url=self.url, clock=lambda: time.time() - behind_s)
        try:
            archive.publish_due()
            check_archive(archive)
            whole = done < len(jobs) and agrees(archive, models[done + 1])
            told = [job.operation for job in jobs[: done + 1]]
            assert whole or agrees(archive, models[done]), (done, told, models[done])
            self.model = models[done + 1] if whole else models[done]
            if done < len(jobs):
                self.interrupted[jobs[done].operation.what] += 1
                self.undone[jobs[done].operation.what] += not whole
            self.apt.run("update")
            for address in ADDRESSES:
                assert held_by_apt(self.apt, address) == self.model.held[address]
        finally:
            archive.close()

    def _run_and_kill(self, jobs: Sequence[Job], behind_s: float) -> int:
        """How many jobs were acknowledged."""
        processes = multiprocessing.get_context("forkserver")
        here, there = processes.Pipe(duplex=False)
        child = processes.Process(target=work, args=(self.root, behind_s, jobs, there))
        child.start()
        there.close()
        self._answer(here, READY)
        target = self.luck.randrange(len(jobs))
        for number in range(target):
            began = time.monotonic()
            self._answer(here, number)
            self.spans_s[jobs[number].operation.what].append(time.monotonic() - began)
        what = jobs[target].operation.what
        time.sleep(self.luck.uniform(0, 1.1) * fmean(self.spans_s[what] or [USUAL_SPAN_S]))
        child.kill()
        child.join()
        done = target
        while here.poll() and (number := _last_words(here)) is not None:
            done = number + 1
        here.close()
        return done

    def _answer(self, here: Connection, expected: int) -> None:
        assert here.poll(ANSWER_TIMEOUT_S), "no answer"
        assert here.recv() == expected


def _last_words(here: Connection) -> int | None:
    try:
        return int(here.recv())
    except EOFError:
        return None


def kill_again_and_again(tmp_path: Path, signer: Signer, kills: int) -> Trial:
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(1 << 32))
    print(f"{SEED_VARIABLE}={seed}")
    root = tmp_path / "archive"
    url = f"file:{root}/public"
    behind_s = (kills + 1) * ROUND_S
    archive = LocalArchive(root, url=url, clock=lambda: time.time() - behind_s)
    for address in ADDRESSES:
        archive.ensure_ppa(
            address, series=[SERIES], architectures=[architecture()], uploaders=[signer.public], by="me"
        )
        archive.configure(address, keep_ended_s=ROUND_S / 2, by="me")
    sources = "\n".join(archive.sources_text(address, SERIES) for address in ADDRESSES)
    archive.close()
    trial = Trial(
        root, url, Shelf(tmp_path / "shelf", signer), Apt(tmp_path / "apt", sources), random.Random(seed)
    )
    try:
        for number in range(1, kills + 1):
            trial.kill_once(behind_s - number * ROUND_S)
    finally:
        archive.stop_agents()
    print(f"{kills} kills; in the middle of {dict(trial.interrupted)}; undone {dict(trial.undone)}")
    return trial


def test_killed_twenty_times_it_has_all_that_it_acknowledged(tmp_path: Path, signer: Signer) -> None:
    trial = kill_again_and_again(tmp_path, signer, 20)
    assert trial.interrupted.total() >= 5


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_two_hundred_times_it_has_all_that_it_acknowledged(tmp_path: Path, signer: Signer) -> None:
    trial = kill_again_and_again(tmp_path, signer, 200)
    assert set(trial.interrupted) >= {"add", "build", "copy", "delete", "publish", "roll back", "collect"}
