"""The tarball stage: a version for each series, and the upstream tarball that all of them share."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from buildfarm.errors import PackageFault
from buildfarm.job import Job, SourcePart
from buildfarm.source import VERSION_FILE, VersionInfo, write_version
from buildfarm.source.packaging import Packaging, read_branch_versions, read_packaging
from buildfarm.source.series import find_series
from buildfarm.source.upstream import is_upstream, unapplied_tree, write_tarball
from buildfarm.source.version import DebianVersion, Versions, commit_time, make_versions
from buildfarm.stages.runner import StageContext
from buildfarm.trunk import REVISIONS_FILE, RevisionInfo, read_revisions
from buildfarm.verdict import Outcome, Verdict


def run(context: StageContext) -> Outcome:
    """Decide the versions; pack the upstream tarball for a package that has one."""
    packaging = read_packaging(context.tree)
    revisions = read_revisions(context.workspace)
    versions = _choose_versions(context.job, context.tree, packaging, revisions)
    info = _describe(context.job, packaging, versions)
    outputs = [VERSION_FILE]
    if info.orig:
        _pack(context.tree, context.out / info.orig, info, commit_time(revisions[""]))
        outputs.append(context.workspace.relative(context.out / info.orig))
    write_version(context.workspace, info)
    return Outcome(
        Verdict.PASS,
        f"{info.source} {', '.join(info.versions.values())}",
        inputs=("job.json", REVISIONS_FILE),
        outputs=tuple(outputs),
        assumed=(*packaging.assumed, *versions.assumed),
        facts={"source": info.source, "format": info.dpkg_format, "upstream_version": info.upstream_version},
    )


def _choose_versions(
    job: Job, tree: Path, packaging: Packaging, revisions: Mapping[str, RevisionInfo]
) -> Versions:
    changelogs: dict[str, DebianVersion] = {"": packaging.heading.version}
    changelogs |= read_branch_versions(tree, {part.name: _changelog_places(part) for part in job.parts})
    series = [find_series(codename) for codename in job.series]
    try:
        return make_versions(job.version_template, packaging.format, revisions, changelogs, series)
    except ValueError as error:
        raise PackageFault(
            f"no version can be made: {error}",
            where="version",
            details=f"version template: {job.version_template}" if job.version_template else "",
            resolution="Correct the recipe's version template or the newest entry of debian/changelog.",
        ) from error


def _changelog_places(part: SourcePart) -> tuple[str, ...]:
    """Where a branch's own debian/changelog stands in the tree, once the branch is laid in."""
    if part.kind == "merge":
        return ("debian/changelog",)
    nested = f"{part.into or part.subdir}/"
    return (f"{nested}debian/changelog", *((f"{nested}changelog",) if nested.endswith("debian/") else ()))


def _describe(job: Job, packaging: Packaging, versions: Versions) -> VersionInfo:
    source = packaging.heading.source
    is_quilt = packaging.format == "quilt"
    return VersionInfo(
        source=source,
        format=packaging.format,
        upstream_version=versions.upstream,
        orig=f"{source}_{versions.upstream}.orig.tar.xz" if is_quilt else "",
        versions=versions.by_series,
        distributions={codename: find_series(codename).distribution for codename in job.series},
    )


def _pack(tree: Path, tarball: Path, info: VersionInfo, seconds: int) -> None:
    with tempfile.TemporaryDirectory(prefix=".unapplied-", dir=tarball.parent) as scratch:
        upstream = unapplied_tree(tree, Path(scratch))
        write_tarball(upstream, tarball, info.directory, seconds, is_upstream)
