"""Making a Debian source package: dpkg-source makes .dsc and tarballs, .buildinfo and .changes are written here.

dpkg-genbuildinfo and dpkg-genchanges take most of a second, and put the time of day and what this machine happens
to have installed into what should depend on the commit alone.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.process import Finished, clean_environment, how_it_ended, run
from buildfarm.source import VersionInfo
from buildfarm.source.changelog import CHANGELOG, Entry, rfc2822
from buildfarm.source.control import ListedFile, checksum_fields, describe_file, read_fields, read_listed
from buildfarm.source.packaging import Packaging
from buildfarm.source.upstream import copy_tree, stamp_tree
from buildfarm.source.version import parse_version

DPKG_SOURCE_TIMEOUT_S = 600.0
UNPACK_TIMEOUT_S = 300.0
TOOL_PACKAGES = ("dpkg-dev", "patch", "tar", "xz-utils")
_TOOL_SAYS = re.compile(r"^dpkg-source: (?:error|info|warning): ")
_PLACE = re.compile(r"(debian/[^\s:,()]+)(?: at line |\(line |\(l|, line )(\d+)")


@dataclass(frozen=True)
class SourcePackage:
    """The files of one source package, all in ``directory``: bare names."""

    directory: Path
    dsc: str
    buildinfo: str
    changes: str
    tarballs: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.tarballs, self.dsc, self.buildinfo, self.changes)


def lay_out(work: Path, tree: Path, info: VersionInfo, orig: Path | None, entry: Entry) -> Path:
    """The directory that dpkg-source packs: upstream's tarball unpacked with debian/ over it, and the new entry.

    A native package (``orig`` None) is the tree itself. Returns the directory, below ``work``.
    """
    top = work / info.directory
    if orig is None:
        copy_tree(tree, top, lambda name: name != ".pc")
    else:
        link_or_copy(orig, work / orig.name)
        run(
            ["tar", "--extract", "--file", orig, "--no-same-owner", "--preserve-permissions"],
            cwd=work,
            timeout_s=UNPACK_TIMEOUT_S,
            check=True,
        )
        copy_tree(tree / "debian", top / "debian")
    changelog = top / CHANGELOG
    written_before = changelog.read_bytes()
    changelog.unlink()  # it may be a link to a file that stays as it is
    changelog.write_bytes(f"{entry}\n".encode() + written_before)
    changelog.chmod(0o644)
    stamp_tree(top if orig is None else top / "debian", entry.changed_at)
    return top


def link_or_copy(source: Path, target: Path) -> None:
    """The same content under another name, without a copy where the file system allows it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def build_dsc(top: Path, info: VersionInfo, version: str, epoch_s: int, log: BinaryIO) -> Path:
    """Run dpkg-source on the directory; returns the .dsc beside it. Nothing of the package is executed.

    Raises PackageFault with dpkg-source's words where the package is not right.
    """
    environment = clean_environment(top.parent, SOURCE_DATE_EPOCH=str(epoch_s), DEB_VENDOR="debian")
    for action in ("--before-build", "--build"):
        if action == "--before-build" and not (top / "debian/patches").is_dir():
            continue
        finished = run(
            ["dpkg-source", f"--format={info.dpkg_format}", action, top.name],
            cwd=top.parent,
            env=environment,
            timeout_s=DPKG_SOURCE_TIMEOUT_S,
            merge_errors=True,
            log=log,
        )
        if not finished.ok:
            raise _judge_dpkg_source(finished)
    dsc = top.parent / f"{info.source}_{parse_version(version).without_epoch}.dsc"
    if not dsc.is_file():
        raise FarmTrouble(f"dpkg-source made no {dsc.name}", details=finished.tail())
    return dsc


def _judge_dpkg_source(finished: Finished) -> PackageFault | FarmTrouble:
    lines = finished.text.rstrip().splitlines()
    errors = [_TOOL_SAYS.sub("", line) for line in lines if line.startswith("dpkg-source: error: ")]
    if finished.timed_out or finished.returncode < 0 or "No space left on device" in finished.text:
        return FarmTrouble(f"dpkg-source {how_it_ended(finished)}", details=finished.tail())
    place = _PLACE.search(finished.text)
    return PackageFault(
        f"dpkg-source refuses the package: {errors[0] if errors else how_it_ended(finished)}",
        where=f"{place[1]}:{place[2]}" if place else "",
        details=finished.tail(),
        resolution="`dpkg-source --build .` in a clean checkout of the trunk shows the same.",
    )


def describe_package(dsc: Path, packaging: Packaging, entry: Entry, tools: Tools) -> SourcePackage:
    """Write _source.buildinfo and _source.changes beside the .dsc; they depend on nothing but the arguments."""
    fields = read_fields(dsc.read_text(encoding="utf-8"))
    tarballs = [describe_file(dsc.parent / name) for name in sorted(read_listed(fields))]
    stem = f"{dsc.name.removesuffix('.dsc')}_source"
    listed_dsc = describe_file(dsc)
    buildinfo = dsc.parent / f"{stem}.buildinfo"
    buildinfo.write_text(_buildinfo(fields, listed_dsc, tools, entry.changed_at), encoding="utf-8")
    listed = [listed_dsc, *tarballs, describe_file(buildinfo)]
    changes = dsc.parent / f"{stem}.changes"
    changes.write_text(_changes(fields, listed, packaging, entry), encoding="utf-8")
    return SourcePackage(dsc.parent, dsc.name, buildinfo.name, changes.name, tuple(file.name for file in tarballs))


def _buildinfo(dsc: Mapping[str, str], file: ListedFile, tools: Tools, epoch_s: int) -> str:
    """deb-buildinfo(5). Only what made the package is listed as installed: nothing else had a part in it."""
    installed = ",\n".join(f" {name} (= {version})" for name, version in sorted(tools.versions.items()))
    lines = [
        "Format: 1.0",
        f"Source: {dsc['source']}",
        f"Binary: {' '.join(dsc.get('binary', '').replace(',', ' ').split())}",
        "Architecture: source",
        f"Version: {dsc['version']}",
        "Checksums-Md5:",
        f" {file.md5} {file.size_bytes} {file.name}",
        *checksum_fields([file]),
        f"Build-Architecture: {tools.architecture}",
        f"Installed-Build-Depends:\n{installed}",
        "Environment:",
        ' LANG="C.UTF-8"',
        ' LC_ALL="C.UTF-8"',
        f' SOURCE_DATE_EPOCH="{epoch_s}"',
    ]
    return "\n".join(lines) + "\n"


def _changes(dsc: Mapping[str, str], files: list[ListedFile], packaging: Packaging, entry: Entry) -> str:
    """deb-changes(5), for an upload of source with its upstream tarball."""
    quoted = [f" {line}" if line else " ." for line in entry.quoted().split("\n")]
    place = f"{packaging.section} {packaging.priority}"
    lines = [
        "Format: 1.8",
        f"Date: {rfc2822(entry.changed_at)}",
        f"Source: {entry.source}",
        "Architecture: source",
        f"Version: {entry.version}",
        f"Distribution: {entry.distribution}",
        f"Urgency: {entry.urgency}",
        f"Maintainer: {' '.join(dsc['maintainer'].split())}",
        f"Changed-By: {entry.changed_by}",
        "Changes:",
        *quoted,
        *checksum_fields(files),
        "Files:",
        *(f" {file.md5} {file.size_bytes} {place} {file.name}" for file in files),
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Tools:
    """The Debian packages whose tools made something, with their versions; and this machine's architecture."""

    versions: Mapping[str, str]
    architecture: str


def installed_tools(*packages: str) -> Tools:
    """What is installed here of ``packages``; one that is not there is left out."""
    finished = run(
        ["dpkg-query", "--show", "--showformat=${Package} ${Version} ${Architecture}\n", "dpkg", *packages],
        timeout_s=30.0,
    )
    rows = [line.split(" ") for line in finished.text.splitlines() if line.count(" ") == 2]
    versions = {name: version for name, version, _ in rows if version and name in packages}
    return Tools(versions, next((architecture for name, _, architecture in rows if name == "dpkg"), "all"))
