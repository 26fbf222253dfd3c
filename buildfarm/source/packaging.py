"""What the packaging in a tree says of itself: debian/changelog, debian/control, debian/source/format."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import PackageFault
from buildfarm.files import is_inside
from buildfarm.process import run
from buildfarm.source import SourceFormat
from buildfarm.source.changelog import CHANGELOG, ChangelogError, Heading, read_heading
from buildfarm.source.control import ControlError, read_fields
from buildfarm.source.upstream import show_name, walk_tree
from buildfarm.source.version import DebianVersion

CONTROL = "debian/control"
FORMAT = "debian/source/format"
NAME_LIMIT = 100  # characters; with the version (at most 128) it makes file names, of at most 255
SIZE_LIMIT_BYTES = 32 * 1024 * 1024
PARSER_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Packaging:
    """The packaging of one tree. ``assumed`` is what it left unsaid."""

    heading: Heading
    format: SourceFormat
    maintainer: str
    section: str
    priority: str
    assumed: tuple[str, ...]


def read_packaging(tree: Path) -> Packaging:
    """What the tree's debian/ says; raises PackageFault, with file, line and column as far as they are known."""
    if (tree / "debian").is_symlink() or not (tree / "debian").is_dir():
        raise PackageFault(
            "the trunk has no debian/ directory",
            where="debian",
            resolution="Add the packaging to the trunk, or nest its branch into debian in the recipe.",
        )
    _refuse_links_out(tree)
    heading = read_changelog(tree)
    if len(heading.source) > NAME_LIMIT:
        raise PackageFault(
            f"the source package's name has {len(heading.source)} characters, more than {NAME_LIMIT}",
            where=f"{CHANGELOG}:{heading.line}:1",
            details=f"{heading.source[:NAME_LIMIT]}…",
            resolution=f"Give it a shorter name in {CHANGELOG} and {CONTROL}: files are named by it.",
        )
    source_format, assumed = _read_format(tree, heading)
    control = _read_control(tree)
    return Packaging(
        heading,
        source_format,
        " ".join(control["maintainer"].split()),
        _first_word(control.get("section", "")) or "-",
        _first_word(control.get("priority", "")) or "optional",
        assumed,
    )


def read_changelog(tree: Path, path: str = CHANGELOG) -> Heading:
    """The newest entry's heading; raises PackageFault with dpkg's own words about it."""
    content = read_inside(tree, path)
    try:
        return read_heading(content)
    except ChangelogError as error:
        said = run(
            ["dpkg-parsechangelog", "--count", "1", "--file", "-"],
            input_bytes=content,
            timeout_s=PARSER_TIMEOUT_S,
        )
        raise PackageFault(
            f"the changelog cannot be read: {error}",
            where=f"{path}:{error.line}:{error.column}",
            details="\n".join(said.errors.decode("utf-8", "backslashreplace").splitlines()[-5:]),
            resolution="An entry begins as in 'hello (2.10-3) unstable; urgency=medium'; `dch` writes them.",
        ) from error


def read_branch_versions(tree: Path, places: dict[str, tuple[str, ...]]) -> dict[str, DebianVersion]:
    """The changelog's version of each named branch that has one, looked for at its ``places`` in the tree."""
    found = {}
    for name, paths in places.items():
        path = next((path for path in paths if (tree / path).is_file()), None)
        if path is not None:
            found[name] = read_changelog(tree, path).version
    return found


def read_inside(tree: Path, path: str) -> bytes:
    """A file of the packaging; raises PackageFault when it is missing, too large, or a link out of the tree."""
    file = tree / path
    if not is_inside(tree, file):
        raise _leads_out(path)
    if not file.is_file():
        raise PackageFault(
            f"{path} is missing", where=path, resolution="Add it: a source package cannot be made without."
        )
    if file.stat().st_size > SIZE_LIMIT_BYTES:
        raise PackageFault(f"{path} has more than {SIZE_LIMIT_BYTES // 1024**2} MiB", where=path)
    return file.read_bytes()


def _refuse_links_out(tree: Path) -> None:
    """Refuse a link in debian/ that leads out of the tree, which the tools would follow on this machine.

    dpkg-source too refuses it, but only when it unpacks, and only where the link's target exists.
    """
    for name, status in walk_tree(tree / "debian"):
        link = tree / "debian" / name
        is_null = stat.S_ISLNK(status.st_mode) and link.readlink() == Path("/dev/null")
        if stat.S_ISLNK(status.st_mode) and not is_null and not is_inside(tree, link):
            raise _leads_out(f"debian/{name}")


def _leads_out(path: str) -> PackageFault:
    return PackageFault(
        f"{show_name(path)} is a symbolic link out of the tree",
        where=show_name(path),
        resolution="Commit the file itself, or a relative link to a file of the trunk.",
    )


def _read_format(tree: Path, heading: Heading) -> tuple[SourceFormat, tuple[str, ...]]:
    stated = ""
    if (tree / FORMAT).is_symlink() or (tree / FORMAT).exists():
        stated = " ".join(read_inside(tree, FORMAT).decode("utf-8", "backslashreplace").split())
    if stated == "3.0 (quilt)":
        return "quilt", ()
    if stated == "3.0 (native)":
        return "native", ()
    if stated in ("", "1.0"):
        guessed: SourceFormat = "quilt" if heading.version.revision else "native"
        why = f"{FORMAT} says 1.0" if stated else f"there is no {FORMAT}"
        return guessed, (f"{why}; by the changelog's version it is made as 3.0 ({guessed})",)
    raise PackageFault(
        f"the source format {stated[:60]!r} is not made here",
        where=f"{FORMAT}:1:1",
        resolution="Use '3.0 (quilt)' for a package with an upstream tarball, '3.0 (native)' for one without.",
    )


def _read_control(tree: Path) -> dict[str, str]:
    try:
        fields = read_fields(read_inside(tree, CONTROL).decode("utf-8", "replace"))
    except ControlError as error:
        raise PackageFault(str(error), where=f"{CONTROL}:{error.line}:1") from error
    for name in ("Source", "Maintainer"):
        if not fields.get(name.lower(), "").strip():
            raise PackageFault(
                f"{CONTROL} names no {name} in its first paragraph",
                where=f"{CONTROL}:1:1",
                resolution=f"Begin it with the source package's paragraph, with a {name} field.",
            )
    return fields


def _first_word(text: str) -> str:
    return next(iter(text.split()), "")
