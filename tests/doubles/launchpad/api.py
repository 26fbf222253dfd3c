"""The web service: which resource a path names, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import unquote

from tests.doubles.launchpad.messages import WADL, Answer, Parameters, Request, Stop, as_json
from tests.doubles.launchpad.model import Archive
from tests.doubles.launchpad.operations import Operations
from tests.doubles.launchpad.packages import Packages
from tests.doubles.launchpad.paging import BadBatch, page
from tests.doubles.launchpad.rendering import Rendering
from tests.doubles.launchpad.wadl import wadl
from tests.doubles.launchpad.world import World

Row = TypeVar("Row")
VERSIONS = ("devel", "1.0", "beta")


class Api:
    """One version of the web service over one world."""

    def __init__(self, world: World, packages: Packages, root: str, version: str) -> None:
        self.world = world
        self.rendering = Rendering(root, version)
        self.operations = Operations(world, packages, self.rendering)

    def answer(self, request: Request) -> Answer:
        """Answer a request whose path begins with the version. Raises Stop."""
        _, _, below = request.path.partition("/")
        parts = [unquote(part) for part in below.split("/") if part]
        if request.method not in ("GET", "POST"):
            raise Stop(405, "The double models GET and POST.")
        if request.method == "POST" and not request.operation:
            raise Stop(400, "No operation name given.")
        if not parts:
            return self._root(request)
        if parts[0].startswith("~"):
            return self._below_person(request, parts[0][1:], parts[1:])
        match parts:
            case ["people", "+me"]:
                if not request.who:
                    raise Stop(401, "You need to be logged in to view this URL.")
                return Answer(303, headers={"Location": self.rendering.link(f"~{request.who}")})
            case ["people"]:
                return self._people(request)
            case ["archives"]:
                return self._archives(request)
            case ["distros"]:
                return self._collection(request, ["ubuntu"], lambda _: self._ubuntu(), "distribution")
            case ["ubuntu", "+archive", "primary", *rest] if "ubuntu" in self.world.archives:
                return self._below_archive(request, self.world.archives["ubuntu"], rest)
            case ["ubuntu", *rest]:
                return self._below_ubuntu(request, rest)
        raise _not_found(request)

    def _root(self, request: Request) -> Answer:
        if WADL in request.headers.get("Accept", ""):
            return Answer(body=wadl(self.rendering.base, self.rendering.version), type=WADL)
        return _entry(request, self.rendering.service_root())

    def _collection(
        self, request: Request, rows: Sequence[Row], render: Callable[[Row], str], kind: str
    ) -> Answer:
        url = f"{self.rendering.root}/{request.path}"
        kind = f"{self.rendering.base}/#{kind}-page-resource"
        try:
            text = page(rows, render, url=url, query=request.flat_query, kind=kind, size_link=False)
        except BadBatch as error:
            raise Stop(400, str(error)) from error
        return Answer(body=text.encode())

    # People and their PPAs

    def _people(self, request: Request) -> Answer:
        given = Parameters(request.parameters)
        match request.operation:
            case "":
                found = list(self.world.people)
            case "findPerson" | "find" | "findTeam":
                text = given.text("text") or ""
                found = [name for name in self.world.people if text in name]
            case _:
                raise Stop(400, f"No such operation: {request.operation}")
        return self.operations.rows(request, sorted(found), self._person)

    def _person(self, name: str) -> str:
        person = self.world.people[name]
        return self.rendering.person(person, self.world.archives.get(f"{name}/ppa"))

    def _below_person(self, request: Request, name: str, rest: list[str]) -> Answer:
        if name not in self.world.people:
            raise _not_found(request)
        match rest:
            case []:
                return self._on_person(request, name)
            case ["ppas"]:
                rows = [one for key, one in sorted(self.world.archives.items()) if one.owner == name]
                rows = [one for one in rows if self.world.may_read(request.who, one)]
                return self._collection(request, rows, self.rendering.archive, "archive")
            case ["members"]:
                members = sorted(self.world.people[name].members)
                return self._collection(request, members, self._person, "person")
            case ["+archive", "ubuntu", ppa, *below]:
                archive = self.world.archives.get(f"{name}/{ppa}")
                if archive is not None:
                    return self._below_archive(request, archive, below)
        raise _not_found(request)

    def _on_person(self, request: Request, name: str) -> Answer:
        given = Parameters(request.parameters)
        match request.method, request.operation:
            case "GET", "":
                return _entry(request, self._person(name))
            case "GET", "getPPAByName":
                wanted = given.needed("name")
                archive = self.world.archives.get(f"{name}/{wanted}")
                if archive is None:
                    raise Stop(404, f"No such ppa: '{wanted}'.")
                return Answer(body=self._archive(request, archive).encode())
            case "POST", "createPPA":
                return self._create_ppa(request, name, given)
        raise Stop(400, f"No such operation: {request.operation}")

    def _create_ppa(self, request: Request, owner: str, given: Parameters) -> Answer:
        if not request.may_change or not self.world.in_team(request.who, owner):
            raise Stop(401, "(<Person object>, 'createPPA', 'launchpad.Edit')")
        name, private = given.text("name") or "ppa", given.flag("private")
        if name == "ubuntu":
            raise Stop(400, "A PPA cannot have the same name as its distribution.")
        if f"{owner}/{name}" in self.world.archives:
            raise Stop(400, f"You already have a PPA for Ubuntu named '{name}'.")
        archive = self.world.add_archive(f"{owner}/{name}", private=private)
        archive.display_name = given.text("displayname") or archive.display_name
        archive.description = given.text("description") or ""
        return Answer(201, headers={"Location": self.rendering.link(archive.path)})

    # Archives and what is in them

    def _archives(self, request: Request) -> Answer:
        if request.operation != "getByReference" or self.rendering.version != "devel":
            raise Stop(400, f"No such operation: {request.operation}")
        reference = Parameters(request.parameters).needed("reference")
        for archive in self.world.archives.values():
            names = (archive.reference, archive.reference.replace("~", "ppa:", 1))
            if reference in names and self.world.may_read(request.who, archive):
                return Answer(body=self._archive(request, archive).encode())
        return as_json(None)

    def _archive(self, request: Request, archive: Archive) -> str:
        return self.rendering.archive(archive, readable=self.world.may_read(request.who, archive))

    def _below_archive(self, request: Request, archive: Archive, rest: list[str]) -> Answer:
        match rest:
            case []:
                if request.operation:
                    return self.operations.on_archive(request, archive)
                return _entry(request, self._archive(request, archive))
            case ["dependencies" | "processors" | "enabled_restricted_processors"]:
                return self._collection(request, [], str, "archive_dependency")
        if not self.world.may_read(request.who, archive):
            raise Stop(401, "(<Archive object>, 'launchpad.View')")
        match rest:
            case ["+sourcepub", number] if number.isdigit():
                source = self.world.sources.get(int(number))
                if source is not None and source.archive is archive:
                    if request.operation:
                        return self.operations.on_source(request, source)
                    return _entry(request, self.rendering.source(source))
            case ["+binarypub", number] if number.isdigit():
                binary = self.world.binaries.get(int(number))
                if binary is not None and binary.archive is archive:
                    if request.operation:
                        return self.operations.on_binary(request, binary)
                    return _entry(request, self.rendering.binary(binary))
            case ["+build", number] if number.isdigit():
                build = self.world.builds.get(int(number))
                if build is not None and build.archive is archive:
                    if request.operation:
                        return self.operations.on_build(request, build)
                    return _entry(request, self.rendering.build(build))
        raise _not_found(request)

    # The distribution

    def _ubuntu(self) -> str:
        current = [one.name for one in self.world.series.values() if one.status == "Current Stable Release"]
        return self.rendering.distribution(current[0] if current else next(iter(self.world.series)))

    def _below_ubuntu(self, request: Request, rest: list[str]) -> Answer:
        given, everything = Parameters(request.parameters), self.world.series
        newest_first = sorted(everything.values(), key=lambda one: one.version, reverse=True)
        match rest:
            case [] if request.operation == "getSeries":
                wanted = given.needed("name_or_version")
                for one in newest_first:
                    if wanted in (one.name, one.version):
                        return Answer(body=self.rendering.series(one).encode())
                raise Stop(404, f"No such distribution series: '{wanted}'.")
            case [] if request.operation == "getDevelopmentSeries":
                rows = [one for one in newest_first if one.status.endswith("Development")]
                return self.operations.rows(request, rows, self.rendering.series)
            case []:
                return _entry(request, self._ubuntu())
            case ["series"]:
                return self._collection(request, newest_first, self.rendering.series, "distro_series")
            case ["archives"]:
                primary = [self.world.archives["ubuntu"]] if "ubuntu" in self.world.archives else []
                return self._collection(request, primary, self.rendering.archive, "archive")
            case [name] if name in everything:
                return self._on_series(request, name, given)
            case [name, "architectures"] if name in everything:
                one = everything[name]
                return self._collection(
                    request,
                    sorted(one.architectures),
                    lambda architecture: self.rendering.architecture(one, architecture),
                    "distro_arch_series",
                )
            case [name, architecture] if name in everything and architecture in everything[name].architectures:
                return _entry(request, self.rendering.architecture(everything[name], architecture))
        raise _not_found(request)

    def _on_series(self, request: Request, name: str, given: Parameters) -> Answer:
        one = self.world.series[name]
        match request.operation:
            case "":
                return _entry(request, self.rendering.series(one))
            case "getDistroArchSeries":
                architecture = given.needed("archtag")
                if architecture not in one.architectures:
                    raise Stop(404, f"No such architecture: '{architecture}'.")
                return Answer(body=self.rendering.architecture(one, architecture).encode())
        raise Stop(400, f"No such operation: {request.operation}")


def _entry(request: Request, text: str) -> Answer:
    """An entry, or 304 where the client has it already."""
    marker = '"http_etag": "\\"'
    at = text.find(marker)
    if at < 0:
        return Answer(body=text.encode())
    etag = text[at + len(marker) : text.index('\\"', at + len(marker))]
    quoted = f'"{etag}"'
    if quoted in request.headers.get("If-None-Match", ""):
        return Answer(304, headers={"ETag": quoted})
    return Answer(body=text.encode(), headers={"ETag": quoted})


def _not_found(request: Request) -> Stop:
    last = request.path.rpartition("/")[2]
    return Stop(404, f"Object: <the double>, name: '{last}'")
