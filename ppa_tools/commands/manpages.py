"""Manual pages (man(7)) from parsers: what ``--help`` says, in the sections that readers of manuals look for."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from ppa_tools.commands.command import Command
from ppa_tools.commands.ends import EXIT_WORDS
from ppa_tools.commands.output import moment_text

WIDTH = 78
ENVIRONMENT = (
    ("PPA_LOCAL_ARCHIVE", "the embedded archive's directory, where --local-archive does not name it"),
    ("PPA_INSTANCE", "which Launchpad is meant, where --instance does not say"),
    ("LP_CREDENTIALS_FILE, LP_CREDENTIALS", "a credentials file of launchpadlib, or the text of one"),
    ("DEBSIGN_KEYID", "the key that signs sources which go from the embedded archive to Launchpad"),
    ("XDG_STATE_HOME", "where journals of changes are kept, in ppa-tools/ (~/.local/state)"),
    ("NO_COLOR", "when it is set and not empty, nothing is coloured"),
)


def manual_page(parser: argparse.ArgumentParser, command: Command | None, others: Sequence[str], at: float) -> str:
    """The manual page of a command, dated ``at`` (UTC seconds); of ``ppa`` itself where ``command`` is None."""
    return "".join(line + "\n" for line in _lines(parser, command, others, moment_text(at)[:10]))


def _lines(
    parser: argparse.ArgumentParser, command: Command | None, others: Sequence[str], date: str
) -> Iterator[str]:
    name = parser.prog
    summary = command.summary if command else "tools for PPAs, on Launchpad and in the embedded archive"
    yield f'.TH {_quoted(name.upper())} 1 {date} "PPA tools" "User Commands"'
    yield from (".SH NAME", rf"{_text(name)} \- {_text(summary)}")
    yield from (".SH SYNOPSIS", ".nf", *_synopsis(parser), ".fi")
    yield ".SH DESCRIPTION"
    yield from _paragraphs(command.description if command else parser.description or "")
    for group in parser._action_groups:
        if actions := [one for one in group._group_actions if one.help is not argparse.SUPPRESS]:
            yield f".SH {_quoted((group.title or 'options').upper())}"
            for action in actions:
                yield from _action(parser, action)
    if command:
        yield ".SH EXAMPLES"
        for example in command.examples:
            yield from (".TP", rf"\fB{_text(example.words)}\fP", _sentence(example.what))
    yield ".SH EXIT STATUS"
    for status, words in EXIT_WORDS.items():
        yield from (".TP", rf"\fB{int(status)}\fP", _text(words))
    yield ".SH ENVIRONMENT"
    for variable, words in ENVIRONMENT:
        yield from (".TP", rf"\fB{_text(variable)}\fP", _text(words))
    yield from (".SH SEE ALSO", ",\n".join(rf"\fB{_text(one)}\fP(1)" for one in others))


def _synopsis(parser: argparse.ArgumentParser) -> Iterator[str]:
    formatter = argparse.HelpFormatter(parser.prog, width=WIDTH)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    yield from (_text(line) for line in formatter.format_help().rstrip().splitlines())


def _action(parser: argparse.ArgumentParser, action: argparse.Action) -> Iterator[str]:
    if isinstance(action, argparse._SubParsersAction):
        for choice in action._choices_actions:
            yield from (".TP", rf"\fB{_text(choice.dest)}\fP", _text(choice.help or ""))
        return
    formatter = argparse.HelpFormatter(parser.prog, width=WIDTH)
    yield from (".TP", rf"\fB{_text(formatter._format_action_invocation(action))}\fP")
    words = formatter._expand_help(action) if action.help else ""
    if action.choices and action.metavar is None and not action.option_strings:
        words = ", ".join(map(str, action.choices))
    yield _text(words or "")


def _paragraphs(text: str) -> Iterator[str]:
    for at, paragraph in enumerate(text.strip().split("\n\n")):
        if at:
            yield ".PP"
        yield from (_text(line) for line in paragraph.splitlines())


def _sentence(text: str) -> str:
    return _text(text[:1].upper() + text[1:])


def _text(text: str) -> str:
    """Text as it stands: nothing in it is a request or an escape, and hyphens can be copied to a shell."""
    safe = text.strip().replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    return rf"\&{safe}" if safe.startswith(".") else safe


def _quoted(text: str) -> str:
    return f'"{_text(text)}"'
