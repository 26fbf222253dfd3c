"""Entries as Launchpad writes them, in JSON text that is kept until the thing changes."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from tests.doubles.launchpad.model import (
    BUILT,
    FAILED,
    Archive,
    BinaryPublication,
    Build,
    Person,
    Series,
    SourcePublication,
)

REDACTED = "tag:launchpad.net:2008:redacted"
"""What stands where the one who asks may not see."""

SECRET_OF_PRIVATE = (
    "authorized_size",
    "description",
    "external_dependencies",
    "publish",
    "publishing_method",
    "repository_format",
    "require_virtualized",
    "signing_key_fingerprint",
)


def moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


def with_etag(entry: dict[str, Any]) -> str:
    """The entry as text, with the ETag that its content gives it."""
    text = json.dumps(entry)
    half = hashlib.sha1(text.encode()).hexdigest()
    return f'{text[:-1]}, "http_etag": "\\"{half}-{half[::-1]}\\""}}'


class Rendering:
    """Entries for one version of the API below one root; ``root`` has no slash at its end."""

    def __init__(self, root: str, version: str) -> None:
        self.root = root
        self.version = version
        self.base = f"{root}/{version}"

    def link(self, path: str) -> str:
        return f"{self.base}/{path}"

    def _person(self, name: str) -> str | None:
        return self.link(f"~{name}") if name else None

    def entry(self, kind: str, path: str, facts: dict[str, Any], *, web: bool = True) -> str:
        head = {"self_link": self.link(path), "resource_type_link": f"{self.base}/#{kind}"}
        if web:
            head["web_link"] = f"{self.root}/{path}"
        return with_etag(head | facts)

    def service_root(self) -> str:
        collections = {
            "archives": "archives",
            "people": "people",
            "distributions": "distros",
            "bugs": "bugs",
            "projects": "projects",
            "project_groups": "projectgroups",
            "builders": "builders",
            "processors": "+processors",
            "packagesets": "package-sets",
        }
        root = {f"{name}_collection_link": self.link(path) for name, path in collections.items()}
        root |= {"me_link": self.link("people/+me"), "resource_type_link": f"{self.base}/#service-root"}
        return json.dumps(root)

    def person(self, one: Person, archive: Archive | None) -> str:
        path = f"~{one.name}"
        collections = ("ppas", "members", "gpg_keys", "sshkeys", "memberships_details", "super_teams", "sub_teams")
        facts: dict[str, Any] = {f"{name}_collection_link": self.link(f"{path}/{name}") for name in collections}
        facts |= {
            "name": one.name,
            "display_name": one.display_name,
            "is_team": one.is_team,
            "is_valid": True,
            "private": False,
            "visibility": "Public",
            "karma": 0,
            "description": None,
            "archive_link": self.link(archive.path) if archive else None,
            "date_created": moment(0),
            "team_owner_link": self.link(path) if one.is_team else None,
        }
        return self.entry("team" if one.is_team else "person", path, facts)

    def archive(self, one: Archive, *, readable: bool = True) -> str:
        facts: dict[str, Any] = {
            "authorized_size": 8192,
            "dependencies_collection_link": self.link(f"{one.path}/dependencies"),
            "description": one.description,
            "displayname": one.display_name,
            "distribution_link": self.link("ubuntu"),
            "external_dependencies": None,
            "name": one.name,
            "owner_link": self.link(f"~{one.owner or 'ubuntu-archive'}"),
            "private": one.private,
            "publish": True,
            "publishing_method": "Local",
            "reference": one.reference,
            "relative_build_score": 0,
            "repository_format": "Debian",
            "require_virtualized": True,
            "signing_key_fingerprint": one.fingerprint,
            "suppress_subscription_notifications": False,
        }
        if self.version == "devel":
            facts |= {
                "build_debug_symbols": False,
                "enabled_restricted_processors_collection_link": self.link(
                    f"{one.path}/enabled_restricted_processors"
                ),
                "metadata_overrides": None,
                "permit_obsolete_series_uploads": False,
                "processors_collection_link": self.link(f"{one.path}/processors"),
                "publish_debug_symbols": False,
                "status": "Active",
            }
        if not readable:
            facts |= dict.fromkeys(SECRET_OF_PRIVATE, REDACTED)
        return self.entry("archive", one.path, facts)

    def distribution(self, current: str) -> str:
        facts = {
            "name": "ubuntu",
            "display_name": "Ubuntu",
            "title": "Ubuntu",
            "active": True,
            "supports_ppas": True,
            "development_series_alias": "devel",
            "current_series_link": self.link(f"ubuntu/{current}"),
            "main_archive_link": self.link("ubuntu/+archive/primary"),
            "series_collection_link": self.link("ubuntu/series"),
            "archives_collection_link": self.link("ubuntu/archives"),
            "owner_link": self.link("~techboard"),
        }
        return self.entry("distribution", "ubuntu", facts)

    def series(self, one: Series) -> str:
        path = f"ubuntu/{one.name}"
        facts = {
            "name": one.name,
            "displayname": one.name.title(),
            "fullseriesname": f"Ubuntu {one.name.title()}",
            "title": f"The {one.name.title()} Release",
            "version": one.version,
            "status": one.status,
            "active": one.active,
            "supported": one.supported,
            "date_created": moment(0),
            "datereleased": None,
            "distribution_link": self.link("ubuntu"),
            "architectures_collection_link": self.link(f"{path}/architectures"),
            "main_archive_link": self.link("ubuntu/+archive/primary"),
            "nominatedarchindep_link": self.link(f"{path}/amd64"),
            "component_names": ["main", "restricted", "universe", "multiverse"],
            "suite_names": ["Release", "Security", "Updates", "Proposed", "Backports"],
        }
        return self.entry("distro_series", path, facts)

    def architecture(self, one: Series, architecture: str) -> str:
        path = f"ubuntu/{one.name}/{architecture}"
        facts = {
            "architecture_tag": architecture,
            "display_name": f"{one.name.title()} {architecture}",
            "title": f"{one.name.title()} {architecture}",
            "distroseries_link": self.link(f"ubuntu/{one.name}"),
            "is_nominated_arch_indep": architecture == "amd64",
            "official": True,
            "supports_virtualized": True,
            "package_count": 0,
            "main_archive_link": self.link("ubuntu/+archive/primary"),
            "owner_link": self.link("~ubuntu-archive"),
            "processor_link": self.link(f"+processors/{architecture}"),
        }
        return self.entry("distro_arch_series", path, facts)

    def source(self, one: SourcePublication) -> str:
        kept = one.rendered.get(self.version)
        if kept is None:
            release = one.release
            facts = self._publication(one) | {
                "display_name": f"{release.name} {release.version} in {one.series}",
                "distro_series_link": self.link(f"ubuntu/{one.series}"),
                "package_creator_link": self._person(release.creator),
                "package_maintainer_link": self._person(release.creator),
                "package_signer_link": self._person(release.creator),
                "packageupload_link": None,
                "source_package_name": release.name,
                "source_package_version": release.version,
                "sponsor_link": None,
            }
            kept = self.entry(
                "source_package_publishing_history", f"{one.archive.path}/+sourcepub/{one.id}", facts, web=False
            )
            one.rendered[self.version] = kept
        return kept

    def binary(self, one: BinaryPublication) -> str:
        kept = one.rendered.get(self.version)
        if kept is None:
            binary = one.binary
            release = binary.build.release
            shown = f"{binary.spec.package} {binary.version} in {one.series} {one.architecture}"
            facts = self._publication(one) | {
                "architecture_specific": binary.architecture != "all",
                "binary_package_name": binary.spec.package,
                "binary_package_version": binary.version,
                "build_link": self.link(f"{binary.build.archive.path}/+build/{binary.build.id}"),
                "display_name": shown,
                "distro_arch_series_link": self.link(f"ubuntu/{one.series}/{one.architecture}"),
                "is_debug": False,
                "phased_update_percentage": None,
                "priority_name": "OPTIONAL",
                "source_package_name": release.name,
                "source_package_version": release.version,
            }
            kept = self.entry(
                "binary_package_publishing_history", f"{one.archive.path}/+binarypub/{one.id}", facts, web=False
            )
            one.rendered[self.version] = kept
        return kept

    def _publication(self, one: SourcePublication | BinaryPublication) -> dict[str, Any]:
        return {
            "archive_link": self.link(one.archive.path),
            "component_name": "main",
            "copied_from_archive_link": self.link(one.copied_from.path) if one.copied_from else None,
            "creator_link": self._person(one.creator),
            "date_created": moment(one.created_at),
            "date_made_pending": None,
            "date_published": moment(one.published_at),
            "date_removed": moment(one.removed_at),
            "date_superseded": moment(one.superseded_at),
            "pocket": "Release",
            "removal_comment": one.removal_comment or None,
            "removed_by_link": self._person(one.removed_by),
            "scheduled_deletion_date": None,
            "section_name": "misc",
            "status": one.status,
        }

    def build(self, one: Build) -> str:
        kept = one.rendered.get(self.version)
        if kept is None:
            release, path = one.release, f"{one.archive.path}/+build/{one.id}"
            log = (
                f"{self.root.removesuffix(f'/{self.version}')}/{path}/+files/buildlog.txt.gz"
                if one.state == BUILT or one.state in FAILED
                else None
            )
            what = f"{release.name} {release.version} in ubuntu {one.series} RELEASE"
            facts = {
                "arch_tag": one.architecture,
                "archive_link": self.link(one.archive.path),
                "build_log_url": log,
                "builder_link": None,
                "buildstate": one.state,
                "can_be_cancelled": False,
                "can_be_rescored": one.state == "Needs building",
                "can_be_retried": one.state in FAILED,
                "changesfile_url": None,
                "current_source_publication_link": self._current(one),
                "date_first_dispatched": moment(one.began_at),
                "datebuilt": moment(one.finished_at),
                "datecreated": moment(one.created_at),
                "dependencies": one.missing or None,
                "distribution_link": self.link("ubuntu"),
                "pocket": "Release",
                "score": None,
                "source_package_name": release.name,
                "source_package_version": release.version,
                "title": f"{one.architecture} build of {what}",
                "upload_log_url": None,
            }
            kept = one.rendered[self.version] = self.entry("build", path, facts)
        return kept

    def _current(self, build: Build) -> str | None:
        found = [
            one.id
            for one in build.archive.by_source.get(build.release.name, ())
            if one.release is build.release and one.series == build.series
        ]
        return self.link(f"{build.archive.path}/+sourcepub/{max(found)}") if found else None
