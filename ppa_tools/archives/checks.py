"""Checking an upload by itself: its signature, its names, its sums, its parts against each other.

Nothing here knows what the archive holds; ``accept.py`` puts what passes here to the publishing history.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ppa_tools import openpgp
from ppa_tools.archives.control import (
    BinaryControl,
    Changes,
    NamedFile,
    SourceControl,
    check_file_name,
    parse_changes,
    parse_dsc,
)
from ppa_tools.archives.debfile import read_deb_control
from ppa_tools.archives.durable import Digests, digests_of
from ppa_tools.archives.errors import UploadRefused
from ppa_tools.archives.history import Uploader
from ppa_tools.debversion import without_epoch

TEXT_LIMIT_BYTES = 4 << 20
SOURCE_FORMATS = ("1.0", "3.0 (native)", "3.0 (quilt)")
ORIG = re.compile(r"\.orig(-[A-Za-z0-9-]+)?\.tar\.(gz|bz2|lzma|xz)(\.asc)?$")
PACKAGE_SUFFIXES = (".deb", ".ddeb")
KEPT_SUFFIXES = (".buildinfo",)
UNPUBLISHED_SUFFIXES = (".udeb",)


@dataclass(frozen=True)
class UploadedFile:
    """A file of an upload, read once: where it lies and its hashes."""

    path: Path
    digests: Digests

    @property
    def name(self) -> str:
        """Its name."""
        return self.path.name


@dataclass(frozen=True)
class SourceUpload:
    """A source upload that is sound by itself.

    ``payload_sha256`` is of the .dsc without its signature: signing again does not make another source.
    ``left_out`` are the files its .dsc names that were not uploaded: the PPA must have them.
    """

    changes: Changes
    changes_sha256: str
    dsc: SourceControl
    dsc_file: NamedFile
    payload_sha256: str
    uploader: str
    files: tuple[UploadedFile, ...]
    left_out: tuple[NamedFile, ...]


@dataclass(frozen=True)
class Deb:
    """A binary package of an upload."""

    control: BinaryControl
    file: UploadedFile


@dataclass(frozen=True)
class BinaryUpload:
    """A binary upload that is sound by itself; ``unpublished`` names what is kept but no index has a place for."""

    changes: Changes
    changes_sha256: str
    debs: tuple[Deb, ...]
    files: tuple[UploadedFile, ...]
    unpublished: tuple[str, ...]


def check_source_upload(
    directory: Path, changes_name: str, series: str, uploaders: Iterable[Uploader]
) -> SourceUpload:
    """A source upload in a directory of its own; raises UploadRefused with the reason.

    Both the .changes and the .dsc must be signed by one of the PPA's uploaders.
    """
    known = tuple(uploaders)
    text = _read_text(directory, changes_name)
    with ThreadPoolExecutor(1) as beside:
        # A signature takes a process of its own: the .dsc's is checked while the .changes' is, and its files are.
        ahead = {name: beside.submit(_verify_file, directory, name, known) for name in _one_dsc(directory)}
        changes, signed = check_source_changes(text, changes_name, series, known)
        files = _check_files(directory, changes_name, changes.files)
        dsc_file = _only_dsc(changes)
        dsc_payload = ahead[dsc_file.name].result().payload
    dsc = parse_dsc(dsc_payload, dsc_file.name)
    _check_dsc(changes, dsc, dsc_file)
    return SourceUpload(
        changes,
        hashlib.sha256(text).hexdigest(),
        dsc,
        dsc_file,
        hashlib.sha256(dsc_payload).hexdigest(),
        signed.fingerprint,
        tuple(files.values()),
        _left_out(changes, dsc, dsc_file),
    )


def check_binary_upload(directory: Path, changes_name: str, series: str, architecture: str) -> BinaryUpload:
    """A binary upload, built on ``architecture``, in a directory of its own; raises UploadRefused.

    Its .changes carries no signature: it is believed because of the channel that it came through.
    """
    text = _read_text(directory, changes_name)
    changes = check_binary_changes(text, changes_name, series)
    files = _check_files(directory, changes_name, changes.files)
    debs, unpublished = [], []
    for name, file in sorted(files.items()):
        if name.endswith(PACKAGE_SUFFIXES):
            debs.append(Deb(_check_deb(file, changes, architecture), file))
        elif name.endswith(UNPUBLISHED_SUFFIXES):
            unpublished.append(name)
        elif name != changes_name and not name.endswith(KEPT_SUFFIXES):
            raise UploadRefused(f"{name} is no binary package and no .buildinfo")
    if not debs:
        raise UploadRefused(f"{changes_name} names no binary package")
    if len({(deb.control.package, deb.control.architecture) for deb in debs}) < len(debs):
        raise UploadRefused(f"{changes_name} has a package twice")
    return BinaryUpload(
        changes, hashlib.sha256(text).hexdigest(), tuple(debs), tuple(files.values()), tuple(unpublished)
    )


def check_source_changes(
    text: bytes, name: str, series: str, uploaders: Iterable[Uploader]
) -> tuple[Changes, openpgp.Signed]:
    """The .changes of a source by itself: signed by an uploader, for this series; raises UploadRefused."""
    signed = _verify(text, tuple(uploaders), name)
    changes = parse_changes(signed.payload, name)
    _check_series(changes, series)
    if changes.architectures != ("source",):
        raise UploadRefused(
            f"{name} has Architecture: {' '.join(changes.architectures)}; "
            "only sources are uploaded here, binaries come from the farm's own builds"
        )
    return changes, signed


def check_binary_changes(text: bytes, name: str, series: str) -> Changes:
    """The .changes of binaries by itself; raises UploadRefused."""
    changes = parse_changes(text, name)
    _check_series(changes, series)
    if "source" in changes.architectures:
        raise UploadRefused(f"{name} has a source in it; binaries are sent without")
    return changes


def _read_text(directory: Path, name: str) -> bytes:
    path = directory / name
    if not path.is_file() or path.is_symlink():
        raise UploadRefused(f"{name} is missing")
    if path.stat().st_size > TEXT_LIMIT_BYTES:
        raise UploadRefused(f"{name} is larger than {TEXT_LIMIT_BYTES >> 20} MiB")
    return path.read_bytes()


def _verify(text: bytes, known: tuple[Uploader, ...], what: str) -> openpgp.Signed:
    if not known:
        raise UploadRefused("nobody may upload to this PPA: it has no uploader's key")
    keyring = b"".join(uploader.public_key for uploader in known)
    try:
        signed = openpgp.verify_clearsigned(text, keyring)
    except openpgp.SignatureRefused as error:
        raise UploadRefused(f"{what}: {error}") from error
    if signed.fingerprint not in {uploader.fingerprint for uploader in known}:
        raise UploadRefused(f"{what}: the key {signed.fingerprint} may not upload to this PPA")
    return signed


def _verify_file(directory: Path, name: str, known: tuple[Uploader, ...]) -> openpgp.Signed:
    return _verify(_read_text(directory, name), known, name)


def _one_dsc(directory: Path) -> list[str]:
    """The .dsc that lies there; an upload has one, and what has more is refused by its .changes."""
    found = [path.name for path in directory.iterdir() if path.name.endswith(".dsc")]
    return found if len(found) == 1 else []


def _check_series(changes: Changes, series: str) -> None:
    if changes.distribution != series:
        raise UploadRefused(f"the .changes says Distribution: {changes.distribution}; it was sent to {series}")


def _check_files(directory: Path, changes_name: str, named: tuple[NamedFile, ...]) -> dict[str, UploadedFile]:
    """What lies in the directory is what the .changes names, no less, no more, and has its sizes and sums."""
    present: dict[str, Path] = {}
    for path in directory.iterdir():
        if not stat.S_ISREG(path.lstat().st_mode):
            raise UploadRefused(f"{path.name} is no plain file")
        present[path.name] = path
    wanted: Mapping[str, NamedFile] = {file.name: file for file in named}
    if missing := sorted(wanted.keys() - present.keys()):
        raise UploadRefused(f"{changes_name} names {', '.join(missing)}, which did not come")
    if surplus := sorted(present.keys() - wanted.keys() - {changes_name}):
        raise UploadRefused(f"{', '.join(surplus)} came, and {changes_name} does not name it")
    checked = {}
    for name, path in present.items():
        check_file_name(name, changes_name)
        if name in wanted and (size_bytes := path.stat().st_size) != wanted[name].size_bytes:
            raise UploadRefused(f"{name} has {size_bytes} bytes; {wanted[name].size_bytes} are promised")
        file = UploadedFile(path, digests_of(path))
        if name in wanted:
            _check_sums(file, wanted[name])
        checked[name] = file
    return checked


def _check_sums(file: UploadedFile, named: NamedFile) -> None:
    for kind in ("md5", "sha1", "sha256"):
        found, promised = getattr(file.digests, kind), getattr(named, kind)
        if found != promised:
            raise UploadRefused(f"{file.name} has {kind} {found}; {promised} is promised")


def _only_dsc(changes: Changes) -> NamedFile:
    found = [file for file in changes.files if file.name.endswith(".dsc")]
    if len(found) != 1:
        raise UploadRefused(f"the .changes names {len(found)} .dsc files; one is wanted")
    return found[0]


def _check_dsc(changes: Changes, dsc: SourceControl, dsc_file: NamedFile) -> None:
    if (dsc.source, dsc.version) != (changes.source, changes.version):
        raise UploadRefused(
            f"the .changes is about {changes.source} {changes.version}, its .dsc about {dsc.source} {dsc.version}"
        )
    check_source_names(dsc, dsc_file)


def check_source_names(dsc: SourceControl, dsc_file: NamedFile) -> None:
    """Raise UploadRefused for a format that is not known here, and for names that a source may not take."""
    if dsc_file.name != (name := f"{dsc.source}_{without_epoch(dsc.version)}.dsc"):
        raise UploadRefused(f"{dsc_file.name} must be called {name}")
    if dsc.format not in SOURCE_FORMATS:
        raise UploadRefused(f"{dsc_file.name} has Format: {dsc.format}; known are {', '.join(SOURCE_FORMATS)}")
    for file in dsc.files:
        # A source may only take names of its own, since names are for ever.
        if not file.name.startswith(f"{dsc.source}_"):
            raise UploadRefused(f"{dsc_file.name} names {file.name}, which must begin with {dsc.source}_")


def _left_out(changes: Changes, dsc: SourceControl, dsc_file: NamedFile) -> tuple[NamedFile, ...]:
    named = {file.name: file for file in dsc.files}
    for file in changes.files:
        if file.name == dsc_file.name or file.name.endswith(KEPT_SUFFIXES):
            continue
        if file.name not in named:
            raise UploadRefused(f"the .dsc does not name {file.name}, which the .changes has")
        if (file.sha256, file.size_bytes) != (named[file.name].sha256, named[file.name].size_bytes):
            raise UploadRefused(f"the .changes and the .dsc differ about {file.name}")
    uploaded = {file.name for file in changes.files}
    left_out = tuple(file for file in dsc.files if file.name not in uploaded)
    if lacking := [file.name for file in left_out if not ORIG.search(file.name)]:
        raise UploadRefused(f"the .dsc names {', '.join(lacking)}, which did not come")
    return left_out


def _check_deb(file: UploadedFile, changes: Changes, architecture: str) -> BinaryControl:
    control = read_deb(file)
    name = file.name
    if control.architecture not in ("all", architecture):
        raise UploadRefused(f"{name} is for {control.architecture}, and was sent as built on {architecture}")
    if control.architecture not in changes.architectures:
        raise UploadRefused(f"{name} is for {control.architecture}, which the .changes does not have")
    if (control.source, control.source_version) != (changes.source, changes.source_version):
        raise UploadRefused(
            f"{name} is from {control.source} {control.source_version}, "
            f"the .changes about {changes.source} {changes.source_version}"
        )
    return control


def read_deb(file: UploadedFile) -> BinaryControl:
    """What a binary package says of itself; raises UploadRefused where its name says something else."""
    control = read_deb_control(file.path)
    stem = f"{control.package}_{without_epoch(control.version)}_{control.architecture}"
    if file.name not in [stem + suffix for suffix in PACKAGE_SUFFIXES]:
        raise UploadRefused(
            f"{file.name} has {control.package} {control.version} for {control.architecture} in it"
        )
    return control
