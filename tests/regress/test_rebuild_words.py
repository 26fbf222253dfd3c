"""What `buildfarm rebuild` says to words that it cannot use, and that it begins and makes nothing for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from buildfarm.cli import main
from buildfarm.regress.nights import open_nights
from buildfarm.settings import Settings, load_settings
from tests.regress.rounds import Farm
from tests.regress.yard import Yard

SETS = """\
sets:
  yard:
    packages: [steady, flaky]
    series: [bookworm]
"""
NAMES_NO_TIME = SETS.replace("[bookworm]", '[bookworm]\n    att: "02:30"')


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    yard = Yard(tmp_path / "yard")
    yard.state("before")
    (tmp_path / "farm.toml").write_text(f"[series.bookworm]\napt_sources = '''\n{yard.apt_sources}'''\n")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "regression.yaml").write_text(SETS)
    monkeypatch.setenv("BUILDFARM_ROOT", str(tmp_path))
    monkeypatch.setenv("BUILDFARM_HOME", str(tmp_path / "var"))
    yield load_settings()
    yard.close()


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["rebuild", *words]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["steady", "nosuch"], ["nothing to rebuild of nosuch", "the sets here: yard"]),
        (["nosuch*"], ["nothing to rebuild of nosuch*"]),
        (["steady", "yard"], ["yard is a set: it is given alone"]),
    ],
)
def test_of_words_that_name_nothing_none_is_begun(
    settings: Settings, capsys: pytest.CaptureFixture[str], words: list[str], told: list[str]
) -> None:
    said = refused(capsys, *words, "--series", "bookworm", "--here")
    assert all(one in said for one in told), said
    assert open_nights(settings.regression_file).recent_nights(1) == ()


def test_a_set_that_did_not_load_is_not_taken_for_a_package(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    (settings.recipes / "regression.yaml").write_text(NAMES_NO_TIME)
    said = refused(capsys, "yard", "--series", "bookworm", "--here")
    assert "regression.yaml:5:5" in said
    assert "att" in said


@pytest.mark.parametrize(
    "words", [["report"], ["workers"], ["cancel", "1"], ["resume", "1"], ["label", "abcdef", "known"]]
)
def test_looking_where_no_night_was_begun_makes_nothing(
    settings: Settings, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    said = refused(capsys, *words)
    assert "no night was ever begun here" in said
    assert not settings.regression_file.exists()


@pytest.fixture
def farm(settings: Settings) -> Farm:
    settings.home.mkdir(exist_ok=True)
    farm = Farm(settings.home)
    farm.round("hello", of="nightly")
    return farm


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--since", "99"], "there is no night 99"),
        (["--since", "0"], "there is no night 0"),
        (["--set", "nightlyy"], "no package set is named 'nightlyy'"),
    ],
)
def test_a_report_of_what_there_is_not_is_no_empty_one(
    farm: Farm, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert told in refused(capsys, "report", *words)


@pytest.mark.parametrize("words", [["--since", "1"], ["--set", "nightly"], ["--set", "yard"]])
def test_a_report_of_what_there_is(farm: Farm, words: list[str]) -> None:
    assert main(["rebuild", "report", *words]) == 0


def test_a_label_for_a_cause_that_nothing_failed_of_is_kept_and_doubted(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    farm.round("hello", of="nightly", fails={"hello": {"fingerprint": "f1"}})
    assert main(["rebuild", "label", "f1", "known"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["rebuild", "label", "f2", "known"]) == 0
    assert "no failure has this cause so far" in capsys.readouterr().err
    assert set(farm.nights.labels()) == {"f1", "f2"}


def test_a_night_that_has_ended_is_not_ended_twice(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rebuild", "cancel", "1"]) == 0
    assert capsys.readouterr().out == "night 1 of nightly had ended already\n"
