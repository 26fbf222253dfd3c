"""What a build made, taken out of the archive that it packed: whoever wrote that is not to be believed."""

from __future__ import annotations

from pathlib import Path

from buildfarm.build.plain_tar import NotPlain, read_members
from buildfarm.build.sbuild import ARTIFACT
from buildfarm.errors import FarmTrouble, PackageFault

RESULTS = "home/results.tar"
RESULTS_LIMIT_BYTES = 32 << 30
MEMBERS_LIMIT = 2000


def require_results(found: str, limit_bytes: int, room_bytes: int, details: str) -> None:
    """Raise unless the archive of what a build made came out: ``found`` is what came of it, ``limit_bytes`` how
    large it could be, and ``room_bytes`` how much the build could write.

    PackageFault, or FarmTrouble where it was our disk that set the limit.
    """
    if found == "ok":
        return
    if found == "too-large" and limit_bytes < min(RESULTS_LIMIT_BYTES, room_bytes):
        raise FarmTrouble(
            f"the disk has no room for what the build made: {limit_bytes >> 20} MiB are left for it",
            details=details,
            resolution="Free room on the farm's disk; it is tried again.",
        )
    raise PackageFault(
        f"the build ended well, but what it made cannot be taken out: the archive of it is {found}",
        details=details,
        resolution="Does something that the build started write to /build/home?",
    )


def unpack_results(archive: Path, out: Path) -> tuple[Path, ...]:
    """The files that a build left, from the tar archive that it packed: plain names, regular files, no more.

    Raises PackageFault for an archive that is none; what has another name or kind stays in it.
    """
    found = set()
    try:
        with archive.open("rb") as packed:
            for number, member in enumerate(read_members(packed)):
                if number >= MEMBERS_LIMIT:
                    break
                name = member.name.removeprefix("./")
                if ARTIFACT.fullmatch(name):
                    member.copy_to(out / name)
                    found.add(out / name)
    except NotPlain as error:
        raise PackageFault(f"what the build made cannot be read: {error}") from error
    return tuple(sorted(found))
