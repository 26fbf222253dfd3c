"""Reading subunit streams that a suite's tests wrote, versions 2 and 1: bounded, counted test by test.

Version 2 is packets: a signature, flags, a length, fields, a checksum; what lies between packets is output of
the tests and passed over. Version 1 is lines (``test: NAME``, ``failure: NAME [``), details in brackets. A test
that began and did not end has failed: whoever ran it died.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from buildfarm.build.junit import FAILED_LIMIT, FILE_LIMIT_BYTES, MESSAGE_LIMIT, FailedTest, Report
from buildfarm.errors import PackageFault

RUNNING_LIMIT = 10_000
DETAIL_LIMIT_BYTES = 4 << 10
PACKET_LIMIT_BYTES = 4 << 20
LINE_LIMIT = 5_000_000
_TEST_ID, _ROUTE, _TIME, _TAGS, _MIME, _FILE = 0x0800, 0x0400, 0x0200, 0x0080, 0x0020, 0x0040
_STATUSES = ("", "exists", "inprogress", "success", "uxsuccess", "skip", "fail", "xfail")
_FAILED = ("fail", "uxsuccess")
_ENDED = {"success", "uxsuccess", "skip", "fail", "xfail"}
_WORDS_1 = {
    "success": "success",
    "successful": "success",
    "failure": "fail",
    "error": "fail",
    "skip": "skip",
    "xfail": "xfail",
    "uxsuccess": "uxsuccess",
}
_BEGIN_1 = frozenset(word[:1].encode() for word in ("test", *_WORDS_1))
_PACKET = re.compile(rb"\xb3[\x20-\x2f]")
# The signature may as well be the last byte of a character, which a blank follows.
_AFTER_TEXT = re.compile(
    rb"(?<![\xc2-\xdf])(?<![\xe0-\xef][\x80-\xbf])(?<![\xf0-\xf4][\x80-\xbf][\x80-\xbf])\xb3[\x20-\x2f]"
)
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
RESOLUTION = "Let the tests write a whole subunit stream to this file, or name a JUnit XML file."


class _Broken(Exception):
    """The stream makes no sense at this place."""


@dataclass
class _Tally:
    """The tests so far; ``running`` holds those that began, with the details they have left."""

    tests: int = 0
    skipped: int = 0
    failed: int = 0
    failures: list[FailedTest] = field(default_factory=list)
    running: dict[str, _Detail] = field(default_factory=dict)

    def begin(self, name: str) -> _Detail:
        """The details of a test that runs."""
        if name not in self.running:
            if len(self.running) >= RUNNING_LIMIT:
                raise _Broken(f"more than {RUNNING_LIMIT} tests run at once")
            self.running[name] = _Detail()
        return self.running[name]

    def end(self, name: str, status: str) -> None:
        """Count a test that has ended."""
        detail = self.running.pop(name, None) or _Detail()
        self.tests += 1
        self.skipped += status == "skip"
        if status in _FAILED:
            self.failed += 1
            if len(self.failures) < FAILED_LIMIT:
                said = detail.first_words() or ("passed unexpectedly" if status == "uxsuccess" else "no message")
                self.failures.append(FailedTest(name[:MESSAGE_LIMIT], said))

    def report(self) -> Report:
        """The report; what still runs is counted as failed."""
        for name in tuple(self.running):
            detail = self.running[name]
            if not detail.text:
                detail.add(b"began, and did not end")
            self.end(name, "fail")
        return Report(self.tests, self.skipped, self.failed, tuple(self.failures))


@dataclass
class _Detail:
    """The text that a test left of its failure: the beginning, and the end of what is longer."""

    text: bytearray = field(default_factory=bytearray)
    tail: bytes = b""
    of: str = ""

    def add(self, content: bytes | memoryview, of: str = "") -> None:
        """Take a piece; a traceback or a reason takes the place of any other attachment."""
        if of != self.of:
            if self.text and not _tells_most(of):
                return
            self.text.clear()
            self.tail, self.of = b"", of
        room = DETAIL_LIMIT_BYTES - len(self.text)
        self.text += content[:room]
        self.tail = (self.tail + bytes(content[max(room, 0) :][-DETAIL_LIMIT_BYTES:]))[-DETAIL_LIMIT_BYTES:]

    def first_words(self) -> str:
        """The first line; of a Python traceback the one that says what was raised."""
        text = (bytes(self.text) + self.tail).decode("utf-8", "replace")
        lines = [line for line in text.splitlines() if line.strip()]
        if lines and lines[0].startswith("Traceback"):
            raised = next((n for n in range(len(lines), 0, -1) if lines[n - 1][0] == " "), 0)
            lines = lines[raised:] or lines
        return lines[0].strip()[:MESSAGE_LIMIT] if lines else ""


def read_subunit(path: Path, name: str) -> Report:
    """The report in ``path``; ``name`` is what errors call it. Raises PackageFault for what is no such stream."""
    with path.open("rb") as file:
        data = file.read(FILE_LIMIT_BYTES + 1)
    if len(data) > FILE_LIMIT_BYTES:
        raise PackageFault(f"larger than {FILE_LIMIT_BYTES >> 20} MiB", where=name)
    tally = _Tally()
    try:
        if not _read_packets(data, tally) and not _read_lines(data, tally):
            raise _Broken("neither packets nor lines of subunit")
        return tally.report()
    except _Broken as error:
        raise PackageFault(f"no subunit stream: {error}", where=name, resolution=RESOLUTION) from error


def _read_packets(data: bytes, tally: _Tally) -> bool:
    """Read version 2; whether there was a packet at all."""
    view = memoryview(data)
    at = found = 0
    while at < len(data):
        if not (found and _PACKET.match(data, at)):  # else there is nothing in between
            between = _AFTER_TEXT.search(data, at)
            if between is None:
                break
            at = between.start()
        try:
            length = _read_packet(view, at, tally)
        except _Broken as error:
            if not found:  # a text that happens to have such bytes
                return False
            raise _Broken(f"{error}, at byte {at}") from error
        at += length
        found += 1
    return found > 0


def _read_packet(view: memoryview, start: int, tally: _Tally) -> int:
    """Read the packet at ``start``; returns its length."""
    length, size = _number(view[start + 3 : start + 7])
    if size > 3 or not 8 <= length <= PACKET_LIMIT_BYTES:
        raise _Broken("a packet of an impossible length")
    packet = view[start : start + length]
    if len(packet) < length:
        raise _Broken("the last packet is cut off")
    if zlib.crc32(packet[:-4]) != int.from_bytes(packet[-4:], "big"):
        raise _Broken("a packet with a wrong checksum")
    _take_packet(int.from_bytes(packet[1:3], "big"), _Fields(packet[3 + size : -4]), tally)
    return length


def _take_packet(flags: int, fields: _Fields, tally: _Tally) -> None:
    if flags & _TIME:
        fields.skip(4)
        fields.number()
    name = fields.text() if flags & _TEST_ID else ""
    if flags & _TAGS:
        for _ in range(fields.number()):
            fields.string()
    mime = fields.text() if flags & _MIME else ""
    file_name, content = (fields.text(), fields.string()) if flags & _FILE else ("", memoryview(b""))
    route = fields.text() if flags & _ROUTE else ""
    status = _STATUSES[flags & 0x7]
    if not name:
        return
    # The same name comes from several processes by different routes: these are different tests.
    key = f"{name} ({route})" if route else name
    if status == "inprogress":
        tally.begin(key)
    if content and (not mime or mime.startswith("text/")):
        tally.begin(key).add(content, file_name)
    if status in _ENDED:
        tally.end(key, status)
    elif status == "exists":
        tally.running.pop(key, None)


class _Fields:
    """The fields of a packet, taken one after the other."""

    def __init__(self, view: memoryview) -> None:
        self._view = view

    def skip(self, count: int) -> None:
        """Pass over bytes."""
        if len(self._view) < count:
            raise _Broken("a packet shorter than its fields")
        self._view = self._view[count:]

    def number(self) -> int:
        """A number of one to four bytes."""
        number, size = _number(self._view[:4])
        self.skip(size)
        return number

    def string(self) -> memoryview:
        """Bytes after their length."""
        length = self.number()
        string = self._view[:length]
        self.skip(length)
        return string

    def text(self) -> str:
        """A string as text."""
        return bytes(self.string()).decode("utf-8", "replace")


def _number(view: memoryview) -> tuple[int, int]:
    """A number whose first two bits say how many bytes follow; and its size."""
    size = (view[0] >> 6) + 1 if len(view) else 1
    if len(view) < size:
        raise _Broken("a packet shorter than its fields")
    return int.from_bytes(view[:size], "big") & ((1 << (8 * size - 2)) - 1), size


def _read_lines(data: bytes, tally: _Tally) -> bool:
    """Read version 1; whether there was any test."""
    source = _Lines(data)
    current = ""
    for count, line in enumerate(source):
        if count > LINE_LIMIT:
            raise _Broken(f"more than {LINE_LIMIT} lines")
        if line[:1] not in _BEGIN_1:
            continue
        words = line.decode("utf-8", "replace").rstrip("\r\n").split(None, 1)
        if len(words) < 2:
            continue
        word, rest = words[0].removesuffix(":"), words[1]
        if word in ("test", "testing"):
            current = rest.strip()
            tally.begin(current)
            continue
        status = _WORDS_1.get(word)
        if status is None or not current:
            continue
        label, bracket, kind = rest.rpartition(" [")
        has_details = bracket != "" and kind.strip() in ("", "multipart")
        if (label if has_details else rest).strip() != current:
            continue  # a test's own output that looks alike
        if has_details:
            detail = tally.begin(current)
            if kind.strip():
                source.read_parts(detail)
            else:
                source.read_bracket(detail)
        tally.end(current, status)
        current = ""
    return tally.tests > 0 or bool(tally.running)


class _Lines:
    """The lines of a version 1 stream, and the details between them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __iter__(self) -> Iterator[bytes]:
        while self._at < len(self._data):
            yield self._line()

    def read_bracket(self, detail: _Detail) -> None:
        """Lines up to one that is only a bracket; such a line of the text itself has a blank before it."""
        for line in self:
            if line.rstrip(b"\r\n") == b"]":
                return
            detail.add(line)
        raise _Broken("details without an end")

    def read_parts(self, detail: _Detail) -> None:
        """Parts, each a type, a name, and chunks with their lengths; up to a bracket."""
        for line in self:
            if line.rstrip(b"\r\n") == b"]":
                return
            if not line.startswith(b"Content-Type:"):
                raise _Broken("a part without a type")
            of = self._line().strip().decode("utf-8", "replace")
            text = line.split(b":", 1)[1].strip().startswith(b"text/")
            while size := self._chunk_size():
                content = self._data[self._at : self._at + size]
                if len(content) < size:
                    raise _Broken("a chunk is cut off")
                self._at += size
                if text:
                    detail.add(content, of)
        raise _Broken("details without an end")

    def _chunk_size(self) -> int:
        """A length on a line of its own; after the last, 0, the next part may follow without a line's end."""
        end = self._data.find(b"\n", self._at, self._at + 16)
        line = self._data[self._at : end].rstrip(b"\r") if end >= 0 else b""
        if not _CHUNK_SIZE.fullmatch(line):
            raise _Broken("a chunk without a length")
        self._at = end + 1
        return int(line, 16)

    def _line(self) -> bytes:
        end = self._data.find(b"\n", self._at)
        stop = len(self._data) if end < 0 else end + 1
        line, self._at = self._data[self._at : stop], stop
        return line


def _tells_most(file_name: str) -> bool:
    return any(word in file_name.lower() for word in ("traceback", "reason"))
