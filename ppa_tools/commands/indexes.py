"""Where apt reads what archives, and the distribution below them, have: the repositories."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ppa_tools.address import Address
from ppa_tools.commands.ends import CommandError, Exit, usage_error
from ppa_tools.commands.session import Session

if TYPE_CHECKING:
    from ppa_tools.apt.repositories import Repository


def add_base(parser: argparse._ActionsContainer) -> None:
    """What lies below the archives."""
    parser.add_argument(
        "--base",
        metavar="LINE",
        action="append",
        default=[],
        help="what they build upon, a line as in sources.list: 'deb [trusted=yes] URI SUITE COMPONENT...'; may be "
        "repeated (this machine's own, where it is of that series, or Ubuntu's)",
    )


def repository_of(opened: Session, address: Address, series: str) -> Repository:
    """Where apt reads an archive's series; raises NotThere, Unreachable, CommandError.

    The indexes of a PPA must be signed by the keys that Launchpad tells of it, where both are asked by TLS; what
    comes by plain HTTP is a Launchpad for tests.
    """
    from ppa_tools.apt.repositories import embedded_repository, launchpad_repository

    if address.backend == "local":
        return embedded_repository(address, series, opened.embedded_directory)
    from ppa_tools.archives.launchpad.instances import find_instance

    instance = find_instance(opened.instance)
    if not instance.content:
        raise CommandError(f"nobody knows where {opened.instance} serves PPAs to apt", status=Exit.USAGE)
    keyring = opened.keys_at(instance.archive_url(address)) if instance.api.startswith("https:") else b""
    return launchpad_repository(address, series, keyring=keyring, root=instance.content)


def base_of(
    addresses: Sequence[Address], series: str, architecture: str, lines: Sequence[str]
) -> Sequence[Repository]:
    """What lies below archives; raises CommandError (usage) for a line that is none, DoorError."""
    from ppa_tools.apt.repositories import base_repositories

    try:
        return base_repositories(addresses, series, [architecture], lines)
    except ValueError as error:
        raise usage_error(str(error)) from error


@contextlib.contextmanager
def readable_indexes() -> Iterator[None]:
    """Tell damaged indexes as a command's error."""
    from ppa_tools.apt.stanzas import IndexDamaged

    try:
        yield
    except IndexDamaged as error:
        raise CommandError(str(error), resolution="Its archive may just be changing: try again.") from error


def choose_architecture(named: str, known: Iterable[str], where: str) -> str:
    """The architecture that is named, or this machine's where it is there, or else the first that is there."""
    there = sorted(set(known))
    if named:
        if there and named not in there:
            raise usage_error(f"{where} has no {named}", f"It has {', '.join(there)}.")
        return named
    own = _own_architecture()
    return own if own in there or not there else there[0]


def _own_architecture() -> str:
    try:
        done = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # a machine without dpkg
        return "amd64"
    return done.stdout.strip()
