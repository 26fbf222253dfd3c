"""A source package with one more changelog entry, and so of another version: nothing else in it changes.

Nothing is unpacked, applied or run: of the one file that holds debian/changelog a copy is written in which that
alone is longer, and the .dsc names it. The same source and entry give the same bytes.
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import lzma
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from buildfarm.build.plain_tar import REGULAR, Header, NotPlain, read_headers
from buildfarm.errors import UsageError
from buildfarm.regress.diff_entry import UnfitDiff, add_to_diff
from buildfarm.source.changelog import Entry
from buildfarm.source.control import ControlError, checksum_fields, describe_file, read_fields, read_listed
from buildfarm.source.upstream import XZ_PRESET
from ppa_tools import openpgp
from ppa_tools.debversion import without_epoch

UNPACKED_LIMIT_BYTES = 16 << 30
DIFF_LIMIT_BYTES = 256 << 20
CHANGELOG_LIMIT_BYTES = 64 << 20
DICTIONARY_LIMIT_BYTES = 256 << 20  # xz -9 takes a quarter of it
HEADERS_LIMIT = 4_000_000
TOLD_LIMIT_BYTES = 1 << 20  # what a tarball may tell of a member beside its header
CHUNK_BYTES = 1 << 20
BLOCK = tarfile.BLOCKSIZE
LONG_NAME, LONG_TARGET, PAX, PAX_OF_ALL, OLD_PAX = b"L", b"K", b"x", b"g", b"X"
_PACKAGING = re.compile(r".+\.debian\.tar\.(gz|xz|bz2|lzma)")
_TARBALL = re.compile(r".+\.tar\.(gz|xz|bz2|lzma)")
_DIFF = re.compile(r".+\.diff\.(gz)")
_IN_PACKAGING = re.compile(r"(?:\./)?debian/changelog")
_IN_TREE = re.compile(r"(?:\./)?(?:[^/]+/)?debian/changelog")
_NEW_FIELDS = frozenset({"version", "files"})


class UnfitSource(UsageError):
    """A source package that cannot be given an entry; ``brief`` says why."""


def add_entry(dsc: Path, entry: Entry, target: Path) -> Path:
    """Write the source package of ``dsc`` and the files beside it to ``target``, with the entry; its new .dsc.

    Raises UnfitSource where it has no changelog that could be added to, or is of a kind that is not known here.
    """
    text, files = _read(dsc)
    kind, name = _place_of_changelog(text, files)
    stem = f"{entry.source}_{without_epoch(entry.version)}"
    suffix = {"packaging": "debian.tar", "tree": "tar", "diff": "diff"}[kind] + f".{name.rpartition('.')[2]}"
    target.mkdir(parents=True, exist_ok=True)
    made = target / f"{stem}.{suffix}"
    try:
        _write(dsc.parent / name, kind, entry, made)
    except (NotPlain, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise UnfitSource(f"{name} cannot be read: {error}") from error
    except OSError as error:
        if error.errno is None:  # a stream that bz2 cannot read; a full disk has a number
            raise UnfitSource(f"{name} cannot be read: {error}") from error
        raise
    for other in set(files) - {name}:
        shutil.copyfile(dsc.parent / other, target / other)
    new_dsc = target / f"{stem}.dsc"
    names = sorted(set(files) - {name} | {made.name})
    new_dsc.write_text(_describe(text, entry.version, [target / one for one in names]), encoding="utf-8")
    return new_dsc


def _read(dsc: Path) -> tuple[str, tuple[str, ...]]:
    """What a .dsc says, whoever signed it, and the names of its files."""
    try:
        text = openpgp.text_of(dsc.read_bytes()).decode("utf-8").replace("\r\n", "\n").strip("\n") + "\n"
        return text, tuple(read_listed(read_fields(text)))
    except (openpgp.OpenPGPError, UnicodeDecodeError, ControlError) as error:
        raise UnfitSource(f"{dsc.name} cannot be written anew: {error}") from error


def _place_of_changelog(text: str, files: tuple[str, ...]) -> tuple[str, str]:
    """Which file has debian/changelog: in a tarball of debian/ alone, in one of the whole tree, or in a diff."""
    written = read_fields(text).get("format", "1.0").strip()
    found: dict[str, list[str]] = {
        "packaging": [one for one in files if _PACKAGING.fullmatch(one)],
        "tree": [one for one in files if _TARBALL.fullmatch(one)],
        "diff": [one for one in files if _DIFF.fullmatch(one)],
    }
    kinds = {"3.0 (quilt)": ("packaging",), "3.0 (native)": ("tree",), "1.0": ("diff", "tree")}.get(written, ())
    kind = next((one for one in kinds if found[one]), "")
    if not kind or len(found[kind]) != 1:
        raise UnfitSource(f"a source package in the format {written[:40]!r} with these files gets no new entry")
    return kind, found[kind][0]


def _write(source: Path, kind: str, entry: Entry, made: Path) -> None:
    added = f"{entry}\n".encode()
    ending = source.name.rpartition(".")[2]
    if kind == "diff":
        with gzip.open(source) as reader:
            content = reader.read(DIFF_LIMIT_BYTES + 1)
        if len(content) > DIFF_LIMIT_BYTES:
            raise UnfitSource(f"{source.name} unpacks to more than {DIFF_LIMIT_BYTES >> 20} MiB")
        try:
            content = add_to_diff(content, added)
        except UnfitDiff as error:
            raise UnfitSource(f"{source.name}: {error}") from error
        with _packing(made, ending) as writer:
            writer.write(content)
        return
    with tempfile.TemporaryFile(dir=made.parent) as plain:
        _unpack(source, ending, plain)
        pattern = _IN_PACKAGING if kind == "packaging" else _IN_TREE
        with _packing(made, ending) as writer:
            _copy_with(plain, pattern, added, entry.changed_at, writer)


def _unpack(source: Path, ending: str, plain: IO[bytes]) -> None:
    size = 0
    for chunk in _UNPACKERS[ending](source):
        size += len(chunk)
        if size > UNPACKED_LIMIT_BYTES:
            raise UnfitSource(f"{source.name} unpacks to more than {UNPACKED_LIMIT_BYTES >> 30} GiB")
        plain.write(chunk)


def _unpacked_by(opener: Callable[[Path], Any], source: Path) -> Iterator[bytes]:
    with opener(source) as reader:
        while chunk := reader.read(CHUNK_BYTES):
            yield chunk


def _unpacked_lzma(source: Path) -> Iterator[bytes]:
    """By hand, since lzma.open gives a dictionary of any size that the file asks for."""
    unpacker = lzma.LZMADecompressor(memlimit=DICTIONARY_LIMIT_BYTES)
    with source.open("rb") as packed:
        while True:
            data = b""
            if unpacker.eof:  # another stream may follow, with padding between
                data = unpacker.unused_data.lstrip(b"\0") or packed.read(CHUNK_BYTES).lstrip(b"\0")
                if not data:
                    return
                unpacker = lzma.LZMADecompressor(memlimit=DICTIONARY_LIMIT_BYTES)
            elif unpacker.needs_input and not (data := packed.read(CHUNK_BYTES)):
                raise EOFError("it ends within what is packed")
            yield unpacker.decompress(data, CHUNK_BYTES)


_UNPACKERS: dict[str, Callable[[Path], Iterator[bytes]]] = {
    "gz": functools.partial(_unpacked_by, gzip.open),
    "xz": _unpacked_lzma,
    "lzma": _unpacked_lzma,
    "bz2": functools.partial(_unpacked_by, bz2.open),
}


@contextlib.contextmanager
def _packing(made: Path, ending: str) -> Iterator[IO[bytes]]:
    """A stream that packs into a file, the same bytes whenever it is."""
    with made.open("wb") as file:
        if ending == "gz":
            packer: Any = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
        elif ending == "bz2":
            packer = bz2.BZ2File(file, "wb")
        else:
            form = lzma.FORMAT_XZ if ending == "xz" else lzma.FORMAT_ALONE
            packer = lzma.LZMAFile(file, "wb", format=form, preset=XZ_PRESET)  # noqa: SIM115 (closed below)
        with packer:
            yield packer


def _copy_with(plain: BinaryIO, wanted: re.Pattern[str], added: bytes, at: int, writer: IO[bytes]) -> None:
    """Copy a tarball to the byte, but for the changelog, which begins with what is added."""
    plain.seek(0)
    member = _find(plain, wanted)
    plain.seek(member.header.content_offset)
    content = added + plain.read(member.header.size_bytes)
    info = tarfile.TarInfo.frombuf(member.header.block, tarfile.ENCODING, "surrogateescape")
    info.name, info.size, info.mtime = member.name, len(content), at
    plain.seek(0)
    _copy(plain, writer, member.offset)
    writer.write(info.tobuf(tarfile.GNU_FORMAT))
    writer.write(content + bytes(-len(content) % BLOCK))
    plain.seek(member.header.end_offset)
    _copy(plain, writer, None)


@dataclass(frozen=True)
class _Named:
    """A member with its whole name; ``offset`` is where what is told of it begins."""

    name: str
    offset: int
    header: Header


def _find(plain: BinaryIO, wanted: re.Pattern[str]) -> _Named:
    """The changelog in a tarball; of several the last, which is what is there in the end."""
    found: dict[int, _Named] = {}
    for member in _members(plain):
        if wanted.fullmatch(member.name):
            found[member.name.removeprefix("./").count("/")] = member
    if not found:
        raise UnfitSource("no debian/changelog is where it should be")
    last = found[min(found)]
    if last.header.kind not in REGULAR or last.header.size_bytes > CHANGELOG_LIMIT_BYTES:
        raise UnfitSource("its debian/changelog is no plain file that could be added to")
    return last


def _members(plain: BinaryIO) -> Iterator[_Named]:
    """A tarball's members. (tarfile would take all that is told of one into memory, however much it is.)"""
    name, offset = b"", None
    for number, header in enumerate(read_headers(plain)):
        if number >= HEADERS_LIMIT:
            raise UnfitSource(f"a tarball with more than {HEADERS_LIMIT} headers gets no new entry")
        if header.kind in (LONG_NAME, LONG_TARGET, PAX, PAX_OF_ALL, OLD_PAX):
            if header.size_bytes > TOLD_LIMIT_BYTES:
                raise UnfitSource(f"a tarball that tells {header.size_bytes} bytes of a member gets no new entry")
            if header.kind == PAX_OF_ALL:
                continue
            offset = header.offset if offset is None else offset
            if header.kind == LONG_NAME:
                name = plain.read(header.size_bytes).partition(b"\0")[0]
            elif header.kind != LONG_TARGET:
                name = _pax_path(plain.read(header.size_bytes)) or name
            continue
        whole = (name or _whole_name(header.block)).rstrip(b"/").decode("utf-8", "surrogateescape")
        yield _Named(whole, header.offset if offset is None else offset, header)
        name, offset = b"", None


def _whole_name(block: bytes) -> bytes:
    """The name in a header; POSIX parts one that is too long for its field."""
    name, prefix = (field.partition(b"\0")[0] for field in (block[:100], block[345:500]))
    return prefix + b"/" + name if prefix and block[257:263] == b"ustar\0" else name


def _pax_path(records: bytes) -> bytes:
    """The path that a pax header tells, b"" for none."""
    path, at = b"", 0
    while at < len(records):
        length, space, _ = records[at : at + 8].partition(b" ")
        if not space or not length.isdigit() or int(length) <= len(length):
            raise UnfitSource("a tarball with a pax header that is none gets no new entry")
        key, _, value = records[at + len(length) + 1 : at + int(length) - 1].partition(b"=")
        if key == b"size":  # then its header lies, and the next one cannot be found by it
            raise UnfitSource("a tarball with a member of 8 GiB or more gets no new entry")
        path = value if key == b"path" else path
        at += int(length)
    return path


def _copy(reader: IO[bytes], writer: IO[bytes], size: int | None) -> None:
    while size is None or size > 0:
        chunk = reader.read(CHUNK_BYTES if size is None else min(CHUNK_BYTES, size))
        if not chunk:
            break
        writer.write(chunk)
        size = None if size is None else size - len(chunk)


def _describe(text: str, version: str, files: list[Path]) -> str:
    """The .dsc's text for another version and other files."""
    kept, name = [], ""
    for line in text.split("\n"):
        if not line.strip():
            break
        if line[0] not in " \t":
            name = line.partition(":")[0].lower()
            if name == "version":
                kept.append(f"Version: {version}")
        if name not in _NEW_FIELDS and not name.startswith("checksums-"):
            kept.append(line)
    listed = [describe_file(path) for path in files]
    sums = [f" {one.md5} {one.size_bytes} {one.name}" for one in listed]
    return "\n".join([*kept, *checksum_fields(listed), "Files:", *sums]) + "\n"
