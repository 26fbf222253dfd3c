"""The ``buildfarm`` command: finds the subcommand and imports only what that one needs."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence

from buildfarm import __version__
from buildfarm.errors import FarmError, FarmTrouble, UsageError
from ppa_tools.plain_text import plain

# name -> one line for --help; the module is buildfarm.commands.<name>, with configure(parser) and run(args), and
# where a word may be left out with arrange(words) -> words.
COMMANDS = {
    "check": "read every recipe and say what is wrong, with file, line and column",
    "recipe": "show a recipe as the farm understands it, and where each value comes from",
    "up": "start the farm: master, workers, archive",
    "down": "stop the farm; what was running goes on at the next up",
    "status": "what runs here, and what the last runs came to",
    "logs": "show the farm's own logs",
    "reload": "take up changed recipes without losing running work",
    "follow": "watch runs as a live table of stages",
    "notify": "tell the farm that a trunk has a new commit (for push hooks)",
    "hook": "install a push hook in a repository",
    "run": "run a recipe's stages on this machine, without Buildbot",
    "stage": "run one stage in a workspace",
    "worker": "be a latent worker, on the machine that its master started for it",
    "archive": "PPAs of the embedded archive: create, list, show, serve",
    "root": "root file systems for clean builds: make, list, remove",
    "rebuild": "rebuild packages that nobody touched, and see what broke",
    "repro": "have a kept rebuild's very environment again, in a shell",
    "vm": "machines that packages are tried in, and their images",
    "demo": "make the demonstration trunks and follow a commit to an installed package",
}

FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 1 failed, 2 wrong usage or input, 3 farm trouble."""
    words = _arrange(list(sys.argv[1:] if argv is None else argv))
    parser = _parser(words)
    args = parser.parse_args(words)
    if args.command is None:
        parser.print_help()
        return 2
    if args.home is not None:
        os.environ["BUILDFARM_HOME"] = os.path.realpath(args.home)
    try:
        status: int = importlib.import_module(f"buildfarm.commands.{args.command}").run(args)
    except UsageError as error:
        print(f"buildfarm {args.command}: {plain(str(error))}", file=sys.stderr)
        return 2
    except FarmError as error:
        print(f"buildfarm {args.command}: {plain(str(error))}", file=sys.stderr)
        return 3 if isinstance(error, FarmTrouble) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if (told := _in_words(error)) is None:
            raise
        print(f"buildfarm {args.command}: {told}", file=sys.stderr)
        return 3
    return status


def _in_words(error: OSError) -> FarmTrouble | None:
    """What the system refused, where the machine's people can mend it; None for what only the farm's can."""
    if error.errno in FULL:
        return FarmTrouble(str(error.strerror), where=str(error.filename or "a disk of the farm"))
    if error.errno in REFUSED and error.filename is not None:
        return FarmTrouble(
            str(error.strerror),
            where=str(error.filename),
            resolution="If it lies in the farm's home: `buildfarm --home DIR`, BUILDFARM_HOME or `home` in "
            "farm.toml names a directory that you must be able to read and write.",
        )
    return None


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="buildfarm", description="A packaging and regression build farm.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"buildfarm {__version__}")
    parser.add_argument("--home", metavar="DIR", help="where the farm keeps its state (default: var/)")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    wanted = _command_in(words)
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == wanted:
            importlib.import_module(f"buildfarm.commands.{name}").configure(sub)
    return parser


def _arrange(words: list[str]) -> list[str]:
    """The words with those that the command's own module puts in."""
    wanted = _command_in(words)
    if wanted not in COMMANDS:
        return words
    arrange = getattr(importlib.import_module(f"buildfarm.commands.{wanted}"), "arrange", None)
    at = words.index(wanted) + 1
    return words if arrange is None else [*words[:at], *arrange(words[at:])]


def _command_in(words: Sequence[str]) -> str | None:
    """The first word that is no option, nor an option's value."""
    rest = iter(words)
    for word in rest:
        if word == "--home":
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return None


if __name__ == "__main__":
    sys.exit(main())
