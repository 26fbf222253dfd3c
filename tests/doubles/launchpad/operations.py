"""The named operations on archives and publications: ``ws.op`` of a GET reads, of a POST changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import quote

from ppa_tools.debversion import version_key
from tests.doubles.launchpad import copies
from tests.doubles.launchpad.messages import Answer, Parameters, Request, Stop, as_json
from tests.doubles.launchpad.model import (
    BUILD_STATES,
    BUILDING,
    FAILED,
    NEEDS_BUILDING,
    STATUSES,
    Archive,
    BinaryPublication,
    Build,
    SourcePublication,
)
from tests.doubles.launchpad.packages import Packages
from tests.doubles.launchpad.paging import BadBatch, page
from tests.doubles.launchpad.rendering import Rendering
from tests.doubles.launchpad.world import World

Row = TypeVar("Row")
POCKETS = ("Release", "Security", "Updates", "Proposed", "Backports")


class Operations:
    """What may be asked of archives, publications and builds, in one version of the API."""

    def __init__(self, world: World, packages: Packages, rendering: Rendering) -> None:
        self.world = world
        self.packages = packages
        self.rendering = rendering

    def rows(self, request: Request, rows: Sequence[Row], render: Callable[[Row], str]) -> Answer:
        """One batch of what an operation found."""
        url = f"{self.rendering.root}/{request.path}"
        try:
            text = page(
                rows,
                render,
                url=url,
                query=request.flat_query,
                kind="",
                size_link=self.rendering.version == "devel",
            )
        except BadBatch as error:
            raise Stop(400, str(error)) from error
        return Answer(body=text.encode())

    # Archives

    def on_archive(self, request: Request, archive: Archive) -> Answer:
        """Any operation of an archive; a private one answers 401 to those who may not see into it."""
        if not self.world.may_read(request.who, archive):
            raise Stop(401, f"(<Archive object>, '{request.operation}', 'launchpad.View')")
        reading = {
            "getPublishedSources": self._published_sources,
            "getPublishedBinaries": self._published_binaries,
            "getBuildSummariesForSourceIds": self._build_summaries,
            "getBuildRecords": self._build_records,
            "getBuildCounters": self._build_counters,
        }
        changing = {"copyPackage": self._copy_package, "copyPackages": self._copy_packages}
        found = (reading if request.method == "GET" else changing).get(request.operation)
        if found is None or (request.method == "POST" and self.rendering.version != "devel"):
            raise Stop(400, f"No such operation: {request.operation}")
        if request.method == "POST" and not request.may_change:
            raise Stop(401, f"(<Archive object>, '{request.operation}', 'launchpad.View')")
        return found(request, archive, Parameters(request.parameters))

    def _published_sources(self, request: Request, archive: Archive, given: Parameters) -> Answer:
        name, version, series = (
            given.text("source_name"),
            given.text("version"),
            self._series(given, "distro_series"),
        )
        if version is not None and name is None:
            raise Stop(400, "The 'version' parameter can be used only together with the 'name' parameter.")
        status = self._choice(given, "status", STATUSES)
        exact, since = given.flag("exact_match"), _moment(given, "created_since_date")
        newest_first, oldest_first = given.flag("order_by_date"), given.flag("order_by_date_ascending")
        if self._choice(given, "pocket", POCKETS) not in (None, "Release"):
            return self.rows(request, [], self.rendering.source)
        key = ("sources", name, version, series, status, exact, since, newest_first, oldest_first)

        def find() -> list[SourcePublication]:
            candidates = archive.by_source.get(name, []) if exact and name is not None else archive.sources
            rows = [
                one
                for one in candidates
                if (name is None or exact or name in one.release.name)
                and (version is None or one.release.version == version)
                and (series is None or one.series == series)
                and (status is None or one.status == status)
                and (since is None or one.created_at >= since)
            ]
            if newest_first or oldest_first:
                return sorted(rows, key=lambda one: (one.created_at, one.id), reverse=newest_first)
            rows.sort(key=lambda one: (version_key(one.release.version), one.id), reverse=True)
            return sorted(rows, key=lambda one: one.release.name)

        return self.rows(request, archive.remember(key, find), self.rendering.source)

    def _published_binaries(self, request: Request, archive: Archive, given: Parameters) -> Answer:
        name, version = given.text("binary_name"), given.text("version")
        if version is not None and name is None:
            raise Stop(400, "The 'version' parameter can be used only together with the 'name' parameter.")
        where = self._architecture(given)
        status = self._choice(given, "status", STATUSES)
        exact, since = given.flag("exact_match"), _moment(given, "created_since_date")
        newest_first, oldest_first = given.flag("order_by_date"), given.flag("order_by_date_ascending")
        if self._choice(given, "pocket", POCKETS) not in (None, "Release"):
            return self.rows(request, [], self.rendering.binary)
        key = ("binaries", name, version, where, status, exact, since, newest_first, oldest_first)

        def find() -> list[BinaryPublication]:
            rows = [
                one
                for one in archive.binaries
                if (name is None or _matches(name, one.binary.spec.package, exact))
                and (version is None or one.binary.version == version)
                and (where is None or (one.series, one.architecture) == where)
                and (status is None or one.status == status)
                and (since is None or one.created_at >= since)
            ]
            if newest_first or oldest_first:
                return sorted(rows, key=lambda one: (one.created_at, one.id), reverse=newest_first)
            return sorted(rows, key=lambda one: (one.binary.spec.package, -one.id))

        return self.rows(request, archive.remember(key, find), self.rendering.binary)

    def _build_summaries(self, _request: Request, archive: Archive, given: Parameters) -> Answer:
        found: dict[str, object] = {}
        for number in given.texts("source_ids"):
            one = self.world.sources.get(number) if isinstance(number, int) else None
            if one is None or one.archive is not archive:
                continue
            status, builds = copies.summary(copies.builds_of_publication(one), one)
            found[str(one.id)] = {
                "status": status,
                "builds": [json.loads(self.rendering.build(build)) for build in builds],
                "date_published": json.loads(self.rendering.source(one))["date_published"],
                "source_package_name": one.release.name,
            }
        return as_json(found)

    def _build_records(self, request: Request, archive: Archive, given: Parameters) -> Answer:
        name, state = given.text("source_name"), self._choice(given, "build_state", BUILD_STATES)
        rows = [
            build
            for build in self.world.builds.values()
            if build.archive is archive
            and (name is None or name in build.release.name)
            and (state is None or build.state == state)
        ]
        rows.sort(key=lambda build: build.id, reverse=True)
        return self.rows(request, rows, self.rendering.build)

    def _build_counters(self, _request: Request, archive: Archive, _given: Parameters) -> Answer:
        builds = [build for build in self.world.builds.values() if build.archive is archive]
        waiting = sum(build.state == "Needs building" for build in builds)
        built = sum(build.state == "Successfully built" for build in builds)
        failed = sum(build.state in FAILED for build in builds)
        pending = sum(build.state in BUILDING for build in builds) + waiting
        return as_json(
            {"total": len(builds), "pending": pending, "failed": failed, "succeeded": built, "superseded": 0}
        )

    # Copies

    def _copy_package(self, request: Request, target: Archive, given: Parameters) -> Answer:
        name, version = given.needed("source_name"), given.needed("version")
        source, pocket = self._from_archive(request, given), given.needed("to_pocket")
        from_series = self._series_name(given.text("from_series"))
        self._known(name)
        found = copies.newest(source, name, series=from_series, version=version)
        if found is None:
            raise Stop(400, f"{name} is not published in {source.display_name}.")
        return self._ask(request, target, source, [found], given, pocket, from_series)

    def _copy_packages(self, request: Request, target: Archive, given: Parameters) -> Answer:
        names = [str(one) for one in given.texts("source_names")]
        source, pocket = self._from_archive(request, given), given.needed("to_pocket")
        from_series = self._series_name(given.text("from_series"))
        found = []
        for name in names:
            self._known(name)
            one = copies.newest(source, name, series=from_series, statuses=("Pending", "Published"))
            if one is not None:
                found.append(one)
        if not found:
            raise Stop(400, f"None of the supplied package names are published in {source.display_name}.")
        return self._ask(request, target, source, found, given, pocket, "")

    def _ask(
        self,
        request: Request,
        target: Archive,
        source: Archive,
        found: Sequence[SourcePublication],
        given: Parameters,
        pocket: str,
        from_series: str,
    ) -> Answer:
        if pocket.upper() not in map(str.upper, POCKETS):
            raise Stop(404, f"No such pocket: '{pocket.upper()}'.")
        try:
            copies.ask_copy(
                self.world,
                request.who,
                target,
                source,
                found,
                to_series=self._series_name(given.text("to_series")),
                from_series=from_series,
                pocket=pocket,
                with_binaries=given.flag("include_binaries"),
                unembargo=given.flag("unembargo"),
                move=given.flag("move"),
                request=request.number,
            )
        except copies.CannotCopy as error:
            raise Stop(400, str(error)) from error
        return as_json(None)

    def _known(self, name: str) -> None:
        try:
            copies.check_known(self.world, name)
        except copies.NoSuchName as error:
            raise Stop(404, str(error)) from error

    def _from_archive(self, request: Request, given: Parameters) -> Archive:
        link = given.needed("from_archive")
        for archive in self.world.archives.values():
            if link.rstrip("/").endswith("/" + archive.path):
                if not self.world.may_read(request.who, archive):
                    raise Stop(401, "(<Archive object>, 'getPublishedSources', 'launchpad.SubscriberView')")
                return archive
        raise Stop(400, f'from_archive: No such object "{link}".')

    def _series_name(self, name: str | None) -> str:
        if name and name not in self.world.series:
            raise Stop(404, f"No such distribution series: '{name}'.")
        return name or ""

    # Publications

    def on_source(self, request: Request, one: SourcePublication) -> Answer:
        """Any operation of a source publication."""
        given = Parameters(request.parameters)
        match request.method, request.operation:
            case "GET", "getPublishedBinaries":
                only_active = given.flag("active_binaries_only", otherwise=True)
                rows = sorted((it for it in one.binaries if it.active or not only_active), key=lambda it: it.id)
                return self.rows(request, rows, self.rendering.binary)
            case "GET", "getBuilds":
                return self.rows(request, copies.builds_of_publication(one), self.rendering.build)
            case "GET", "sourceFileUrls":
                return as_json(self._source_files(one, with_meta=given.flag("include_meta")))
            case "GET", "binaryFileUrls":
                binaries = {it.binary.file_name: it for it in one.binaries}
                return as_json(
                    [] if one.release.binaries_expired else [self._deb(it)["url"] for it in binaries.values()]
                )
            case "GET", "changesFileUrl":
                return as_json(
                    f"{self._files(one.archive)}/{one.release.name}_{one.release.noepoch}_source.changes"
                )
            case "GET", "hasRestrictedFiles":
                return as_json(one.release.restricted)
            case "POST", "requestDeletion":
                if not (request.may_change and self.world.may_write(request.who, one.archive)):
                    raise Stop(
                        401, "(<SourcePackagePublishingHistory object>, 'requestDeletion', 'launchpad.Edit')"
                    )
                self.world.delete(
                    one, request.who, given.text("removal_comment") or "", self.world.now(), request.number
                )
                return as_json(None)
        raise Stop(400, f"No such operation: {request.operation}")

    def on_build(self, request: Request, build: Build) -> Answer:
        """Any operation of a build."""
        if (request.method, request.operation) != ("POST", "retry"):
            raise Stop(400, f"No such operation: {request.operation}")
        if not (request.may_change and self.world.may_write(request.who, build.archive)):
            raise Stop(401, "(<BinaryPackageBuild object>, 'retry', 'launchpad.Edit')")
        if build.state not in FAILED:
            raise Stop(400, f"Build {build.id} cannot be retried.")
        build.state, build.finished_at, build.began_at = NEEDS_BUILDING, None, None
        build.retried += 1
        build.rendered.clear()
        build.archive.touch()
        return as_json(None)

    def on_binary(self, request: Request, one: BinaryPublication) -> Answer:
        """Any operation of a binary publication."""
        if request.method == "GET" and request.operation == "binaryFileUrls":
            meta = self._deb(one)
            if one.binary.build.release.binaries_expired:
                return as_json([])
            return as_json([meta if Parameters(request.query).flag("include_meta") else meta["url"]])
        raise Stop(400, f"No such operation: {request.operation}")

    def _files(self, archive: Archive) -> str:
        return f"{self.rendering.root}/{archive.path}/+files"

    def _source_files(self, one: SourcePublication, *, with_meta: bool) -> list[object]:
        release = one.release
        if release.expired:
            return []
        below = f"{self.rendering.root}/{one.archive.path}/+sourcefiles/{release.name}/{quote(release.version)}"
        files = self.packages.source_files(release)
        if not with_meta:
            return [f"{below}/{quote(name)}" for name in files]
        return [
            {"url": f"{below}/{quote(name)}", "size": len(data), "sha256": self.packages.sha256(data)}
            for name, data in files.items()
        ]

    def _deb(self, one: BinaryPublication) -> dict[str, object]:
        data = self.packages.deb(one.binary)
        return {
            "url": f"{self._files(one.archive)}/{quote(one.binary.file_name)}",
            "size": len(data),
            "sha1": self.packages.sha1(data),
            "sha256": self.packages.sha256(data),
        }

    # Parameters

    def _choice(self, given: Parameters, name: str, allowed: Sequence[str]) -> str | None:
        value = given.text(name)
        if value is not None and value not in allowed:
            raise Stop(400, f'{name}: Invalid value "{value}". Acceptable values are: {", ".join(allowed)}')
        return value

    def _series(self, given: Parameters, name: str) -> str | None:
        link = given.text(name)
        if link is None:
            return None
        last = link.rstrip("/").rpartition("/")[2]
        if "/ubuntu/" not in link or last not in self.world.series:
            raise Stop(400, f'{name}: No such object "{link}".')
        return last

    def _architecture(self, given: Parameters) -> tuple[str, str] | None:
        link = given.text("distro_arch_series")
        if link is None:
            return None
        parts = link.rstrip("/").split("/")
        if len(parts) < 3 or parts[-3] != "ubuntu" or parts[-2] not in self.world.series:
            raise Stop(400, f'distro_arch_series: No such object "{link}".')
        return parts[-2], parts[-1]


def _matches(wanted: str, name: str, exact: bool) -> bool:
    return name == wanted if exact else wanted in name


def _moment(given: Parameters, name: str) -> float | None:
    text = given.text(name)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Stop(400, f"{name}: Value doesn't look like a date.") from error
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return at.timestamp()
