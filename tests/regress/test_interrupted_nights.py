"""A night here that was interrupted goes on when the same is asked for, and is in nobody's way for ever."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet import defer, threads
from twisted.python import log

from buildfarm.cli import main
from buildfarm.commands import rebuild
from buildfarm.errors import UsageError
from buildfarm.master.rebuild_schedule import Schedule
from buildfarm.regress.local import HERE, alone_here
from buildfarm.regress.model import RebuildJob
from buildfarm.regress.nights import Nights, open_nights
from buildfarm.regress.package_set import PackageSet
from buildfarm.regress.records import Build, Driver, Night, NightRules
from buildfarm.regress.sets import SetBook
from buildfarm.settings import Settings, load_settings
from tests.regress.yard import Yard

YARD_SETS = """\
sets:
  yard:
    packages: [steady, flaky]
    series: [bookworm]
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    yard = Yard(tmp_path / "yard")
    yard.state("before")
    tables = (f"[series.{series}]\napt_sources = '''\n{yard.apt_sources}'''\n" for series in ("bookworm", "other"))
    (tmp_path / "farm.toml").write_text("".join(tables))
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "regression.yaml").write_text(YARD_SETS)
    monkeypatch.setenv("BUILDFARM_ROOT", str(tmp_path))
    monkeypatch.setenv("BUILDFARM_HOME", str(tmp_path / "var"))
    yield load_settings()
    yard.close()


@pytest.fixture
def nights(settings: Settings) -> Nights:
    return open_nights(settings.regression_file)


def asked(settings: Settings, words: str, driver: Driver = HERE) -> Night:
    """What the command does before it builds."""
    parser = argparse.ArgumentParser()
    rebuild.configure(parser)
    args = parser.parse_args(rebuild.arrange(words.split()))
    return rebuild.open_now(args, open_nights(settings.regression_file), settings, driver)


def interrupted(settings: Settings, nights: Nights, words: str) -> Night:
    """A night as a command leaves it that is killed in its first build."""
    night = asked(settings, words)
    nights.start(nights.due(HERE, night)[0][2], HERE)
    return night


def builds(nights: Nights, night: Night) -> list[Build]:
    return [build for one in nights.rebuilds(night) for build in nights.builds(one)]


@pytest.mark.parametrize(
    "words", ["steady --series bookworm --timeout 2h --no-confirm", "steady flaky --series bookworm", "yard"]
)
def test_what_is_asked_for_again_goes_on(settings: Settings, nights: Nights, words: str) -> None:
    night = interrupted(settings, nights, words)
    assert asked(settings, words).number == night.number


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("steady --series bookworm", "flaky --series bookworm"),
        ("steady --series bookworm", "steady flaky --series bookworm"),
        ("steady --series bookworm", "steady --series bookworm --timeout 2h"),
        ("steady --series bookworm", "steady --series bookworm --no-confirm"),
        ("steady --series bookworm", "steady --series other"),
        ("yard", "yard --series other"),
        ("yard", "yard --no-culprit"),
    ],
)
def test_an_interrupted_night_does_not_answer_for_another(
    settings: Settings, nights: Nights, before: str, now: str
) -> None:
    night = interrupted(settings, nights, before)
    with pytest.raises(UsageError) as refused:
        asked(settings, now)
    assert f"night {night.number} of {night.set} was interrupted: " in str(refused.value)
    assert "steady bookworm-" in str(refused.value), "it says what that was"
    assert f"`buildfarm rebuild resume {night.number}`" in refused.value.resolution

    assert main(["rebuild", "cancel", str(night.number)]) == 0
    assert asked(settings, now).number == night.number + 1


def test_the_farm_is_not_given_what_was_interrupted_here(settings: Settings, nights: Nights) -> None:
    interrupted(settings, nights, "yard")
    with pytest.raises(UsageError, match="night 1 of yard was interrupted"):
        asked(settings, "yard", "farm")
    with alone_here(settings), pytest.raises(UsageError, match="night 1 of the set yard goes on"):
        asked(settings, "yard", "farm")


def test_a_cancelled_night_leaves_no_build_that_seems_to_run(settings: Settings, nights: Nights) -> None:
    night = interrupted(settings, nights, "yard")
    assert main(["rebuild", "cancel", "1"]) == 0
    assert nights.submitted(HERE) == ()
    assert {one.state for one in builds(nights, night)} == {"done"}


def test_only_what_was_interrupted_here_is_resumed(
    settings: Settings, nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    nights.cancel(asked(settings, "yard"))
    asked(settings, "yard", "farm")
    for words, why in (
        ("1", "night 1 of yard has ended"),
        ("2", "night 2 of yard is the farm's"),
        ("3", "no night 3"),
        ("2 --jobs 0", "--jobs is a number"),
    ):
        assert main(["rebuild", "resume", *words.split()]) == 2
        assert why in capsys.readouterr().err


# The farm's schedule


class Reactor:
    now = 1_900_000_000.0

    def seconds(self) -> float:
        return self.now


class Master:
    reactor = Reactor()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What goes into the master's log while threads are none."""
    monkeypatch.setattr(threads, "deferToThread", lambda call, *args: defer.maybeDeferred(call, *args))
    lines: list[str] = []

    def observer(event: dict[str, object]) -> None:
        lines.append(log.textFromEventDict(event) or "")

    log.addObserver(observer)
    yield lines
    log.removeObserver(observer)


def look(settings: Settings, nights: Nights) -> bool:
    """One look at what is due; returns whether a night began."""
    schedule = Schedule(Master(), nights, lambda call, *args: defer.maybeDeferred(call, *args))
    schedule.settings = settings
    schedule.book = SetBook({"yard": PackageSet("yard", ("bookworm",), ("amd64",), ("steady",), every_s=3600)})
    came: list[bool] = []
    schedule.look().addCallback(came.append)
    return came[0]


def test_a_night_that_a_killed_command_left_does_not_keep_its_set_from_being_run(
    settings: Settings, nights: Nights, said: list[str]
) -> None:
    night = interrupted(settings, nights, "yard")

    with alone_here(settings):
        assert not look(settings, nights)
        assert any("night 1 of it still goes on" in line for line in said)
    assert look(settings, nights)

    assert any("night 1 of yard was interrupted on this machine" in line for line in said)
    assert nights.recent_nights(1)[0].driver == "farm"
    assert {one.state for one in builds(nights, night)} == {"done"}


def test_a_night_of_the_farm_is_left_to_go_on(settings: Settings, nights: Nights, said: list[str]) -> None:
    asked(settings, "yard", "farm")
    assert not look(settings, nights)
    assert [one.ended_at for one in nights.recent_nights()] == [None]


def test_what_ran_as_its_night_was_cancelled_is_over_with_the_next_night(
    settings: Settings, nights: Nights
) -> None:
    job = RebuildJob("yard", "steady", "1.0", "bookworm", "amd64", ())
    night = nights.open_night("yard", [job], driver=HERE, reason="test", rules=NightRules())
    nights.start(nights.due(HERE, night)[0][2], HERE)
    with alone_here(settings):  # the command builds, and is killed later
        assert main(["rebuild", "cancel", "1"]) == 0
        assert [build.state for build in builds(nights, night)] == ["submitted"]
    assert main(["rebuild", "cancel", "1"]) == 0
    assert nights.submitted(HERE) == ()
