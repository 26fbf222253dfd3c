"""Files into a machine and out of it: the trunk's tree to work in; what is brought home, with no trust in it."""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from buildfarm import process
from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.verify.installing import GUEST
from buildfarm.vm.machine import GuestRan, Machine

TREE = "/var/lib/buildfarm/tree"
TREE_LIMIT_BYTES = 256 << 20
FILES_LIMIT = 1000
FILE_LIMIT_BYTES = 32 << 20
TRANSFER_TIMEOUT_S = 300.0
PART_LIMIT, DEPTH_LIMIT = 120, 16
_UNPACK = 'mkdir -p "$1" && exec tar --extract --no-same-owner --directory "$1"'
_RUN = 'cd "$1" && chmod +x "$2" && exec "./$2"'
_FETCH = '[ -f "$1" ] || exit 3; exec head --bytes="$2" -- "$1"'
_NOT_THERE = 3


@dataclass(frozen=True)
class Brought:
    """What came home: the files, and how many did not (too large, too many, of an impossible name)."""

    files: tuple[Path, ...] = ()
    left_out: int = 0


def send_tree(machine: Machine, tree: Path) -> None:
    """Lay the trunk's tree into the machine; raises FarmTrouble, PackageFault for one too large, MachineEnded."""
    with tempfile.TemporaryDirectory() as scratch:
        packed = Path(scratch) / "tree.tar"
        # Symbolic links stay links, owners are left behind.
        pack = ("tar", "--create", "--owner=0", "--group=0", "--numeric-owner", "--file", packed)
        process.run((*pack, "--directory", tree, "."), timeout_s=TRANSFER_TIMEOUT_S, check=True)
        if packed.stat().st_size > TREE_LIMIT_BYTES:
            raise PackageFault(
                f"the tree is larger than {TREE_LIMIT_BYTES >> 20} MiB, which is what machines are given",
                resolution="Keep large files out of the trunk, and fetch them where they are needed.",
            )
        with packed.open("rb") as content:
            ran = machine.run(("sh", "-c", _UNPACK, "sh", TREE), timeout_s=TRANSFER_TIMEOUT_S, stdin=content)
    if ran.status != 0:
        raise FarmTrouble("the tree cannot be unpacked in the machine", details=ran.tail())


def run_in_tree(
    machine: Machine, script: str, timeout_s: float, log: BinaryIO, environment: Mapping[str, str]
) -> GuestRan:
    """Run a script of the tree's in the machine, as root, where the tree was laid; raises MachineEnded."""
    argv = ("sh", "-c", _RUN, "sh", TREE, script)
    return machine.run(argv, timeout_s=max(1.0, timeout_s), stdout=log, env=environment)


def fetch_file(machine: Machine, path: str, into: Path, limit_bytes: int) -> bool:
    """Fetch the beginning of a machine's file, ``limit_bytes`` at most; False: there is no such file.

    Raises FarmTrouble, and MachineEnded.
    """
    with into.open("wb") as file:
        argv = ("sh", "-c", _FETCH, "sh", path, str(limit_bytes))
        ran = machine.run(argv, timeout_s=TRANSFER_TIMEOUT_S, stdout=file, limit_bytes=limit_bytes)
    if ran.status == 0:
        return True
    into.unlink()
    if ran.status == _NOT_THERE:
        return False
    raise FarmTrouble(f"{path} cannot be brought home from the machine", details=ran.tail())


def bring_home(machine: Machine, paths: Sequence[str], into: Path, log: BinaryIO, limit_bytes: int) -> Brought:
    """Bring home the regular files at and below ``paths``, ``limit_bytes`` at most; raises MachineEnded."""
    text = (GUEST / "collect.sh").read_text(encoding="utf-8")
    argv = ("sh", "-c", text, "collect.sh", str(FILES_LIMIT), str(FILE_LIMIT_BYTES), *paths)
    with tempfile.TemporaryFile() as packed:
        ran = machine.run(argv, timeout_s=TRANSFER_TIMEOUT_S, stdout=packed, stderr=log, limit_bytes=limit_bytes)
        packed.seek(0)
        brought = unpack(packed, into)
    cut = ran.timed_out or ran.output_limit_hit
    return Brought(brought.files, brought.left_out + cut)


def unpack(packed: IO[bytes], into: Path) -> Brought:
    """Unpack a tar stream that somebody else made: regular files, bounded, by names that are made harmless."""
    files: list[Path] = []
    left_out = 0
    try:
        with tarfile.open(fileobj=packed, mode="r|") as tar:
            for member in tar:
                if len(files) + left_out >= FILES_LIMIT:
                    left_out += 1
                    break
                path = harmless(into, member.name)
                plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and member.sparse is None
                content = tar.extractfile(member) if plain and member.size <= FILE_LIMIT_BYTES else None
                if path is None or content is None or not _place(path, content):
                    left_out += 1
                else:
                    files.append(path)
    except (tarfile.TarError, EOFError):  # cut off, or none
        left_out += 1
    return Brought(tuple(files), left_out)


def harmless(into: Path, name: str) -> Path | None:
    """Where below ``into`` a file of that name may lie; None for a name that leads elsewhere or nowhere."""
    parts = [re.sub(r"[^A-Za-z0-9._+~@,=-]", "_", part)[:PART_LIMIT] for part in name.split("/") if part]
    if not parts or len(parts) > DEPTH_LIMIT or any(part in (".", "..") for part in parts):
        return None
    return into.joinpath(*parts)


def _place(path: Path, content: IO[bytes]) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            shutil.copyfileobj(content, file)
    except (FileExistsError, NotADirectoryError):
        return False
    return True
