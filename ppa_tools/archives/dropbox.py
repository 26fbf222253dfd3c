"""Where clients like dput leave the files of an upload: a private directory a session, and its rules.

Names are checked and sizes limited while files come in. A .changes that comes when all the files it names are here
is judged at once; one that comes before any of them waits for all of them; one that comes among them is refused.
What was judged leaves nothing here, and neither does a session that has ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ppa_tools.archives.checks import TEXT_LIMIT_BYTES
from ppa_tools.archives.control import check_file_name
from ppa_tools.archives.desk import Desk, Sent, distribution_of, words_for
from ppa_tools.archives.errors import ArchiveError, UnknownPPA, UploadRefused
from ppa_tools.archives.incoming import Limits
from ppa_tools.archives.local import Receipt
from ppa_tools.archives.upload_paths import Target

ROOM_CHECKED_EVERY_BYTES = 16 << 20


@dataclass(frozen=True)
class DropLimits:
    """What strangers may take up; sizes in bytes. ``upload`` is what one session may leave, ``files_at_once`` are
    on their way in it at a time.

    ``free_bytes`` stay free on the disk, whatever comes. A session ends when nothing came for ``idle_s``, and in
    any case after ``session_s``; when all are taken, one in which nothing came for ``quiet_s`` gives way.
    """

    upload: Limits = field(default_factory=Limits)
    sessions: int = 32
    sessions_per_peer: int = 8
    files_at_once: int = 8
    all_bytes: int = 16 << 30
    free_bytes: int = 1 << 30
    quiet_s: float = 30.0
    idle_s: float = 300.0
    session_s: float = 6 * 3600.0


class NameNotTaken(ArchiveError):
    """A file cannot be left under this name."""


class TooLarge(ArchiveError):
    """A file, or what a session leaves, is over its limit."""


class NoRoom(ArchiveError):
    """There is no room now; later there may be."""


class Full(NoRoom):
    """There are as many sessions as there may be."""


@dataclass(frozen=True)
class Outcome:
    """What follows from a file that has come, in ``words``; ``receipt`` once its upload was accepted."""

    words: str
    missing: tuple[str, ...] = ()
    receipt: Receipt | None = None


@dataclass(frozen=True)
class _Announced:
    """A .changes whose signature holds, and the files it names."""

    sent: Sent
    named: frozenset[str]


@dataclass
class _Pile:
    """The files of a session for one target: their sizes in bytes, and the .changes among them that were read."""

    directory: Path
    sizes: dict[str, int] = field(default_factory=dict)
    announced: dict[str, _Announced] = field(default_factory=dict)

    def missing(self, one: _Announced) -> tuple[str, ...]:
        """What a .changes names and has not come."""
        return tuple(sorted(one.named - self.sizes.keys()))

    def surplus(self, one: _Announced) -> tuple[str, ...]:
        """What came and the .changes does not name."""
        return tuple(sorted(self.sizes.keys() - one.named - {one.sent.name}))

    def forget(self, names: set[str]) -> None:
        """Remove files."""
        for name in names & self.sizes.keys():
            (self.directory / name).unlink(missing_ok=True)
            del self.sizes[name]
            self.announced.pop(name, None)


class Dropboxes:
    """All open sessions of one process, below a directory of its own in ``root``. Its methods do not wait."""

    def __init__(self, root: Path, desk: Desk, limits: DropLimits) -> None:
        """Begin, and remove what processes that are gone have left."""
        self.desk, self.limits = desk, limits
        self._open: set[Dropbox] = set()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _held(root):
            for left in root.iterdir():
                with contextlib.suppress(BlockingIOError), _held(left):  # held: another server's
                    shutil.rmtree(left, ignore_errors=True)
            self.home = Path(tempfile.mkdtemp(dir=root))
            self._hold = contextlib.ExitStack()
            self._hold.enter_context(_held(self.home))

    def open(self, peer: str, via: str, *, keeps_surplus: bool = False) -> Dropbox:
        """A session of ``peer``, an internet address or what else tells them apart; raises NoRoom.

        ``keeps_surplus``: files that a .changes does not name may belong to another upload, and stay.
        """
        household = _household(peer)
        if sum(box.household == household for box in self._open) >= self.limits.sessions_per_peer:
            raise NoRoom("too many uploads of yours are under way; let one of them end")
        if sum(not box.is_ending for box in self._open) >= self.limits.sessions:
            raise Full("too many uploads are under way; try again later")
        try:
            box = Dropbox(self, household, via, keeps_surplus=keeps_surplus)
        except OSError as error:
            raise NoRoom(f"the archive cannot write: {error.strerror}") from error
        self._open.add(box)
        return box

    def forget(self, box: Dropbox) -> None:
        """A session has ended."""
        self._open.discard(box)

    def check_room(self, more_bytes: int) -> None:
        """Raise NoRoom unless ``more_bytes`` may come."""
        if sum(box.size_bytes for box in self._open.copy()) + more_bytes > self.limits.all_bytes:
            raise NoRoom("the uploads under way fill the room there is for them; try again later")
        if shutil.disk_usage(self.home).free - more_bytes < self.limits.free_bytes:
            raise NoRoom("the archive's disk is nearly full; try again later")

    def close(self) -> None:
        """End all sessions, and remove what there is; may wait."""
        for box in self._open.copy():
            box.close()
        shutil.rmtree(self.home, ignore_errors=True)
        self._hold.close()


class Dropbox:
    """One session: what a client has left so far. Of its methods ``settle`` and ``close`` may wait."""

    def __init__(self, boxes: Dropboxes, household: str, via: str, *, keeps_surplus: bool) -> None:
        self.household, self.via = household, via
        self.is_ending = False
        self.desk, self.limits = boxes.desk, boxes.limits
        self.directory = Path(tempfile.mkdtemp(dir=boxes.home))
        self._boxes, self._keeps_surplus = boxes, keeps_surplus
        self._coming: set[Arrival] = set()
        self._piles: dict[Target, _Pile] = {}
        self._settling = threading.Lock()
        self._is_open = True

    @property
    def size_bytes(self) -> int:
        """What it takes up."""
        held = sum(sum(pile.sizes.copy().values()) for pile in self._piles.copy().values())
        return held + sum(arrival.size_bytes for arrival in self._coming.copy())

    @property
    def is_empty(self) -> bool:
        """Whether nothing lies here, and nothing is on its way."""
        return not self._coming and not any(pile.sizes for pile in self._piles.copy().values())

    def begin(self, target: Target, name: str, size_bytes: int = 0) -> Arrival:
        """Begin to take a file, of ``size_bytes`` where that is known; raises NameNotTaken, TooLarge, NoRoom."""
        try:
            check_file_name(name, "the upload")
        except UploadRefused as error:
            raise NameNotTaken(str(error)) from error
        held = sum(len(pile.sizes) for pile in self._piles.copy().values())
        if held + len(self._coming) >= self.limits.upload.files:
            raise TooLarge(f"a session may leave {self.limits.upload.files} files")
        if len(self._coming) >= self.limits.files_at_once:
            raise NoRoom(f"{self.limits.files_at_once} files are on their way; send the others after them")
        arrival = Arrival(self, target, name)
        arrival.check(size_bytes)
        arrival.open()
        self._coming.add(arrival)
        return arrival

    def check_room(self, more_bytes: int) -> None:
        """Raise TooLarge or NoRoom unless ``more_bytes`` may come."""
        if self.size_bytes + more_bytes > self.limits.upload.upload_bytes:
            raise TooLarge(f"a session may leave {_size(self.limits.upload.upload_bytes)}")
        self._boxes.check_room(more_bytes)

    def forget(self, arrival: Arrival) -> None:
        """A file is not on its way any more."""
        self._coming.discard(arrival)

    def settle(self, arrival: Arrival) -> Outcome:
        """Keep a file that has come whole, and judge its upload when all of it is here.

        Raises UploadRefused, UnknownPPA and ArchiveError, all of which end the upload: nothing of it stays.
        """
        with self._settling:
            if not self._is_open:
                raise NoRoom("the session has ended")
            arrival.close()
            pile = self._piles.get(arrival.target) or _Pile(Path(tempfile.mkdtemp(dir=self.directory)))
            self._piles[arrival.target] = pile
            arrival.path.replace(pile.directory / arrival.name)
            pile.sizes[arrival.name] = arrival.size_bytes
            self._coming.discard(arrival)
            return self._judge(arrival.target, pile, arrival.name)

    def close(self) -> None:
        """End the session, and remove what it has left; an upload that was begun is refused."""
        with self._settling:
            if not self._is_open:
                return
            self._is_open = False
            for target, pile in self._piles.items():
                for one in pile.announced.values():
                    missing = ", ".join(pile.missing(one))
                    self.desk.refuse(one.sent, UploadRefused(f"the session ended before {missing} came"))
                if pile.sizes and not pile.announced:
                    left = ", ".join(sorted(pile.sizes))
                    self.desk.say(f"dropped {left} for {target} (by {self.via}): no .changes came")
            for arrival in self._coming.copy():
                arrival.abandon()
            shutil.rmtree(self.directory, ignore_errors=True)
            self._boxes.forget(self)

    def _judge(self, target: Target, pile: _Pile, name: str) -> Outcome:
        """Judge the upload that a file belongs to, or say what it waits for."""
        if name.endswith(".changes"):
            text = (pile.directory / name).read_bytes()
            sent = Sent(target.address, target.series or distribution_of(text), name, text, self.via)
        elif (found := next((one for one in pile.announced.values() if name in one.named), None)) is not None:
            sent = found.sent
        else:
            return Outcome(f"{name} has come")
        try:
            return self._judge_upload(pile, sent, name)
        except (UploadRefused, UnknownPPA) as error:
            self.desk.refuse(sent, error)
            self._clear(pile, sent)
            raise

    def _judge_upload(self, pile: _Pile, sent: Sent, name: str) -> Outcome:
        """Go on with an upload after the file ``name`` has come; raises UploadRefused and UnknownPPA."""
        if not sent.series:
            raise UploadRefused(f"{sent.name} has no Distribution that names a series")
        if name == sent.name:
            named = frozenset(file.name for file in self.desk.read(sent).files)
            pile.announced[name] = _Announced(sent, named)
        one = pile.announced[sent.name]
        if self.desk.archive.find_upload(sent.address, sent.series, sent.sha256) is None:
            missing, surplus = pile.missing(one), pile.surplus(one)
            if missing and name == sent.name and len(missing) < len(one.named):
                raise UploadRefused(f"{name} names {', '.join(missing)}, which did not come")
            if missing:
                return Outcome(f"{sent.name} waits for {', '.join(missing)}", missing)
            if surplus and not self._keeps_surplus:
                raise UploadRefused(f"{', '.join(surplus)} came, and {sent.name} does not name it")
        return self._accept(pile, one)

    def _accept(self, pile: _Pile, one: _Announced) -> Outcome:
        """Hand the upload over, in a directory that holds nothing else."""
        with tempfile.TemporaryDirectory(dir=self.directory, ignore_cleanup_errors=True) as whole:
            for name in (one.named | {one.sent.name}) & pile.sizes.keys():
                (pile.directory / name).replace(Path(whole) / name)
            try:
                receipt = self.desk.accept(one.sent, Path(whole))
            finally:
                self._clear(pile, one.sent)
        return Outcome(words_for(receipt), receipt=receipt)

    def _clear(self, pile: _Pile, sent: Sent) -> None:
        """Remove an upload that was judged; where no others may be among its files, all that lies there."""
        pile.forget(_words_of(sent.text) | {sent.name} if self._keeps_surplus else set(pile.sizes))


class Arrival:
    """A file on its way into a session's directory. Its methods do not wait."""

    def __init__(self, box: Dropbox, target: Target, name: str) -> None:
        limit = TEXT_LIMIT_BYTES if name.endswith(".changes") else box.limits.upload.file_bytes
        self.target, self.name, self.limit_bytes = target, name, limit
        self.size_bytes = 0
        self._box = box
        self._next_check_bytes = 0

    def open(self) -> None:
        """Make its file; raises NoRoom."""
        try:
            self._file = tempfile.NamedTemporaryFile(dir=self._box.directory, delete=False)  # noqa: SIM115
        except OSError as error:
            raise NoRoom(f"the archive cannot write: {error.strerror}") from error
        self.path = Path(self._file.name)

    def check(self, size_bytes: int) -> None:
        """Raise TooLarge or NoRoom when it may not have ``size_bytes``."""
        if size_bytes > self.limit_bytes:
            raise TooLarge(f"{self.name} may have {_size(self.limit_bytes)}")
        if size_bytes >= self._next_check_bytes:
            self._box.check_room(max(size_bytes - self.size_bytes, 0))
            self._next_check_bytes = size_bytes + ROOM_CHECKED_EVERY_BYTES

    def write(self, data: bytes) -> None:
        """Take a piece; raises TooLarge and NoRoom, after which nothing of the file is left."""
        try:
            self.check(self.size_bytes + len(data))
            self._file.write(data)
        except OSError as error:
            self.abandon()
            raise NoRoom(f"the archive cannot write: {error.strerror}") from error
        except ArchiveError:
            self.abandon()
            raise
        self.size_bytes += len(data)

    def close(self) -> None:
        """All has come; raises NoRoom."""
        try:
            self._file.close()
        except OSError as error:
            self.abandon()
            raise NoRoom(f"the archive cannot write: {error.strerror}") from error

    def abandon(self) -> None:
        """Leave nothing of it."""
        self._box.forget(self)
        with contextlib.suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)


def _household(peer: str) -> str:
    """Who is counted as one: an address of IPv4, and a network of 64 bits of IPv6, which everybody has."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address) or address.ipv4_mapped is not None:
        return peer.removeprefix("::ffff:")
    return str(ipaddress.ip_network((address, 64), strict=False))


def _words_of(text: bytes) -> set[str]:
    """The words that lines of a .changes end in: the names of its files are among them."""
    return {line.split()[-1] for line in text.decode("utf-8", "replace").splitlines() if line.strip()}


def _size(size_bytes: int) -> str:
    return f"{size_bytes >> 20} MiB" if size_bytes >= 1 << 20 else f"{size_bytes} bytes"


@contextlib.contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Hold a directory, until the process ends at the latest; raises BlockingIOError when another does."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
