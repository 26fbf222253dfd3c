"""What a package says reaches a terminal as text: it sets no title, fills no clipboard, hides no line."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.build.logs import judge, read_build_log
from buildfarm.cli import main
from buildfarm.files import write_json
from buildfarm.regress.local import HERE
from buildfarm.regress.model import BuildReport, RebuildJob
from buildfarm.regress.nights import NightRules, open_nights
from buildfarm.regress.one_build import ORDER, REPORT
from buildfarm.regress.orders import BuildOrder
from buildfarm.regress.places import places_of
from buildfarm.settings import Settings
from ppa_tools.plain_text import plain, plain_line

EVIL = (
    "\x1b]52;c;ZXZpbA==\x07it \x1b]0;title\x1b\\is \x1bP1$r0m\x1b\\"
    "\x1b[1;31mso\x1b[?25l\x1b(B\r\x08\x9b2J\u202e\x00\nforged"
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")
SEQUENCE_PARTS = [
    "\x1b",
    "\x9b",
    "\x9d",
    "\x90",
    "[",
    "]",
    "P",
    "\\",
    "\x07",
    "\x9c",
    "0;",
    "m",
    "text",
    "\n",
    "\t",
    "\r",
]


@pytest.fixture
def settings(farm_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("BUILDFARM_ROOT", str(farm_settings.root))
    monkeypatch.setenv("BUILDFARM_HOME", str(farm_settings.home))
    return farm_settings


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]52;c;ZXZpbA==\x07after", "after"),
        ("\x1b]8;;http://x/\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP1$r0m\x1b\\after", "after"),
        ("\x9d0;title\x9cafter", "after"),
        ("\x1b[?25l\x1b[38:2:1:2:3mred\x1b[0m\x9b2J", "red"),
        ("\x1b(B\x1bcbold", "bold"),
        ("\x1b]0;without end", "0;without end"),
        ("a\x08b\x00c", "a b c"),
        ("tab\tand\nnewline", "tab\tand\nnewline"),
        ("Grüße, 漢字 ✓", "Grüße, 漢字 ✓"),
    ],
)
def test_sequences_go_and_control_characters_are_spaces(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.lists(st.sampled_from(SEQUENCE_PARTS) | st.characters(), max_size=40).map("".join))
def test_no_text_gets_a_control_character_through(text: str) -> None:
    assert not CONTROL.search(plain(text))
    assert plain(plain(text)) == plain(text)
    assert not re.search(r"[\n\t]", plain_line(text))
    plain_line(text).encode()


def test_a_logs_first_error_is_plain() -> None:
    log = f"main.c:1:1: error: {EVIL.replace(chr(13), '')}\n+{'-' * 78}+\n| Summary{' ' * 70}|\n+{'-' * 78}+\n\n"
    log += "Fail-Stage: build\nStatus: attempted\n"
    reading = read_build_log(io.BytesIO(log.encode()))
    judgement = judge(reading, 2)
    assert judgement.reason.startswith("the build failed: main.c:1:1: error: it is so")
    assert not CONTROL.search(f"{judgement} {reading.first_error} {reading.last}".replace("\\n", ""))


def test_a_night_here_tells_plainly(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    nights = open_nights(places_of(settings).history_file)
    job = RebuildJob("yard", "hello", "1.0", "bookworm", "amd64", ())
    rules = NightRules(confirm=False, culprit=False)
    night = nights.open_night("yard", [job], driver=HERE, reason="test", rules=rules)
    ((_, _, build),) = nights.due(HERE, night)
    report = BuildReport("fail", EVIL, environment="e", fingerprint="f")
    write_json(places_of(settings).build(build.id) / REPORT, report.to_json())

    assert main(["rebuild", "resume", str(night.number)]) == 1

    said = capsys.readouterr().out
    assert not CONTROL.search(said)
    assert f"  #{build.id} fail: it is so" in said
    assert "\nforged" not in said


def test_a_worker_that_is_out_is_told_of_plainly(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    open_nights(places_of(settings).history_file).take_out("worker-1", EVIL)
    assert main(["rebuild", "workers"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("worker-1: it is so")
    assert not CONTROL.search(said)
    assert "\nforged" not in said


def test_what_is_had_again_is_told_of_plainly(settings: Settings) -> None:
    directory = places_of(settings).build(7)
    job = RebuildJob("yard", f"hello{EVIL}", "1.0", "nosuch", "nosuch", ())
    write_json(directory / ORDER, BuildOrder(job).to_json())
    write_json(directory / REPORT, BuildReport("fail", EVIL, environment="0" * 64).to_json())

    # A process of its own: the command ends all that it started, and here that would be all of these tests' too.
    words = [sys.executable, "-m", "buildfarm", "--home", str(settings.home), "repro", "7", "--unpack"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)

    assert ended.returncode == 2, "nobody knows such a series"
    said = ended.stdout
    assert "build #7: helloit is so" in said
    assert "\nforged" not in said
    assert not CONTROL.search(said)
