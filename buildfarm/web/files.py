"""The files that a build left: its log, and what it made. What a build could have put there is not followed."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from buildfarm.regress.places import Places
from buildfarm.regress.records import Build
from buildfarm.web.answers import TEXT, FileAnswer, NotFound

LOG, PACKED_LOG = "build.log", "build.log.gz"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~:_-]{0,250}")
READABLE = (".buildinfo", ".changes", ".dsc")


@dataclass(frozen=True)
class Kept:
    """What of a build can be had: ``log`` is "packed", "growing" or "" for none; and the names of its files."""

    log: str
    size_bytes: int
    artifacts: tuple[str, ...]

    @property
    def readable(self) -> tuple[str, ...]:
        """What people read: .buildinfo, .changes."""
        return tuple(one for one in self.artifacts if one.endswith(READABLE))

    @property
    def others(self) -> tuple[str, ...]:
        """The packages, and all else."""
        return tuple(one for one in self.artifacts if not one.endswith(READABLE))


def kept_files(places: Places, build: Build) -> Kept:
    """What lies in a build's directory on this machine."""
    directory = places.build(build.id)
    names = [one for one in (build.report.artifacts if build.report else ()) if NAME.fullmatch(one)]
    artifacts = tuple(one for one in names if size_of(directory / one) is not None)
    for name, word in ((PACKED_LOG, "packed"), (LOG, "growing")):
        if (size_bytes := size_of(directory / name)) is not None:
            return Kept(word, size_bytes, artifacts)
    return Kept("", 0, artifacts)


def log_of(places: Places, build: Build) -> FileAnswer:
    """A build's log: the whole, or on and on while it is written; raises NotFound."""
    kept = kept_files(places, build)
    directory = places.build(build.id)
    if kept.log == "packed":
        return FileAnswer(directory / PACKED_LOG, packed=True)
    if kept.log == "growing":
        return FileAnswer(directory / LOG, growing=build.state != "done")
    raise NotFound(
        f"The log of #{build.id} is not kept on this machine.",
        "It has not begun, it ran on another machine (Buildbot's page of it has the log), or it is past "
        f"keep_nights and gone for good: buildfarm rebuild {build.job.package} builds it as things are today.",
    )


def artifact_of(places: Places, build: Build, name: str) -> FileAnswer:
    """A file that a build made; raises NotFound for all that its report does not name."""
    if name not in kept_files(places, build).artifacts:
        raise NotFound(f"#{build.id} has no such file.", "Its page has those that it left and that are kept.")
    path = places.build(build.id) / name
    if name.endswith(READABLE):
        return FileAnswer(path, type=TEXT)
    return FileAnswer(path, type="application/octet-stream", name=name)


def size_of(path: Path) -> int | None:
    """The size in bytes of a plain file; None for anything else, links included."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def open_plain(path: Path) -> int:
    """A descriptor of a plain file; raises OSError for links and whatever else lies there by now."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(path)
    return descriptor
