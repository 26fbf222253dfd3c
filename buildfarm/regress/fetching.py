"""A source package's files on this machine: fetched by their hashes, and agreeing with each other."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from buildfarm.build.apt_proxy import host_proxies
from buildfarm.build.apt_sources import parse_deb822
from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.regress.model import RebuildJob, SourceFile
from buildfarm.regress.source_index import FILE_NAME
from ppa_tools import openpgp
from ppa_tools.apt.fetching import Fetcher
from ppa_tools.archives.door import DoorError, NotThere

DSC_LIMIT_BYTES = 4 << 20
ROW_FIELDS = ("checksums-sha256", "files")


def fetch_source(job: RebuildJob, directory: Path, cache: Path) -> Path:
    """The .dsc of a job's source package in ``directory``, the files it lists beside it.

    What was fetched before is taken from ``cache``; an interrupted fetch goes on with the files that are missing.
    The files are copies: what a build does to them changes no other's. Raises FarmTrouble where the mirror does
    not give what its index vouches for, or the disk is full, and PackageFault for a source that contradicts
    itself.
    """
    _check_names(job)
    fetcher = Fetcher(cache, host_proxies())
    try:
        directory.mkdir(parents=True, exist_ok=True)
        dsc = _bring(job, job.files[0], directory, fetcher)
        check_dsc(dsc.read_bytes(), job)
        for one in job.files[1:]:
            _bring(job, one, directory, fetcher)
    except OSError as error:
        raise FarmTrouble(
            f"the sources of {job.package} cannot be kept: {error}", resolution="Is the disk full?"
        ) from error
    return dsc


def _check_names(job: RebuildJob) -> None:
    names = [one.name for one in job.files]
    strange = next((name for name in names if not FILE_NAME.fullmatch(name)), None)
    if strange is not None:
        raise PackageFault(f"{strange[:100]!r} is no name of a source package's file", where=str(job.subject))
    if not names or not names[0].endswith(".dsc") or len(set(names)) != len(names):
        raise PackageFault("its files are not a .dsc and others, each named once", where=str(job.subject))
    if job.files[0].size_bytes > DSC_LIMIT_BYTES:
        raise PackageFault(f"{names[0]} is larger than {DSC_LIMIT_BYTES >> 20} MiB", where=str(job.subject))


def _bring(job: RebuildJob, one: SourceFile, directory: Path, fetcher: Fetcher) -> Path:
    """One file in its place."""
    target = directory / one.name
    if urlsplit(one.url).scheme == "file":
        found = _checked(one, Path(unquote(urlsplit(one.url).path)))
    else:
        try:
            found = fetcher.fetch_hashed(one.url, one.size_bytes, one.sha256)
        except NotThere as error:
            raise FarmTrouble(
                error.args[0],
                where=str(job.subject),
                resolution="The archive has moved on since its index was read; the next night reads it anew.",
            ) from error
        except DoorError as error:
            raise FarmTrouble(error.args[0], where=str(job.subject), resolution=error.resolution) from error
    target.unlink(missing_ok=True)
    shutil.copyfile(found, target)
    return target


def _checked(one: SourceFile, path: Path) -> Path:
    """A file of this machine's disk, if it is what the index says."""
    try:
        with path.open("rb") as file:
            same = path.stat().st_size == one.size_bytes
            same = same and hashlib.file_digest(file, "sha256").hexdigest() == one.sha256
    except OSError as error:
        raise FarmTrouble(f"{path} cannot be read: {error.strerror}") from error
    if not same:
        raise FarmTrouble(f"{path} is not what its index vouches for")
    return path


def check_dsc(content: bytes, job: RebuildJob) -> None:
    """Raise PackageFault unless a .dsc describes the job's source: its name, its version, its files and no others.

    Whose signature it has does not matter: the index vouches for the .dsc, and for each of the files.
    """
    dsc, where = job.files[0].name, str(job.subject)
    try:
        text = openpgp.text_of(content).decode("utf-8", "replace")
    except openpgp.OpenPGPError as error:
        raise PackageFault(f"{dsc} cannot be read: {error}", where=where) from error
    fields = {name.lower(): value for name, value in next(parse_deb822(text), {}).items()}
    for name, wanted in (("source", job.package), ("version", job.version)):
        if fields.get(name, "") != wanted:
            raise PackageFault(
                f"{dsc} contradicts its index: it is of {name} {fields.get(name, '')[:100]!r}, not {wanted!r}",
                where=where,
            )
    field = next((name for name in ROW_FIELDS if name in fields), None)
    if field is None:
        raise PackageFault(f"{dsc} lists no files", where=where)
    listed = _rows(fields[field], dsc, where)
    # Sources of before 2008 have only MD5 sums: what the index vouches for is the stronger proof, all the same.
    with_hash = field == "checksums-sha256"
    told = sorted((name, size, digest if with_hash else "") for digest, size, name in listed)
    vouched = sorted((one.name, str(one.size_bytes), one.sha256 if with_hash else "") for one in job.files[1:])
    if told != vouched:
        names = sorted({row[0] for row in set(told) ^ set(vouched)}) or [told[0][0]]
        raise PackageFault(
            f"{dsc} contradicts its index about {', '.join(names[:5])}",
            where=where,
            resolution="The archive's own copy is damaged, or was put together wrongly: tell who keeps it.",
        )


def _rows(value: str, dsc: str, where: str) -> list[tuple[str, str, str]]:
    rows = []
    for line in filter(str.strip, value.splitlines()):
        words = line.split()
        if len(words) != 3 or not FILE_NAME.fullmatch(words[2]):
            raise PackageFault(f"{dsc} lists {line.strip()[:100]!r}, which is no file beside it", where=where)
        rows.append((words[0], words[1], words[2]))
    return rows
