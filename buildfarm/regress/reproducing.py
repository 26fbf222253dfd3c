"""A kept build again: its very environment and source, here or on another machine, built again or open in a shell.

A **pack** is one tar file with all that takes: ``order.json``, ``manifest.json``, ``debs/SHA256`` of every package
of the environment, ``source/NAME``. Whoever unpacks it believes no name in it and checks every content.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import socket
import tarfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from buildfarm.build.bootstrap import private_directory
from buildfarm.build.building import (
    PLACE,
    build_script,
    builder_orders,
    packed_source,
    tree_name,
)
from buildfarm.build.debs import link_or_copy
from buildfarm.build.manifest import Manifest, read_manifest
from buildfarm.build.namespaces import Held, hold, read_status
from buildfarm.build.plain_tar import read_members
from buildfarm.errors import FarmTrouble, UsageError
from buildfarm.files import read_json, sha256_of
from buildfarm.regress.fetching import fetch_source
from buildfarm.regress.model import SourceFile
from buildfarm.regress.one_build import ORDER, Attempt, read_report, tried
from buildfarm.regress.orders import BuildOrder
from buildfarm.regress.places import Places, places_of
from buildfarm.regress.source_index import source_cache
from buildfarm.settings import Settings

MEMBER = re.compile(r"order\.json|manifest\.json|debs/[0-9a-f]{64}|source/[A-Za-z0-9][A-Za-z0-9.+~_-]*")
JSON_LIMIT_BYTES = 64 << 20
MEMBERS_LIMIT = 20_000


@dataclass(frozen=True)
class Kept:
    """A build that can be had again: its order, with the environment that it ran in."""

    order: BuildOrder
    told: str


def find_kept(number: int, settings: Settings) -> Kept:
    """The kept build of a number; raises UsageError when it is not kept, or no environment ever stood for it."""
    places = places_of(settings)
    directory = places.build(number)
    report = read_report(directory)
    if report is None:
        raise UsageError(
            f"build #{number} is not kept here",
            where=str(directory),
            resolution="`buildfarm rebuild report --since 30d` names those that are.",
        )
    if not report.environment:
        raise UsageError(
            f"build #{number} never had an environment: {report.reason}",
            resolution="Only its dependencies could be tried again.",
        )
    try:
        order = BuildOrder.from_json(read_json(directory / ORDER))
    except (FileNotFoundError, ValueError) as error:
        raise FarmTrouble(f"the order of build #{number} is damaged: {error}") from error
    told = f"build #{number}: {order.job.package} {order.job.version}, {report.outcome}: {report.reason}"
    return Kept(replace(order, environment=report.environment, culprit=None), told)


# Packs


def write_pack(kept: Kept, path: Path, settings: Settings, log: BinaryIO) -> int:
    """Write all that a build takes into one file; returns how many bytes it has. Raises FarmError."""
    places = places_of(settings)
    manifest = places.manifest(kept.order.environment)
    places.store.fetch(one.deb for one in manifest.packages)
    beside = path.with_name(f".{path.name}.part")
    try:
        with tarfile.open(beside, "w", format=tarfile.GNU_FORMAT) as pack, own_place(settings) as source:
            _add_text(pack, "order.json", json.dumps(kept.order.to_json()))
            pack.add(places.manifest_path(kept.order.environment), "manifest.json")
            for sha256 in sorted({one.sha256 for one in manifest.packages}):
                pack.add(places.store.path(sha256), f"debs/{sha256}")
            fetch_source(kept.order.job, source, source_cache(settings))
            for one in sorted(source.iterdir()):
                pack.add(one, f"source/{one.name}")
        beside.replace(path)
    except OSError as error:
        raise FarmTrouble(f"{path} cannot be written: {error}", resolution="Is there room for it?") from error
    finally:
        beside.unlink(missing_ok=True)
    log.write(f"{kept.told}\n{len(manifest.packages)} packages and the source are in {path}\n".encode())
    return path.stat().st_size


def _add_text(pack: tarfile.TarFile, name: str, text: str) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(text.encode())
    pack.addfile(info, io.BytesIO(text.encode()))


def read_pack(path: Path, settings: Settings) -> Kept:
    """Take in a pack: its packages and source are then kept here. Raises UsageError for a file that is none."""
    places = places_of(settings)
    with own_place(settings) as taken:
        try:
            with path.open("rb") as pack:
                _unpack(pack, taken)
            order = BuildOrder.from_json(read_json(taken / "order.json"))
            manifest = read_manifest(taken / "manifest.json")
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{path} is no pack of a build: {error}", resolution="`buildfarm repro N --pack FILE` makes one."
            ) from error
        if manifest.id != order.environment:
            raise UsageError(f"{path} contradicts itself: its packages are not those of its build")
        _take_in(manifest, taken, places)
        source = places.packs / sha256_of(path)
        if not source.is_dir():
            source.parent.mkdir(exist_ok=True)
            (taken / "source").mkdir(exist_ok=True)
            (taken / "source").rename(source)
        os.utime(source)  # when it was last wanted
    local = tuple(_local(one, source) for one in order.job.files)
    told = f"{order.job.package} {order.job.version}, from {path}"
    return Kept(replace(order, job=replace(order.job, files=local)), told)


def _unpack(pack: BinaryIO, taken: Path) -> None:
    for number, member in enumerate(read_members(pack)):
        if number >= MEMBERS_LIMIT or not MEMBER.fullmatch(member.name):
            raise ValueError(f"{member.name[:100]!r} does not belong into one")
        if member.name.endswith(".json") and member.size_bytes > JSON_LIMIT_BYTES:
            raise ValueError(f"{member.name} is too long")
        target = taken / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        member.copy_to(target)


def _take_in(manifest: Manifest, taken: Path, places: Places) -> None:
    for one in manifest.packages:
        file = taken / "debs" / one.sha256
        if not file.is_file() or sha256_of(file) != one.sha256:
            raise UsageError(f"the pack's file of {one.name} {one.version} is not what its name says")
        file.chmod(0o644)
        link_or_copy(file, places.store.path(one.sha256))
    manifest.write(places.manifest_path(manifest.id))


def _local(one: SourceFile, directory: Path) -> SourceFile:
    return replace(one, url=(directory / one.name).resolve().as_uri())


# Here


def own_place(settings: Settings) -> AbstractContextManager[Path]:
    """A directory for what is built again, on the farm's disk; any number of commands may at once."""
    return private_directory(places_of(settings).root / "again")


def open_shell(kept: Kept, settings: Settings, log: BinaryIO, *, build: bool, network: bool) -> int:
    """Put up a build's environment, build there until it ends (unless ``build`` is false), and open a shell in the
    tree as it was left, on this process' own standard streams; returns the shell's exit status. Raises FarmError.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(own_place(settings))
        attempt = stack.enter_context(tried(kept.order, directory, settings, log))
        held = _enter(attempt, stack, network=network)
        if build:
            status = _do(held, ["sh", "-c", f"cd {PLACE}\n{build_script(attempt.build)}"])
            log.write(f"\nthe build ended with exit status {status}\n".encode())
        else:
            words = shlex.join(["dpkg-source", "--no-check", "-x", attempt.build.dsc, tree_name(attempt.build)])
            script = f"cd {PLACE} && {words}"
            _do(held, ["sh", "-c", script])
        log.write(f"a shell in {PLACE}/{tree_name(attempt.build)}; leave it with exit\n".encode())
        log.flush()
        return _do(held, _shell(attempt))


def _enter(attempt: Attempt, stack: ExitStack, *, network: bool) -> Held:
    scratch = stack.enter_context(private_directory(attempt.build.scratch))
    orders = replace(builder_orders(attempt.build), scratch=scratch, unpack=False, network=network)
    held = stack.enter_context(hold(orders))
    with packed_source(attempt.build.files) as stream:
        status = _do(held, ["tar", "-x", "-C", PLACE], stream.fileno())
    if status != 0:
        raise FarmTrouble(f"the source cannot be unpacked: tar ended with {status}")
    return held


def _shell(attempt: Attempt) -> Sequence[str]:
    """A shell with a terminal of its own where there is one: job control wants that."""
    line = f"cd {PLACE}/{shlex.quote(tree_name(attempt.build))} 2>/dev/null || cd {PLACE}; exec bash"
    if os.isatty(0):
        return ["script", "-qec", line, "/dev/null"]
    return ["sh", "-c", line]


def _do(held: Held, argv: Sequence[str], stdin: int = 0) -> int:
    """Run a command inside on our own streams."""
    mine, theirs = socket.socketpair()
    with mine:
        with theirs:
            held.start(argv, (stdin, 1, 2), theirs.fileno())
        mine.settimeout(None)
        status = read_status(mine)
    return 1 if status is None else status
