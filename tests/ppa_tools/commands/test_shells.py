"""What is made from the commands' parsers: help, shell completion, manual pages; and how light they are."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ppa_tools.commands.main import load
from ppa_tools.commands.output import Column, Table, note, print_json, print_rows
from ppa_tools.commands.ppa_completion import SHELLS, command_names
from tests.ppa_tools.commands.conftest import BIN, Shell

ROOT = Path(__file__).parents[3]
HEAVY = ("buildbot", "buildfarm", "twisted", "sqlalchemy", "requests", "rich", "launchpadlib", "shtab", "breezy")


@pytest.fixture
def anybody(tmp_path: Path) -> Shell:
    return Shell(tmp_path, {})


@pytest.mark.parametrize("name", command_names())
def test_help_needs_nothing_heavy_and_nothing_of_buildbot(name: str, tmp_path: Path) -> None:
    program = (
        "import json, runpy, sys\n"
        f"sys.argv = [{str(BIN / name)!r}, '--help']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as error:\n    assert error.code == 0\n"
        "print(json.dumps(sorted(name.partition('.')[0] for name in sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert set(json.loads(done.stderr)) & set(HEAVY) == set()
    assert done.stdout.startswith(f"usage: {name} ")
    assert max(map(len, done.stdout.splitlines())) < 100


def test_reading_the_embedded_archive_needs_nothing_of_buildbot(anybody: Shell) -> None:
    modules = [f"ppa_tools.commands.ppa_{name.removeprefix('ppa-')}" for name in command_names()[1:]]
    program = f"import sys, {', '.join(modules)}, ppa_tools.archives.embedded, ppa_tools.archives.launchpad\n"
    program += "print(sorted(name for name in sys.modules if name.startswith(('buildbot', 'buildfarm'))))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_is_installed_is_what_the_umbrella_knows() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {name for name in scripts if name != "buildfarm"} == set(command_names())
    for name in command_names()[1:]:
        assert load(name.removeprefix("ppa-")).name == name


@pytest.mark.parametrize("name", command_names()[1:])
def test_examples_are_given_as_the_command_takes_them(name: str) -> None:
    import shlex

    command = load(name.removeprefix("ppa-"))
    for example in command.examples:
        words = shlex.split(example.words.partition(" | ")[0].partition(" > ")[0])
        assert words[0] == name
        command.parser().parse_intermixed_args(words[1:])


def test_help_has_examples_and_every_exit_status(anybody: Shell) -> None:
    said = anybody("ppa", "sync", "--help").out
    assert said.startswith("usage: ppa sync ")
    assert "ppa-sync ppa:me/trunk ppa:me/mirror --yes" in said
    for status in range(6):
        assert f"\n  {status}   " in said
    assert "ppa 0." in anybody("ppa", "--version").out
    assert "commands:" in anybody("ppa", status=2).out


def test_a_machine_in_the_way_is_told_without_a_traceback(anybody: Shell) -> None:
    (anybody.directory / "taken").write_text("")
    said = anybody("ppa", "manpage", "--directory", "taken/man1", status=1).err
    assert "taken" in said
    assert "give the same command again" in said


def completed_by_bash(script: str, line: str) -> list[str]:
    """What bash offers for the last word of a line."""
    words = line.split(" ")
    command = (
        f"{script}\nCOMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; COMP_TYPE=9\n"
        f"COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}\n"
        f"function=$(complete -p {words[0]} | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n"
        f'$function {words[0]} {words[-1]!r} {words[-2]!r}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    return [word.strip() for word in done.stdout.splitlines() if word.strip()]


def test_bash_completes_commands_options_and_choices(anybody: Shell) -> None:
    script = anybody("ppa", "completion", "bash").out
    assert "--with-dependencies" in completed_by_bash(script, "ppa-copy --w")
    assert completed_by_bash(script, "ppa-list --format js") == ["json"]
    assert completed_by_bash(script, "ppa roll") == ["rollback"]
    assert "--allow-deletions" in completed_by_bash(script, "ppa sync --allow")


@pytest.mark.parametrize("name", SHELLS)
def test_every_shell_takes_its_script(anybody: Shell, name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"no {name} here")
    script = anybody.directory / f"completion.{name}"
    script.write_text(anybody("ppa", "completion", name, "ppa-copy").out)
    check = {"fish": ["fish", "--no-execute"]}.get(name, [name, "-n"])
    done = subprocess.run([*check, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    if name == "fish":
        offer = f"source {script}; complete -C 'ppa-copy --with-dep'"
        offered = subprocess.run(["fish", "-c", offer], capture_output=True, text=True, check=True).stdout
        assert offered.startswith("--with-dependencies")


def test_manual_pages_are_sound_and_have_every_option(anybody: Shell) -> None:
    anybody("ppa", "manpage", "--directory", "man1")
    pages = sorted((anybody.directory / "man1").iterdir())
    assert {page.stem for page in pages} == set(command_names())
    for page in pages:
        text = page.read_text()
        if page.stem != "ppa":
            for action in load(page.stem.removeprefix("ppa-")).parser()._actions:
                for option in action.option_strings:
                    assert option.replace("-", r"\-") in text, option
        for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "SEE ALSO"):
            assert f".SH {section}\n" in text
        if shutil.which("mandoc"):
            checked = subprocess.run(
                ["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True
            )
            assert checked.stdout == "", checked.stdout
    shown = subprocess.run(
        ["man", "--warnings", "-P", "cat", "-l", anybody.directory / "man1/ppa-copy.1"],
        capture_output=True,
        text=True,
        check=True,
        env=anybody.environment,
    )
    assert shown.stderr == ""
    assert "ppa-copy - copy packages from one archive to another" in shown.stdout


@pytest.mark.parametrize(("closed", "status"), [(0, 0), (1, 1), (2, 0)])
def test_a_standard_stream_that_is_closed_ends_in_no_traceback(closed: int, status: int) -> None:
    closing = f'exec "$@" {closed}>&-'
    words = ["sh", "-c", closing, "sh", str(BIN / "ppa"), "completion", "bash"]
    done = subprocess.run(words, check=False, text=True, capture_output=True)

    assert done.returncode == status
    if closed == 1:
        assert done.stderr.startswith("ppa-completion: this machine is in the way: ")
        assert "Traceback" not in done.stderr
    else:
        assert "ppa-list" in done.stdout


def test_json_for_programs_holds_nothing_that_a_terminal_obeys() -> None:
    told = ["\x1b[2J", "\x9b2J", "\u202e", "ü"]
    wide, narrow = (io.TextIOWrapper(io.BytesIO(), encoding=name) for name in ("utf-8", "ascii"))
    for out in (wide, narrow):
        print_json(told, out)
        out.seek(0)
        text = out.read()
        assert json.loads(text) == told
        assert all(line.isprintable() for line in text.splitlines())


def test_what_is_said_beside_the_output_holds_nothing_that_a_terminal_obeys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    note("hello \x1b]0;you\x07 in noble\n  and more")
    print_rows(Table((Column("why"),), (("a\x1b[2Jb\x9b",),)), "csv")

    said = capsys.readouterr()
    assert said.err == "hello  in noble\n  and more\n"
    assert said.out == "why\nab \n"
