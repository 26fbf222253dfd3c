"""The command line of hello-farm."""

import argparse
from collections.abc import Sequence

from hello_farm import GREETINGS, greeting, version


def main(argv: Sequence[str] | None = None) -> int:
    """Print a greeting; returns the exit status."""
    parser = argparse.ArgumentParser(prog="hello-farm", description="Greet whoever is named.")
    parser.add_argument("name", nargs="?", default="world", help="default: %(default)s")
    parser.add_argument("--language", choices=sorted(GREETINGS), default="en")
    parser.add_argument("--version", action="version", version=f"hello-farm {version()}")
    arguments = parser.parse_args(argv)
    print(f"{greeting(arguments.name, arguments.language)} This is hello-farm {version()}.")
    return 0
