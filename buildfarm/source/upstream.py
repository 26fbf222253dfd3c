"""The tree of a package: copied and packed so that one commit always gives the same bytes.

The upstream tarball is the tree without debian/, with Debian's patches not applied. Nothing of this machine gets
in: entries are sorted by their bytes, times are the commit's, owners are root, modes are 0644 or 0755.
"""

from __future__ import annotations

import lzma
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.files import is_inside
from buildfarm.process import how_it_ended, run

# A commit's tarball is made to be built, not to be mirrored for years: twice as fast as 2, and 4 % larger.
XZ_PRESET = 1
PATCH_TIMEOUT_S = 60.0
PATCHES = Path("debian/patches")
# As dpkg-source calls it: unified diffs only (an ed script would run programs), no fuzz, no questions.
PATCH_COMMAND = ("patch", "-t", "-F", "0", "-N", "-p1", "-u", "-V", "never", "-s", "-r", "-")

PathFilter = Callable[[str], bool]


def show_name(name: str) -> str:
    """A file name as people may see it: what is not printable, or not UTF-8, is escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def walk_tree(top: Path, keep: PathFilter = lambda _name: True) -> Iterator[tuple[str, os.stat_result]]:
    """Every path below ``top``, relative to it, directories before what they hold, in the order of their bytes.

    ``keep`` says of a path at the top whether it counts. Symbolic links are not followed. Raises PackageFault
    for what no source package can hold (a device, a pipe, a socket).
    """
    waiting = [entry.name for entry in os.scandir(top) if keep(entry.name)]
    waiting.sort(key=os.fsencode, reverse=True)
    while waiting:
        name = waiting.pop()
        status = (top / name).lstat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            raise PackageFault(
                f"{show_name(name)} is neither a file nor a directory nor a symbolic link",
                where=show_name(name),
                resolution="Remove it from the trunk.",
            )
        yield name, status
        if stat.S_ISDIR(status.st_mode):
            below = [f"{name}/{entry.name}" for entry in os.scandir(top / name)]
            waiting += sorted(below, key=os.fsencode, reverse=True)


def normal_mode(status: os.stat_result) -> int:
    """0755 for directories and what its owner may execute, 0644 for all else."""
    return 0o755 if stat.S_ISDIR(status.st_mode) or status.st_mode & stat.S_IXUSR else 0o644


def copy_tree(source: Path, destination: Path, keep: PathFilter = lambda _name: True) -> None:
    """Copy a tree into ``destination``, made where missing; with normal modes, links as links."""
    destination.mkdir(exist_ok=True)
    destination.chmod(0o755)
    for name, status in walk_tree(source, keep):
        target = destination / name
        if stat.S_ISDIR(status.st_mode):
            target.mkdir()
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(source / name), target)  # noqa: PTH115, PTH211 (Path tidies it up)
            continue
        else:
            _copy_content(source / name, target)
        target.chmod(normal_mode(status))


def _copy_content(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("xb") as writer:
        size = os.fstat(reader.fileno()).st_size
        offset = 0
        while offset < size:
            sent = os.sendfile(writer.fileno(), reader.fileno(), offset, size - offset)
            if not sent:
                break
            offset += sent


def stamp_tree(top: Path, seconds: int) -> None:
    """Give every path of a tree, itself included, the same time."""
    for name in [*(name for name, _ in walk_tree(top)), "."]:
        os.utime(top / name, (seconds, seconds), follow_symlinks=False)


def write_tarball(tree: Path, tarball: Path, prefix: str, seconds: int, keep: PathFilter) -> None:
    """Pack ``tree`` below the directory ``prefix`` into an xz tarball; the same tree gives the same bytes.

    Names may hold any bytes. ``seconds`` is the time of every entry.
    """
    with (
        lzma.open(tarball, "wb", preset=XZ_PRESET) as file,
        tarfile.open(
            mode="w|", fileobj=file, format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
        ) as tar,
    ):
        tar.addfile(_member(prefix, tree.stat(), seconds))
        for name, status in walk_tree(tree, keep):
            member = _member(f"{prefix}/{name}", status, seconds)
            if member.issym():
                member.linkname = os.readlink(tree / name)  # noqa: PTH115 (as it is: Path tidies it up)
                tar.addfile(member)
            elif member.isreg():
                with (tree / name).open("rb") as content:
                    tar.addfile(member, content)
            else:
                tar.addfile(member)


def _member(name: str, status: os.stat_result, seconds: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mtime = seconds
    if stat.S_ISDIR(status.st_mode):
        member.type, member.mode = tarfile.DIRTYPE, 0o755
    elif stat.S_ISLNK(status.st_mode):
        member.type, member.mode = tarfile.SYMTYPE, 0o777
    else:
        member.size, member.mode = status.st_size, normal_mode(status)
    return member


def is_upstream(name: str) -> bool:
    """Whether a path at the top of a tree belongs to upstream: debian/ does not, nor quilt's own notes."""
    return name not in ("debian", ".pc")


def unapplied_tree(tree: Path, scratch: Path) -> Path:
    """The tree with Debian's patches not applied: itself, or a copy of it in ``scratch``.

    Trunks keep either form. As dpkg-source does, the first patch decides: where it applies, none is applied.
    Where it does not and all of them can be taken back, they were. Else the tree itself is returned, and
    dpkg-source will say what is wrong with the patches.
    """
    patches = read_patches(tree)
    if not patches or _patch(tree, patches[0], "--dry-run"):
        return tree
    copy_tree(tree, scratch, lambda name: name != ".pc")
    return scratch if all(_patch(scratch, patch, "-R") for patch in reversed(patches)) else tree


def read_patches(tree: Path) -> list[Path]:
    """The patches that debian/patches/series names, in its order; only those that are files in the tree."""
    series = tree / PATCHES / "series"
    if not series.is_file() or not is_inside(tree, series):
        return []
    lines = series.read_bytes().decode("utf-8", "surrogateescape").splitlines()
    names = [line.split()[0] for line in lines if line.split() and not line.lstrip().startswith("#")]
    patches = [tree / PATCHES / name for name in names if "\0" not in name]
    return [patch for patch in patches if patch.is_file() and is_inside(tree, patch)]


def _patch(tree: Path, patch: Path, *how: str) -> bool:
    finished = run([*PATCH_COMMAND, *how], cwd=tree, input_bytes=patch.read_bytes(), timeout_s=PATCH_TIMEOUT_S)
    if finished.timed_out or finished.returncode not in (0, 1, 2):
        raise FarmTrouble(f"patch {how_it_ended(finished)}", where=show_name(patch.name), details=finished.tail())
    return finished.returncode == 0
