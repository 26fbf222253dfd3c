"""The source stage: one series' Debian source package, the same bytes whenever and wherever it is made."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from buildfarm.errors import FarmTrouble
from buildfarm.files import sha256_of
from buildfarm.source import VERSION_FILE, VersionInfo, read_version
from buildfarm.source.changelog import Entry, one_line
from buildfarm.source.package import (
    TOOL_PACKAGES,
    build_dsc,
    describe_package,
    installed_tools,
    lay_out,
)
from buildfarm.source.packaging import Packaging, read_packaging
from buildfarm.source.version import commit_time
from buildfarm.stages.runner import StageContext
from buildfarm.trunk import REVISIONS_FILE, RevisionInfo, read_revisions, redact
from buildfarm.verdict import Outcome, Verdict


def run(context: StageContext) -> Outcome:
    """Put an entry on the changelog, have dpkg-source pack it, and describe it for the upload."""
    info = read_version(context.workspace)
    version = _version_for(info, context.series)
    packaging = read_packaging(context.tree)
    revisions = read_revisions(context.workspace)
    entry = write_entry(context, info, version, packaging, revisions)
    orig = context.workspace.path / "tarball" / info.orig if info.orig else None
    tools = installed_tools(*TOOL_PACKAGES)
    with tempfile.TemporaryDirectory(prefix=".work-", dir=context.out) as name:
        top = lay_out(Path(name), context.tree, info, orig, entry)
        dsc = build_dsc(top, info, version, entry.changed_at, context.log)
        package = describe_package(dsc, packaging, entry, tools)
        for file in package.files:
            (package.directory / file).rename(context.out / file)
    changes = context.out / package.changes
    return Outcome(
        Verdict.PASS,
        f"{info.source} {version}",
        inputs=("job.json", REVISIONS_FILE, VERSION_FILE, *([f"tarball/{info.orig}"] if info.orig else [])),
        outputs=tuple(context.workspace.relative(context.out / file) for file in package.files),
        tools=tools.versions,
        facts={
            "source": info.source,
            "version": version,
            "format": info.dpkg_format,
            "changes": context.workspace.relative(changes),
            "changes_sha256": sha256_of(changes),
            "dsc": context.workspace.relative(context.out / package.dsc),
        },
    )


def write_entry(
    context: StageContext,
    info: VersionInfo,
    version: str,
    packaging: Packaging,
    revisions: dict[str, RevisionInfo],
) -> Entry:
    """The changelog entry that says which commit this is; dated by the commit."""
    trunk = revisions[""]
    parts = [f"With {name} from {_describe(part)}." for name, part in revisions.items() if name]
    # Not the recipe's name: a commit under a renamed recipe is the same version, so it must be the same bytes.
    automated = f"Automated build from {_describe(trunk)}."
    return Entry(
        source=info.source,
        version=version,
        distribution=context.series,
        urgency=packaging.heading.urgency,
        changes=(("", (automated, *parts)), (trunk.author, (trunk.summary,))),
        changed_by=_who_changed(context, packaging),
        changed_at=commit_time(trunk),
    )


def _who_changed(context: StageContext, packaging: Packaging) -> str:
    """The first of recipe, packaging and farm that is a name with an address: a trailer needs both."""
    farm = context.settings.farm
    named = (one_line(text) for text in (context.job.maintainer, packaging.maintainer))
    known = (text for text in named if re.fullmatch(r"[^<>]+ <[^<> ]+>", text))
    return next(known, f"{farm.name} <{farm.email}>")


def _describe(revision: RevisionInfo) -> str:
    branch = f" ({revision.branch})" if revision.branch else ""
    short = f" ({revision.short})" if revision.vcs == "git" else ""
    return f"{redact(revision.location)}{branch} at revision {revision.revno}{short}"


def _version_for(info: VersionInfo, series: str) -> str:
    if series not in info.versions:
        raise FarmTrouble(
            f"the tarball stage made no version for {series}",
            where=VERSION_FILE,
            resolution="Run the tarball stage again in this workspace.",
        )
    return info.versions[series]
