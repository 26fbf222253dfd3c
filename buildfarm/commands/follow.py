"""``buildfarm follow``: watch runs as a live table of stages with times."""

from __future__ import annotations

import argparse

from buildfarm.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "run", nargs="*", metavar="RUN", help="runs to watch to their end (default: what runs now)"
    )
    parser.add_argument("--recipe", default="", help="only runs of this recipe")
    parser.epilog = "Exit status, with RUN given: 0 all passed, 1 a package failed, 3 the farm's own trouble."


def run(args: argparse.Namespace) -> int:
    """Show runs; without RUN until interrupted."""
    from rich.console import Console

    from buildfarm import terminal
    from buildfarm.history import open_history
    from buildfarm.settings import load_settings

    settings = load_settings()
    if not settings.history_file.exists():
        raise UsageError("nothing has run here yet", resolution="Start the farm with `buildfarm up`, then commit.")
    history = open_history(settings.history_file)
    console = Console()
    if not args.run:
        terminal.follow(
            history,
            lambda: terminal.shown_runs(history, args.recipe),
            console,
            done=lambda _runs: False,
            note=lambda: terminal.waiting_words(history, args.recipe),
        )
        return 0
    missing = [name for name in args.run if history.run(name) is None]
    if missing:
        raise UsageError(f"no run {missing[0]!r}", resolution="`buildfarm status` names the last ones.")
    runs = terminal.follow(
        history,
        lambda: [one for name in args.run if (one := history.run(name)) is not None],
        console,
        done=terminal.all_ended,
    )
    for text in terminal.failures(history, runs, settings):
        console.print(f"\n{text}", end="", markup=False, highlight=False, soft_wrap=True)
    return terminal.worst(runs).exit_status
