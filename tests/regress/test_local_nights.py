"""Nights on this machine: what a killed command left is taken up, and nothing is done twice or lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from buildfarm.cli import main
from buildfarm.errors import UsageError
from buildfarm.regress.local import HERE, Telling, alone_here, run_night
from buildfarm.regress.nights import NightRules
from tests.regress.conftest import Here
from tests.regress.yard import Yard

CHILD = """
import sys
from pathlib import Path
from buildfarm.regress.local import Telling, alone_here, run_night
from buildfarm.regress.nights import open_nights
from buildfarm.regress.places import places_of
from buildfarm.settings import Settings

root, home, number = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
settings = Settings(root=root, home=home, recipes=root / "recipes")
nights = open_nights(places_of(settings).history_file)
nothing = lambda *_: None
with alone_here(settings):
    run_night(nights.night(number), nights, settings, Telling(nothing, nothing, nothing))
"""


def begin(here: Here, number: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", CHILD, str(here.settings.root), str(here.settings.home), str(number)]
    return subprocess.Popen(words, start_new_session=True)


def kill(child: subprocess.Popen[bytes]) -> None:
    """As when the machine's memory ran out: the command dies and tells nobody."""
    child.send_signal(signal.SIGKILL)
    child.wait()


def test_a_killed_night_goes_on_where_it_stopped(here: Here, yard: Yard) -> None:
    yard.state("before")
    slow = replace(yard.job("hanging"), limits=replace(yard.job("hanging").limits, silence_s=6))
    night = here.nights.open_night(
        "yard", [yard.job("steady"), slow], driver=HERE, reason="test", rules=NightRules(confirm=False)
    )
    for _ in range(2):
        child = begin(here, night.number)
        deadline = time.monotonic() + 60
        while not here.nights.submitted(HERE) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.0)  # somewhere within a build
        kill(child)

    nights = here.nights
    built: list[int] = []
    telling = Telling(
        lambda build: built.append(build.id), lambda _build, _report: None, lambda _one, _verdict: None
    )
    with alone_here(here.settings):
        ended = run_night(night, nights, here.settings, telling)

    assert ended.ended_at is not None
    assert here.verdicts(ended) == {"steady": "still passing", "hanging": "new failure"}
    for package in ("steady", "hanging"):
        assert [one.kind for one in here.builds(ended, package)] == ["first"], (
            "each has one build, and one verdict"
        )


def test_an_interrupted_night_is_resumed_by_its_number(
    here: Here, yard: Yard, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BUILDFARM_ROOT", str(here.settings.root))
    monkeypatch.setenv("BUILDFARM_HOME", str(here.settings.home))
    yard.state("before")
    nights = here.nights
    night = nights.open_night("yard", [yard.job("steady")], driver=HERE, reason="test", rules=NightRules())
    nights.start(nights.due(HERE, night)[0][2], HERE)

    assert main(["rebuild", "resume", str(night.number)]) == 0

    assert here.verdicts(night) == {"steady": "still passing"}
    assert "goes on where it stopped" in capfd.readouterr().out


def test_two_commands_do_not_build_here_at_once(here: Here) -> None:
    refused = pytest.raises(UsageError, match="is building here")
    with alone_here(here.settings), refused, alone_here(here.settings):
        pytest.fail("two at once")
