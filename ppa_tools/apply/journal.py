"""The journal of what was asked of an archive, so that a run that was cut is taken up and nothing is asked twice.

A JSON line an event, synced before the run goes on: ``asking`` before something is asked for, then ``asked`` when
the archive has taken it, or ``not taken``; ``arrived`` when it was seen, ``given up`` when it never was. What is
``asking`` when a run begins may or may not have been taken. One journal a destination, locked while it is used.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import IO

from ppa_tools.address import Address
from ppa_tools.archives.door import DoorError
from ppa_tools.archives.durable import sync_directories, write_durably
from ppa_tools.plan.actions import Action, Kind

COMPACT_BYTES = 1 << 18
BATCH = re.compile(r"[0-9]{1,18}")
PLAIN_NAME = re.compile(r"[a-z]+")
STATE_VARIABLE = "XDG_STATE_HOME"


class JournalError(DoorError):
    """The journal cannot be used: another run has it, or it cannot be read or written."""


class State(enum.StrEnum):
    """How far something that is asked for has come."""

    ASKING = "asking"
    ASKED = "asked"
    NOT_TAKEN = "not taken"
    ARRIVED = "arrived"
    GIVEN_UP = "given up"


OPEN = (State.ASKING, State.ASKED)


@dataclass(frozen=True)
class Item:
    """What is asked for: a copy to, or a deletion from, a series of an archive."""

    kind: str
    archive: str
    series: str
    source: str
    version: str


@dataclass(frozen=True)
class Standing:
    """Where an item stands; ``at`` is when it was begun to be asked for, in UTC seconds."""

    state: State
    at: float
    batch: str


def item_of(action: Action) -> Item:
    """What the journal calls an action."""
    return Item(str(action.kind), str(action.archive), action.to_series, action.source, action.version)


class Journal:
    """What was asked of one destination. Only ``open_journal`` makes one."""

    def __init__(self, file: IO[bytes], standings: dict[Item, Standing], lines: int) -> None:
        self._file = file
        self._standings = standings
        self._lines = lines

    def standing(self, item: Item) -> Standing | None:
        """Where an item stands that was asked for and whose end is not known; else None."""
        found = self._standings.get(item)
        return found if found is not None and found.state in OPEN else None

    def open_members(self, batch: str) -> tuple[Item, ...]:
        """The items of a batch whose end is not known."""
        found = self._standings.items()
        return tuple(item for item, one in found if one.batch == batch and one.state in OPEN)

    def begin(self, items: Collection[Item], at: float) -> str:
        """Note that items are about to be asked for together; the name of that batch."""
        batch = f"{self._lines}"
        self._note(State.ASKING, items, at, batch)
        return batch

    def note(self, state: State, items: Collection[Item], at: float) -> None:
        """Note what has become of items."""
        if items:
            self._note(state, items, at, "")

    def _note(self, state: State, items: Collection[Item], at: float, batch: str) -> None:
        entry = {"at": at, "state": str(state), "batch": batch, "items": [astuple(item) for item in items]}
        with _explained(Path(self._file.name)):
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        self._lines += 1
        _follow(self._standings, state, items, at, batch)


@contextlib.contextmanager
def open_journal(
    destination: Address, instance: str, *, environment: Mapping[str, str] = os.environ
) -> Iterator[Journal]:
    """The journal of a destination, alone; ``instance`` is Launchpad's, or the embedded archive's directory.

    It lies below $XDG_STATE_HOME/ppa-tools, else ~/.local/state/ppa-tools. Raises JournalError.
    """
    path = journal_path(destination, instance, environment)
    with contextlib.ExitStack() as stack:
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            stack.enter_context(_alone(path.with_suffix(".lock"), destination))
            standings, lines = _read(path)
            file = stack.enter_context(path.open("ab"))
            sync_directories([path.parent, path.parent.parent])  # a new journal outlives a loss of power, too
        yield Journal(file, standings, lines)


def open_items(
    destination: Address, instance: str, *, environment: Mapping[str, str] = os.environ
) -> tuple[Item, ...]:
    """What was asked of a destination and is not known to have ended; others may be at it. Raises JournalError."""
    path = journal_path(destination, instance, environment)
    with _explained(path):
        content = path.read_bytes() if path.exists() else b""
    standings, _ = _parse(content[: content.rfind(b"\n") + 1], path)
    return tuple(item for item, one in standings.items() if one.state in OPEN)


def journal_path(destination: Address, instance: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the journal of a destination lies."""
    home = Path.home() / ".local/state"
    state = Path(environment.get(STATE_VARIABLE) or home)
    where = instance
    if not PLAIN_NAME.fullmatch(instance):
        where = hashlib.sha256(instance.encode()).hexdigest()[:12]
    name = f"{destination.backend}-{destination.owner}-{destination.name}"
    return (state if state.is_absolute() else home) / "ppa-tools" / f"{name}@{where}.jsonl"


@contextlib.contextmanager
def _alone(path: Path, destination: Address) -> Iterator[None]:
    with path.open("a+") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            who = file.read().strip()
            raise JournalError(
                f"another run is changing {destination}" + (f": process {who}" if who else ""),
                resolution="Wait until it has ended, and run this again.",
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _read(path: Path) -> tuple[dict[Item, Standing], int]:
    """The standings, and a number for the next batch; cuts a half-written last line off, and a long past."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}, 0
    whole = content[: content.rfind(b"\n") + 1]
    standings, count = _parse(whole, path)
    if len(content) > COMPACT_BYTES:
        write_durably(path, b"".join(_lines_of(standings)))
    elif whole != content:
        write_durably(path, whole)
    return standings, count


def _parse(whole: bytes, path: Path) -> tuple[dict[Item, Standing], int]:
    standings: dict[Item, Standing] = {}
    lines = whole.splitlines()
    next_batch = len(lines)
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            items = [Item(*map(_text, one)) for one in entry["items"]]
            state, at, batch = State(entry["state"]), float(entry["at"]), str(entry["batch"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise JournalError(
                f"{path}, line {number}, cannot be read",
                resolution="It says what was asked for and has not come. Mend it; or, where nothing is on its way "
                "any more, remove it.",
            ) from error
        next_batch = max(next_batch, int(batch) + 1 if BATCH.fullmatch(batch) else 0)
        _follow(standings, state, items, at, batch)
    return standings, next_batch


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _lines_of(standings: Mapping[Item, Standing]) -> Iterable[bytes]:
    """The lines that say where open items stand."""
    begun: dict[tuple[str, float], list[Item]] = {}
    asked: list[Item] = []
    for item, standing in standings.items():
        if standing.state in OPEN:
            begun.setdefault((standing.batch, standing.at), []).append(item)
            asked += [item] if standing.state is State.ASKED else []
    for (batch, at), items in begun.items():
        entry = {"at": at, "state": "asking", "batch": batch, "items": [astuple(one) for one in items]}
        yield json.dumps(entry).encode() + b"\n"
    if asked:
        entry = {"at": 0.0, "state": "asked", "batch": "", "items": [astuple(one) for one in asked]}
        yield json.dumps(entry).encode() + b"\n"


def _follow(standings: dict[Item, Standing], state: State, items: Iterable[Item], at: float, batch: str) -> None:
    """Take an event in. A copy that has arrived vouches for all of its batch: it was taken."""
    taken = set()
    for item in items:
        before = standings.get(item)
        if state is State.ASKING or before is None:
            standings[item] = Standing(state, at, batch)
            continue
        standings[item] = Standing(state, before.at, before.batch)
        if state is State.ARRIVED and before.state is State.ASKING and item.kind == Kind.COPY:
            taken.add(before.batch)
    if taken:
        asking = [(item, one) for item, one in standings.items() if one.state is State.ASKING]
        standings.update((item, replace(one, state=State.ASKED)) for item, one in asking if one.batch in taken)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise JournalError(
            f"the journal {path} cannot be used: {error.strerror or error}",
            resolution=f"Make it writable, or set ${STATE_VARIABLE} to a directory that is.",
        ) from error
