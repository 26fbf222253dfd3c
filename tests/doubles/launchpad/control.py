"""The control of a running double: ``POST /+control/NAME`` with a JSON object of arguments, JSON comes back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tests.doubles.launchpad.due import settle
from tests.doubles.launchpad.model import CopyJob, Publication, Release, Series, SourcePublication
from tests.doubles.launchpad.populate import add_package
from tests.doubles.launchpad.world import Unknown

if TYPE_CHECKING:
    from tests.doubles.launchpad.server import Double


class Control:
    """What tests may do from the outside; each public method is a command, its arguments are the JSON's."""

    def __init__(self, double: Double) -> None:
        self._double = double

    def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Raises Unknown, TypeError or ValueError for what makes no sense."""
        found: Callable[..., Any] | None = None if name.startswith("_") else getattr(self, name, None)
        if found is None or name == "call":
            raise Unknown(f"there is no control {name!r}")
        return found(**arguments)

    # The world

    def add_person(self, name: str, **facts: Any) -> None:
        self._double.world.add_person(name, **facts)

    def add_series(self, name: str, version: str, status: str, architectures: Iterable[str] = ("amd64",)) -> None:
        self._double.world.series[name] = Series(name, version, status, tuple(architectures))

    def add_ppa(self, key: str, **facts: Any) -> str:
        return self._double.world.add_archive(key, **facts).path

    def add_package(self, ppa: str, name: str, version: str, **facts: Any) -> int:
        return add_package(self._double.world, ppa, name, version, **facts).id

    def add_packages(self, packages: Iterable[Mapping[str, Any]]) -> list[int]:
        return [self.add_package(**one) for one in packages]

    def add_names(self, names: Iterable[str]) -> None:
        """Source names that Launchpad knows, though no PPA here has them."""
        self._double.world.names.update(names)

    def set_build(
        self,
        ppa: str,
        name: str,
        version: str,
        architecture: str,
        state: str,
        series: str = "",
        log: str = "",
        missing: str = "",
        duration_s: float | None = None,
    ) -> None:
        world = self._double.world
        publication = self._find(ppa, name, version, series)
        archive = publication.archive
        for build in publication.release.builds:
            if (build.archive, build.series, build.architecture) == (archive, publication.series, architecture):
                build.log, build.missing = log, missing
                build.began_at = world.now() - duration_s if duration_s is not None else None
                return world.set_build(build, state, publication, world.now())
        build = world.new_build(publication.release, archive, publication.series, architecture, world.now())
        return world.set_build(build, state, publication, world.now())

    def delete_package(self, ppa: str, name: str, version: str = "", series: str = "", comment: str = "") -> None:
        """Deleted by somebody else: it is not among ``deletions``."""
        world = self._double.world
        publication = self._find(ppa, name, version, series)
        world.delete(publication, publication.archive.owner, comment, world.now())
        world.deletions.pop()

    def expire_files(self, ppa: str, name: str, version: str, *, binaries_only: bool = False) -> None:
        release: Release = self._find(ppa, name, version, "").release
        release.binaries_expired = True
        release.expired = release.expired or not binaries_only
        self._double.world.archive(ppa).touch()

    def _find(self, ppa: str, name: str, version: str, series: str) -> SourcePublication:
        found = [
            one
            for one in self._double.world.archive(ppa).by_source.get(name, ())
            if version in ("", one.release.version) and series in ("", one.series)
        ]
        if not found:
            raise Unknown(f"there is no {name} {version} in {ppa}")
        return max(found, key=lambda one: (one.active, one.id))

    # Time and faults

    def set(self, **settings: Any) -> dict[str, Any]:
        """Change settings (``model.Settings``); all of them come back."""
        current = self._double.world.settings
        self._double.world.settings = dataclasses.replace(current, **settings)
        return dataclasses.asdict(self._double.world.settings)

    def advance(self, seconds: float) -> None:
        self._double.world.advance(seconds)
        settle(self._double.world)

    def now(self) -> float:
        return self._double.world.now()

    def settle(self) -> None:
        """All copies end, all builds are built, all is published: now."""
        settle(self._double.world, everything=True)

    def fault(self, kind: str, **facts: Any) -> None:
        self._double.faults.add(kind=kind, **facts)

    def clear_faults(self) -> None:
        self._double.faults.rules.clear()

    def faults(self) -> list[dict[str, Any]]:
        """The rules, with how often each was ``seen`` to fit and has ``fired``."""
        return [dataclasses.asdict(rule) for rule in self._double.faults.rules]

    def reset(self) -> None:
        """An empty world, no faults, no log; tokens go too."""
        self._double.reset()

    # Who

    def token(
        self, person: str, permission: str = "WRITE_PRIVATE", consumer: str = "System-wide: Ubuntu (tests)"
    ) -> dict[str, str]:
        self._double.world.add_person(person)
        token = self._double.oauth.issue(person, permission, consumer)
        return {"consumer": token.consumer, "key": token.key, "secret": token.secret}

    def expire_token(self, key: str) -> None:
        self._double.oauth.tokens[key].expired = True

    def authorize(self, key: str, person: str, permission: str = "WRITE_PRIVATE") -> None:
        """What the person does on the authorization page of the login."""
        self._double.world.add_person(person)
        self._double.oauth.authorize(key, person, permission)

    # What happened

    def requests(self) -> list[dict[str, Any]]:
        return [dataclasses.asdict(one) for one in self._double.log]

    def clear_log(self) -> None:
        self._double.log.clear()

    def copies(self) -> list[dict[str, Any]]:
        """Every copy that was accepted, with its end: waiting, done, or failed and why."""
        return [_job(one) for one in self._double.world.jobs]

    def deletions(self) -> list[dict[str, Any]]:
        return self._double.world.deletions

    def sources(self, ppa: str) -> list[dict[str, Any]]:
        """All source publications of a PPA, oldest first."""
        settle(self._double.world)
        return [_publication(one) for one in self._double.world.archive(ppa).sources]

    def dump(self) -> dict[str, Any]:
        """A state that ``load`` takes."""
        world = self._double.world
        settle(world)
        return {
            "people": [{"name": one.name, "members": sorted(one.members)} for one in world.people.values()],
            "ppas": [
                {
                    "key": one.key,
                    "private": one.private,
                    "architectures": one.architectures,
                    "uploaders": sorted(one.uploaders),
                    "subscribers": sorted(one.subscribers),
                    "display_name": one.display_name,
                }
                for one in world.archives.values()
            ],
            "packages": [_as_package(one) for one in world.sources.values()],
        }

    def load(
        self,
        people: Iterable[Mapping[str, Any]] = (),
        ppas: Iterable[Mapping[str, Any]] = (),
        packages: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Add what ``dump`` gave: lists of the arguments of ``add_person``, ``add_ppa`` and ``add_package``."""
        for person in people:
            self.add_person(**person)
        for ppa in ppas:
            self.add_ppa(**ppa)
        self.add_packages(packages)


def _job(job: CopyJob) -> dict[str, Any]:
    facts = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)}
    return facts | {"target": job.target.key, "source": job.source.key}


def _publication(one: SourcePublication) -> dict[str, Any]:
    return {
        "id": one.id,
        "source": one.release.name,
        "version": one.release.version,
        "series": one.series,
        "status": one.status,
        "content": one.release.content,
        "copied_from": one.copied_from.key if one.copied_from else None,
        "binaries": sorted(
            {f"{it.binary.spec.package}/{it.architecture}" for it in one.binaries if it.status == one.status}
        ),
        "created_at": one.created_at,
        "by": one.creator,
        "removed_by": one.removed_by,
        "comment": one.removal_comment,
    }


def _as_package(one: SourcePublication) -> dict[str, Any]:
    release = one.release
    own = {
        build.architecture: build.state for build in release.builds if _belongs(build.series, build.archive, one)
    }
    return {
        "ppa": one.archive.key,
        "name": release.name,
        "version": release.version,
        "series": one.series,
        "status": one.status,
        "binaries": [dataclasses.asdict(spec) for spec in release.binaries],
        "builds": own or None,
        "content": release.content,
        "orig": release.orig,
        "fields": release.fields,
        "created_at": one.created_at,
        "creator": one.creator,
        "comment": one.removal_comment,
    }


def _belongs(series: str, archive: object, one: Publication) -> bool:
    return series == one.series and archive is one.archive
