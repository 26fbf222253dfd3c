"""A console is read for how far the machine came and what went wrong, bounded, whatever is written to it."""

from __future__ import annotations

import errno
import io
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildfarm.vm import console as console_module
from buildfarm.vm.console import KEPT_LINES, LINE_LIMIT, Console, clean, furthest


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return Console(tmp_path / "console.log", clock=lambda: 1.5)


@pytest.mark.parametrize(
    ("lines", "how_far"),
    [
        ([], "nothing"),
        (["garbage"], "nothing"),
        (["SeaBIOS (version 1.16.2)", "iPXE (http://ipxe.org)"], "the firmware"),
        (["GRUB loading.", "Welcome to GRUB!"], "the boot loader"),
        (["[    0.000000] Linux version 6.1.0-26-cloud-amd64"], "the kernel"),
        (["[    0.512345] EXT4-fs (vda): mounted filesystem with ordered data mode."], "the root file system"),
        (["[    1.000000] systemd[1]: Detected architecture x86-64."], "systemd"),
        (["[  OK  ] Reached target basic.target - Basic System."], "the basic system"),
        (["[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mBasic System\x1b[0m."], "the basic system"),
        (["[  OK  ] Reached target Multi-User System."], "all its services"),
        (["machine login: "], "all its services"),
        (["machine login: ", "[    9.0] Linux version again"], "all its services"),
    ],
)
def test_how_far_it_came_is_told_in_words(console: Console, lines: list[str], how_far: str) -> None:
    for line in lines:
        console.feed(line.encode() + b"\r\n")
    assert console.how_far == how_far


@pytest.mark.parametrize(
    "line",
    [
        "[    0.9] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
        "[    1.2] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00007f00",
        "[   77.1] Out of memory: Killed process 311 (perl) total-vm:414212kB",
        "[   60.0] watchdog: BUG: soft lockup - CPU#0 stuck for 23s!",
        "initrd: /dev/vda cannot be mounted: the machine stops",
        "No bootable device.",
        "You are in emergency mode. After logging in, type",
    ],
)
def test_the_first_trouble_is_kept(console: Console, line: str) -> None:
    console.feed(f"all is well\n{line}\nKernel panic - a second one\n".encode())
    assert console.trouble == line


def test_a_prompt_counts_though_its_line_does_not_end(console: Console) -> None:
    console.feed(b"[    2.0] systemd[1]: Started a getty.\r\n\r\nmachine login: ")
    assert console.how_far == "all its services"


def test_colours_and_what_acts_on_terminals_are_taken_away() -> None:
    assert clean("\x1b[0;32mok\x1b[0m \x1b]0;title\x07\x1b(B\x1bcend\x9bx\x00  ") == "ok 0;titleendx"


@given(st.text(max_size=300))
def test_nothing_that_acts_on_a_terminal_stays(text: str) -> None:
    assert not any("\x7f" <= letter <= "\x9f" or (letter < " " and letter not in "\t\n") for letter in clean(text))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.binary(max_size=400), max_size=12))
def test_whatever_is_written_is_recorded_line_by_line_and_bounded(tmp_path: Path, parts: list[bytes]) -> None:
    console = Console(tmp_path / "console.log", clock=lambda: 0.0)
    for part in parts:
        console.feed(part)
    assert len(console.last_lines(10)) <= 10
    console.close()
    for line in (tmp_path / "console.log").read_text().splitlines():
        assert line.startswith("   0.000  ")
        assert len(line) <= LINE_LIMIT + 10


@given(cut=st.integers(0, 60))
def test_a_line_may_come_in_pieces(cut: int) -> None:
    whole = b"[    1.0] one line\r\n[    2.0] and the unfinished next"
    console = Console(Path("/dev/null"))
    console.feed(whole[:cut])
    console.feed(whole[cut:])
    assert console.last_lines() == ("[    1.0] one line", "[    2.0] and the unfinished next")


def test_a_flood_is_recorded_up_to_the_limit_and_its_end_is_still_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_module, "RECORD_LIMIT_BYTES", 10_000)
    console = Console(tmp_path / "console.log")
    for number in range(2000):
        console.feed(b"line %d of a flood\n" % number)
    console.close()
    text = (tmp_path / "console.log").read_text()
    assert len(text) < 10_100
    assert text.endswith("[... the console said more than is kept]\n")
    assert console.last_lines(1) == ("line 1999 of a flood",)
    assert len(console.last_lines(10_000)) == KEPT_LINES


@pytest.mark.parametrize(
    "flood",
    [b"x" * 400_000, b"\x1b[" + b"0" * 200_000, b"EXT4-fs (" * 40_000, b"Reached target " * 30_000, b"\r" * 9**6],
)
def test_a_hostile_flood_takes_no_more_than_its_length(tmp_path: Path, flood: bytes) -> None:
    console = Console(tmp_path / "console.log")
    began = time.process_time()
    for start in range(0, len(flood), 65536):
        console.feed(flood[start : start + 65536])
    console.close()
    assert time.process_time() - began < 5


def test_a_full_disk_ends_the_record_and_not_the_watching(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, _data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(console, "_file", Full())
    console.feed(b"[    1.0] systemd[1]: one\n")
    console.flush()
    console.feed(b"Kernel panic - not syncing\n")
    console.close()
    assert console.how_far == "systemd"
    assert console.trouble == "Kernel panic - not syncing"


def test_no_line_is_no_milestone() -> None:
    assert furthest(()) == -1
