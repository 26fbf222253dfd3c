"""The arguments that the commands share: archives, moments, durations, packages, series, and how it is printed."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ppa_tools.address import Address, parse_address
from ppa_tools.archives.words import read_size

if TYPE_CHECKING:
    from ppa_tools.plan.choosing import Wanted
    from ppa_tools.plan.facts import Terms

INSTANCE_VARIABLE = "PPA_INSTANCE"
ARCHIVE = "PPA"
ARCHIVE_HELP = "ppa:OWNER/NAME on Launchpad, local:OWNER/NAME in the embedded archive"
DURATION = re.compile("".join(rf"(?:(\d{{1,9}}){unit})?" for unit in "wdhms"))
COUNT = re.compile(r"\d{1,9}")
DURATION_UNITS_S = (7 * 86400, 86400, 3600, 60, 1)
FORMATS = ("table", "json", "csv", "lines")

T = TypeVar("T")


@dataclass(frozen=True)
class AddressAt:
    """An archive as it is now (``when`` is None), or was at a moment or a snapshot (its words)."""

    address: Address
    when: str | None = None

    def __str__(self) -> str:
        return str(self.address) if self.when is None else f"{self.address}@{self.when}"


def _argument(read: Callable[[str], T]) -> Callable[[str], T]:
    """For argparse: what ``read`` says of a wrong value is what the user reads."""

    def typed(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return typed


def read_address_at(text: str) -> AddressAt:
    """PPA or PPA@WHEN; raises ValueError."""
    words, at, when = text.partition("@")
    if at and not when:
        raise ValueError(f"{text!r} lacks a date or a snapshot's name after the @: ppa:owner/name@2026-11-01")
    return AddressAt(parse_address(words), when if at else None)


def _read_package(text: str) -> Wanted:
    from ppa_tools.plan.choosing import parse_wanted

    return parse_wanted(text)


def read_duration(text: str) -> float:
    """Seconds, from 90s, 30m, 1h30m, 7d, 2w; raises ValueError."""
    found = DURATION.fullmatch(text.strip())
    if not text.strip() or found is None:
        raise ValueError(f"{text!r} is no length of time: 90s, 30m, 1h30m, 7d or 2w is wanted")
    return float(sum(int(part or 0) * unit for part, unit in zip(found.groups(), DURATION_UNITS_S, strict=True)))


def read_count(text: str) -> int:
    """A number, not negative; raises ValueError."""
    if not COUNT.fullmatch(text):
        raise ValueError(f"{text!r} is no number, or too large")
    return int(text)


address = _argument(parse_address)
address_at = _argument(read_address_at)
package = _argument(_read_package)
duration = _argument(read_duration)
count = _argument(read_count)
size = _argument(read_size)


def add_source_and_destination(parser: argparse.ArgumentParser) -> None:
    """Where packages come from, and where they go."""
    parser.add_argument("source", metavar="SRC", type=address, help=f"from: {ARCHIVE_HELP}")
    parser.add_argument("destination", metavar="DST", type=address, help="to: as SRC")


def add_format(parser: argparse.ArgumentParser) -> None:
    """For people, or for programs; and what it has cost."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--format",
        choices=FORMATS,
        default="table",
        help="table for people; json, csv and lines (tabs between, no heading) for programs",
    )
    group.add_argument("--stats", action="store_true", help="say at the end how many requests, bytes and seconds")


def add_archives(parser: argparse.ArgumentParser) -> None:
    """Where archives are."""
    group = parser.add_argument_group("archives")
    group.add_argument(
        "--instance",
        default=os.environ.get(INSTANCE_VARIABLE) or "production",
        metavar="NAME",
        help=f"Launchpad's: production, staging, qastaging, or a URL (${INSTANCE_VARIABLE}, or production)",
    )
    group.add_argument(
        "--local-archive",
        metavar="DIR",
        type=Path,
        help="the embedded archive's directory ($PPA_LOCAL_ARCHIVE, or what is found in the working directory)",
    )


def add_filters(parser: argparse._ActionsContainer, what: str) -> None:
    """Some packages of an archive, by patterns."""
    parser.add_argument(
        "--include", metavar="GLOB", action="append", default=[], help=f"{what} whose names match; may be repeated"
    )
    parser.add_argument(
        "--exclude", metavar="GLOB", action="append", default=[], help="but not these; may be repeated"
    )


def add_series(parser: argparse._ActionsContainer, help_text: str = "this series alone; may be repeated") -> None:
    """Some series."""
    parser.add_argument("--series", metavar="NAME", action="append", default=[], help=help_text)


def add_waiting(parser: argparse.ArgumentParser, limit: str) -> None:
    """Whether to see it through, and how long."""
    group = parser.add_argument_group("waiting")
    group.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="look until all that was asked for has come (--wait, the default), or leave that to the next run",
    )
    add_limit(group, limit)


def add_limit(parser: argparse._ActionsContainer, default: str) -> None:
    """How long to wait at most."""
    parser.add_argument(
        "--limit",
        metavar="TIME",
        type=duration,
        default=read_duration(default),
        help=f"wait no longer than this: 90s, 30m, 1h30m ({default})",
    )


def add_series_pairs(parser: argparse._ActionsContainer) -> None:
    """From which series to which."""
    parser.add_argument(
        "--from-series", metavar="NAME", action="append", default=[], help="series of SRC; may be repeated (all)"
    )
    parser.add_argument(
        "--to-series",
        metavar="NAME",
        action="append",
        default=[],
        help="series of DST, in the same order (the same series)",
    )


def add_terms(parser: argparse.ArgumentParser) -> None:
    """How copies are made."""
    group = parser.add_argument_group("how to copy")
    group.add_argument(
        "--with-binaries", action="store_true", default=True, help="copy what was built, too (the default)"
    )
    group.add_argument(
        "--rebuild", dest="with_binaries", action="store_false", help="copy sources alone, to be built"
    )
    group.add_argument("--unembargo", action="store_true", help="consent that what is private becomes public")
    group.add_argument(
        "--incomplete", action="store_true", help="copy what failed to build on some architectures, too"
    )


def terms(args: argparse.Namespace) -> Terms:
    """How copies are wanted, by the arguments of ``add_terms``."""
    from ppa_tools.plan.facts import Terms

    return Terms(args.with_binaries, args.unembargo, args.incomplete)
