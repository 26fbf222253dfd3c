"""What a run has published for one target: the source, its binaries, and how apt is told of the archive."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.stages.runner import StageContext
from buildfarm.verdict import Verdict
from ppa_tools.address import parse_address
from ppa_tools.archives.errors import ArchiveError
from ppa_tools.archives.pool import pool_directory
from ppa_tools.archives.upload_client import UploadClient
from ppa_tools.debversion import version_key, without_epoch

SOURCES_TIMEOUT_S = 30
SOURCES_LIMIT_BYTES = 256 << 10


@dataclass(frozen=True)
class Published:
    """A source version in the archive with its binaries (name to version, debug symbols left out), and the
    archive's .sources file, as users get it."""

    source: str
    version: str
    packages: Mapping[str, str]
    sources: str


def find_published(context: StageContext) -> Published | str:
    """What was published for the context's target; or, in words, why there is nothing to verify.

    Raises FarmTrouble when the publish stage did not run here, or the archive does not answer.
    """
    address = parse_address(context.job.archive)
    if address.backend != "local":
        return f"{address} is not this farm's archive: Launchpad publishes when it likes"
    result = context.workspace.read_result("publish", context.target)
    if result is None:
        raise FarmTrouble(
            f"{context.target} is not published",
            resolution=f"Run `buildfarm stage publish --series {context.series}` in this workspace first.",
        )
    if result.verdict is not Verdict.PASS:
        return f"nothing was published: {result.reason}"
    packages = {name: version for name, version in result.facts["packages"].items() if "-dbgsym" not in name}
    if not packages:
        return f"nothing to install: {result.reason}"
    sources = fetch_sources(context)
    if sources is None:
        return f"{address} is private: machines are trusted with no one's token"
    return Published(str(result.facts["source"]), str(result.facts["version"]), packages, sources)


def require_built(published: Published, names: Sequence[str], where: str) -> None:
    """Raise PackageFault unless the build made all the packages that the recipe wants installed."""
    if missing := [name for name in names if name not in published.packages]:
        raise PackageFault(
            f"the build made no {', '.join(missing)}, which the recipe wants installed",
            where=where,
            resolution=f"It made {', '.join(sorted(published.packages))}.",
        )


def fetch_sources(context: StageContext) -> str | None:
    """The archive's .sources file, as users get it; None where that takes a token. Raises FarmTrouble."""
    address = parse_address(context.job.archive)
    base = f"{context.settings.archive_local_url}/{address.owner}/{address.name}"
    url = f"{base}/{address.name}-{context.series}.sources"
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=SOURCES_TIMEOUT_S) as reply:
            text: bytes = reply.read(SOURCES_LIMIT_BYTES)
    except (urllib.error.URLError, OSError) as error:
        if isinstance(error, urllib.error.HTTPError) and error.code == 401:
            return None
        raise FarmTrouble(
            f"{url} cannot be had: {error}", resolution="Is the farm up? `buildfarm status` tells what runs."
        ) from error
    return text.decode()


def superseded_by(context: StageContext, published: Published) -> str:
    """The version that has taken this one's place in the archive meanwhile, or ""; raises FarmTrouble."""
    rows = _publications(context, published.source)
    newer = [
        row["version"]
        for row in rows
        if row["status"] in ("Pending", "Published")
        and row["binaries"]
        and version_key(row["version"]) > version_key(published.version)
    ]
    return max(newer, key=version_key, default="")


def _publications(context: StageContext, source: str) -> Sequence[Mapping[str, Any]]:
    client = UploadClient(context.settings.archive_local_url)
    try:
        return client.publications(parse_address(context.job.archive), context.series, source)
    except ArchiveError as error:
        raise FarmTrouble(str(error), resolution="Is the farm up? `buildfarm status` tells what runs.") from error


@dataclass(frozen=True)
class VersionBefore:
    """The version that stood in the archive before this one, and the addresses of its packages, by name; an
    empty version where there was none, no files where they are gone."""

    version: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


def find_version_before(context: StageContext, published: Published) -> VersionBefore:
    """What users of the archive have installed until now; raises FarmTrouble."""
    address = parse_address(context.job.archive)
    older = [
        row
        for row in _publications(context, published.source)
        if row["binaries"] and version_key(row["version"]) < version_key(published.version) and row["built_on"]
    ]
    if not older:
        return VersionBefore()
    row = max(older, key=lambda one: version_key(one["version"]))
    base = f"{context.settings.archive_url}/{address.owner}/{address.name}/{pool_directory(published.source)}"
    local = (
        f"{context.settings.archive_local_url}/{address.owner}/{address.name}/{pool_directory(published.source)}"
    )
    names = {
        binary["package"]: f"{binary['package']}_{without_epoch(binary['version'])}_{binary['architecture']}.deb"
        for binary in row["binaries"]
        if binary["index"] == context.architecture and binary["package"] in published.packages
    }
    if not names or not all(_is_there(f"{local}/{name}") for name in names.values()):
        return VersionBefore(row["version"])
    return VersionBefore(row["version"], {package: f"{base}/{name}" for package, name in names.items()})


def _is_there(url: str) -> bool:
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 (our own http address)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=SOURCES_TIMEOUT_S):
            return True
    except (urllib.error.URLError, OSError):
        return False
