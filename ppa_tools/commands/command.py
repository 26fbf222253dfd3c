"""A command as an object: its arguments, its help with examples, and the one way in which all are run."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ppa_tools.archives.door import DoorError
from ppa_tools.commands.ends import EXIT_WORDS, CommandError, Exit, judged
from ppa_tools.commands.output import note

HELP_WIDTH = 79
MEND = "Mend that, and give the same command again."
INTERRUPTED = "interrupted; nothing was being changed"


@dataclass(frozen=True)
class Example:
    """What somebody gives, and what comes of it."""

    words: str
    what: str


class Parser(argparse.ArgumentParser):
    """A parser that says in two lines what is wrong, instead of half a screen of usage."""

    def error(self, message: str) -> NoReturn:
        """End with what is wrong, and where to read on."""
        self.exit(Exit.USAGE, f"{self.prog}: {message}\n  `{self.prog} --help` shows what it takes.\n")


@dataclass(frozen=True)
class Command:
    """One command. Called, it runs with the process's arguments, and returns the exit status.

    ``name`` is what it is installed as; ``ppa`` knows it without the ``ppa-``. ``run`` returns an exit status, or
    raises CommandError or DoorError.
    """

    name: str
    summary: str
    description: str
    examples: tuple[Example, ...]
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]

    @property
    def short(self) -> str:
        """Its name as a word after ``ppa``."""
        return self.name.removeprefix("ppa-")

    def parser(self, prog: str = "") -> argparse.ArgumentParser:
        """Its parser, with help and examples; ``prog`` is what it is called as."""
        parser = Parser(prog=prog or self.name, **self.words)
        self.configure(parser)
        return parser

    @property
    def words(self) -> dict[str, Any]:
        """What makes a parser's help, for ``ArgumentParser`` and ``add_parser``."""
        return {
            "description": f"{self.summary[0].upper()}{self.summary[1:]}.\n\n{_folded(self.description)}",
            "epilog": f"Examples:\n{self._examples_text()}\n\nExit status:\n{_ends_text()}",
            "formatter_class": argparse.RawDescriptionHelpFormatter,
            "allow_abbrev": False,
        }

    def __call__(self, argv: Sequence[str] | None = None, prog: str = "") -> int:
        """Run it; errors are told on standard error, without tracebacks."""
        words = list(sys.argv[1:] if argv is None else argv)
        _have_streams()
        parser = self.parser(prog)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, _interrupt)
        try:
            status = int(self.run(parser.parse_intermixed_args(words)))
            sys.stdout.flush()
            return status
        except CommandError as error:
            return self._failed(error.status, str(error))
        except DoorError as error:
            return self._failed(*judged(error))
        except KeyboardInterrupt:
            return self._failed(Exit.INTERRUPTED, INTERRUPTED)
        except BrokenPipeError:  # whoever read the output has gone: nobody is left to be told
            _drop_output()
            return Exit.BROKEN_PIPE
        except OSError as error:  # a full disk, a directory that may not be written to
            _drop_output()
            return self._failed(Exit.IN_PART, f"this machine is in the way: {error}\n  {MEND}")

    def _failed(self, status: Exit, message: str) -> int:
        sys.stdout.flush()
        note(f"{self.name}: {message}")
        return status

    def _examples_text(self) -> str:
        return "\n".join(f"  {one.words}\n      {one.what}" for one in self.examples)


def _have_streams() -> None:
    """Stand in for standard streams that are closed, so that no journal or connection gets their numbers.

    Writing to a standard output that is closed fails, as it should. What its encoding lacks is written as escapes.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            file = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            if file != number:
                os.dup2(file, number)
                os.close(file)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Write what can still be written, and no more: it may be what failed."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(*_: object) -> None:
    """Ctrl-C ends in order, once answers that are on their way have come; given again, at once.

    Nothing is lost then, either: what was asked for is in the journal before it is asked for.
    """
    signal.signal(signal.SIGINT, lambda *_: os._exit(Exit.INTERRUPTED))
    raise KeyboardInterrupt


def _folded(text: str) -> str:
    return "\n\n".join(textwrap.fill(one, HELP_WIDTH) for one in text.split("\n\n"))


def _ends_text() -> str:
    return "\n".join(f"  {status:<4d}{words}" for status, words in EXIT_WORDS.items())
