"""A small real Python package with debian/, as the tests of this room need it."""

from __future__ import annotations

import subprocess
from pathlib import Path

FILES = {
    "tally/__init__.py": '"""Counting things."""\n',
    "tally/words.py": (
        '"""Counting words."""\n\n\ndef count(text):\n    """How many words ``text`` has."""\n'
        "    return len(text.split())\n"
    ),
    "tests/__init__.py": '"""Tests."""\n',
    "tests/test_words.py": (
        '"""Tests."""\n\nimport unittest\n\nfrom tally.words import count\n\n\n'
        'class TestCount(unittest.TestCase):\n    """Counting."""\n\n'
        '    def test_two(self):\n        """Two words."""\n        self.assertEqual(count("a b"), 2)\n\n'
        '    def test_none(self):\n        """No words."""\n        self.assertEqual(count(""), 0)\n'
    ),
    "debian/changelog": (
        "tally (1.0) bookworm; urgency=medium\n\n  * A release.\n\n"
        " -- Test Person <test@example.org>  Mon, 02 Jun 2025 10:00:00 +0000\n"
    ),
    "debian/control": (
        "Source: tally\nSection: misc\nPriority: optional\nMaintainer: Test Person <test@example.org>\n"
        "Build-Depends: debhelper-compat (= 13)\nStandards-Version: 4.6.2\nRules-Requires-Root: no\n\n"
        "Package: tally\nArchitecture: all\nDepends: ${misc:Depends}\nDescription: count words\n"
        " Counts words, for tests.\n"
    ),
    "debian/rules": "#!/usr/bin/make -f\n%:\n\tdh $@\n\noverride_dh_auto_test:\n\techo testing\n",
    "debian/install": "tally usr/share/tally\n",
    "debian/copyright": "Copyright: 2025 Test Person\nLicense: GPL-2+\n",
    "debian/source/format": "3.0 (native)\n",
}


def write_tree(tree: Path, **changes: str | None) -> Path:
    """The package's files below ``tree``; ``changes`` replaces files ("/" in a name is written "__")."""
    files: dict[str, str | None] = dict(FILES)
    files |= {name.replace("__", "/") if "/" not in name else name: text for name, text in changes.items()}
    for name, text in files.items():
        if text is not None:
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    (tree / "debian/rules").chmod(0o755)
    return tree


def make_source_package(tree: Path, into: Path) -> Path:
    """Pack ``tree`` as a source package in ``into``; returns the .dsc."""
    into.mkdir(parents=True, exist_ok=True)
    subprocess.run(["dpkg-source", "--build", str(tree)], cwd=into, check=True, capture_output=True)
    return next(into.glob("*.dsc"))
