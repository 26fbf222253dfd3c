"""The documentation: what it names exists, what exists it names, and its links lead somewhere."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildfarm.cli import COMMANDS
from buildfarm.settings import Settings, load_settings
from ppa_tools.commands.ends import EXIT_WORDS
from ppa_tools.commands.main import COMMANDS as TOOLS
from ppa_tools.commands.main import load as load_tool

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("recipes/*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


def code(text: str) -> str:
    """Only what stands as code: fenced, indented by four, or between backticks."""
    fenced = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^(?: {4}|\t)(.*)$", text, re.MULTILINE)
    inline = [span for line in text.splitlines() for span in re.findall(r"`([^`]+)`", line)]
    return "\n".join([*fenced, *indented, *inline])


def said_commands(text: str) -> Iterator[list[str]]:
    """Every ``buildfarm ...`` that the text tells people to give, as words."""
    for found in re.finditer(r"(?:^|[\s/`])buildfarm((?: +--home +\S+)?) +([a-z][a-z-]*\b[^\n|`#]*)", code(text)):
        try:
            yield shlex.split(found[2].rstrip())
        except ValueError:
            yield found[2].split()


def said_tools(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every ``ppa-COMMAND ...`` and ``ppa COMMAND ...`` that the text gives: its name, and words."""
    for found in re.finditer(r"(?:^|[\s`(]|bin/)ppa(?:-| +)([a-z]+)\b([^\n|`#]*)", code(text), re.MULTILINE):
        try:
            yield found[1], shlex.split(found[2])
        except ValueError:
            yield found[1], found[2].split()


def parser_of(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=command)
    importlib.import_module(f"buildfarm.commands.{command}").configure(parser)
    return parser


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Long options, those of subcommands included."""
    found = set()
    for action in parser._actions:
        found |= {option for option in action.option_strings if option.startswith("--")}
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                found |= options_of(sub)
    return found


def actions_of(parser: argparse.ArgumentParser) -> set[str]:
    return {
        name
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name in action.choices
    }


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_that_a_page_gives_exists(page: Path) -> None:
    for words in said_commands(page.read_text()):
        command, *rest = words
        assert command in COMMANDS, f"buildfarm {' '.join(words)}"
        parser = parser_of(command)
        rest = getattr(importlib.import_module(f"buildfarm.commands.{command}"), "arrange", list)(rest)
        ours = rest[: rest.index("--")] if "--" in rest else rest  # what follows is another program's
        options = {word.partition("=")[0] for word in ours if word.startswith("--")}
        assert options <= options_of(parser) | {"--help"}, f"buildfarm {' '.join(words)}"
        if (actions := actions_of(parser)) and rest and re.fullmatch("[a-z|]+", rest[0]):
            assert set(rest[0].split("|")) <= actions, f"buildfarm {' '.join(words)}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_in_the_reference(command: str) -> None:
    page = (ROOT / "docs" / "reference" / "commands.md").read_text()
    section = re.search(rf"^### `buildfarm {command}\b.*?(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert section, f"no section for buildfarm {command}"
    parser = parser_of(command)
    assert {option for option in options_of(parser) - {"--help"} if option not in section[0]} == set()
    assert {action for action in actions_of(parser) if action not in section[0]} == set()


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_ppa_tool_that_a_page_gives_exists(page: Path) -> None:
    for name, words in said_tools(page.read_text()):
        assert name in TOOLS, f"ppa-{name}"
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert options <= options_of(load_tool(name).parser()), f"ppa-{name} {' '.join(words)}"


@pytest.mark.parametrize("name", sorted({*TOOLS} - {"completion", "manpage"}))
def test_every_ppa_tool_and_option_is_in_the_reference(name: str) -> None:
    page = (ROOT / "docs" / "reference" / "ppa-tools.md").read_text()
    section = re.search(rf"^### `ppa-{name}`$.*?(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert section, f"no section for ppa-{name}"
    told = section[0] + page.partition("\n## Commands\n")[0].partition("\n## What all commands take\n")[2]
    assert {option for option in options_of(load_tool(name).parser()) - {"--help"} if option not in told} == set()


def test_the_reference_has_every_exit_status_of_the_ppa_tools() -> None:
    page = (ROOT / "docs" / "reference" / "ppa-tools.md").read_text()
    table = dict(re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE))
    assert {status: words.replace("`", "") for status, words in table.items()} == {
        str(int(status)): words for status, words in EXIT_WORDS.items()
    }


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_make_target_that_a_page_gives_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^ *make ([a-z][a-z-]*)", code(page.read_text()), re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_script_that_a_page_names_is_there(page: Path) -> None:
    for name in re.findall(r"(?<![\w-])(?<!etc/)((?:scripts|systemd|samples)/[\w./@-]*[\w/])", page.read_text()):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, target


def test_every_page_is_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    reached = {(index.parent / target.partition("#")[0]).resolve() for target in LINK.findall(index.read_text())}
    assert {page for page in PAGES if page.is_relative_to(index.parent)} - {index} <= reached


def test_the_settings_page_has_every_setting_with_its_default(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    shown = tomllib.loads(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0])
    (tmp_path / "farm.toml").write_text(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0])
    assert load_settings(tmp_path, environ={}) == Settings(tmp_path, tmp_path / "var", tmp_path / "recipes")
    known = {
        field.name: {inner.name for inner in dataclasses.fields(field.default)}
        for field in dataclasses.fields(Settings)
        if dataclasses.is_dataclass(field.default)
    }
    assert {name: set(table) for name, table in shown.items() if isinstance(table, dict)} == known
    for name, keys in known.items():
        section = page.partition(f"\n## `[{name}]`\n")[2].partition("\n## ")[0]
        assert {key for key in keys if f"| `{key}` |" not in section} == set(), name


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading) for heading in headings[1:])
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
