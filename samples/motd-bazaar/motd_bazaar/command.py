"""The command line of motd-bazaar."""

import argparse
import datetime
from collections.abc import Sequence

from motd_bazaar import saying_of, sayings


def main(argv: Sequence[str] | None = None) -> int:
    """Print the saying of a day; returns the exit status."""
    parser = argparse.ArgumentParser(prog="motd-bazaar", description="Print the day's saying.")
    parser.add_argument(
        "--date",
        type=datetime.date.fromisoformat,
        default=datetime.date.today(),
        metavar="YYYY-MM-DD",
        help="the saying of this day (default: today's)",
    )
    arguments = parser.parse_args(argv)
    print(saying_of(arguments.date, sayings()))
    return 0
