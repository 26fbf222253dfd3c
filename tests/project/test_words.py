"""What no file of the project has: unfinished business, a shell, the place where it was written."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
SHELL = re.compile(r"shell ?= ?T" + r"rue|os\.sys" + r"tem\(|os\.po" + r"pen\(")


@pytest.fixture(scope="module")
def texts(root: Path) -> dict[str, str]:
    def read() -> Iterator[tuple[str, str]]:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout
        for name in filter(None, listed.decode().split("\0")):
            path = root / name
            if path.is_file() and not path.is_symlink() and name not in ("LICENSE", "requirements.lock"):
                yield name, path.read_bytes().decode("utf-8", "replace")

    return dict(read())


def test_nothing_is_left_unfinished(texts: dict[str, str]) -> None:
    ours = {name: text for name, text in texts.items() if not name.startswith("tests/build/data/")}
    assert {name: found[0] for name, text in ours.items() if (found := UNFINISHED.search(text))} == {}


def test_nothing_goes_through_a_shell(texts: dict[str, str]) -> None:
    python = {name: text for name, text in texts.items() if name.endswith(".py")}
    assert {name: found[0] for name, text in python.items() if (found := SHELL.search(text))} == {}


def test_no_file_names_the_directory_it_was_written_in(root: Path, texts: dict[str, str]) -> None:
    here = re.compile(re.escape(str(root)) + r"(?![\w-])")
    assert [name for name, text in texts.items() if here.search(text)] == []


def test_no_text_has_carriage_returns_or_trailing_blanks(texts: dict[str, str]) -> None:
    written = {
        name: text for name, text in texts.items() if name.endswith((".py", ".sh", ".yaml", ".toml", ".md"))
    }
    assert [name for name, text in written.items() if re.search(r"\r|[ \t]+$", text, re.MULTILINE)] == []
