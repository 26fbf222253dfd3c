"""Packages put into a world as if they had been uploaded and built long ago."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.doubles.launchpad.model import (
    BUILT,
    DELETED,
    PENDING,
    PUBLISHED,
    Archive,
    BinarySpec,
    Publication,
    Release,
    SourcePublication,
)
from tests.doubles.launchpad.world import Unknown, World


def add_package(
    world: World,
    ppa: str,
    name: str,
    version: str,
    *,
    series: str = "noble",
    status: str = PUBLISHED,
    binaries: Iterable[str | Mapping[str, Any]] | None = None,
    builds: Mapping[str, str] | None = None,
    content: str = "",
    orig: str = "",
    fields: Mapping[str, str] | None = None,
    created_at: float | None = None,
    creator: str = "",
    comment: str = "",
) -> SourcePublication:
    """A source published in a PPA with its builds and binaries.

    The same name, version, ``content`` and ``orig`` elsewhere is the same release, as if it had been copied, with
    its binaries, unless ``builds`` says otherwise; other content is a different source.
    """
    archive = world.archive(ppa)
    if series not in world.series:
        raise Unknown(f"there is no series {series!r}")
    by = creator or archive.owner or "ubuntu-archive"
    key = (name, version, content, orig)
    release = world.releases.get(key)
    if release is None:
        release = world.releases[key] = _new_release(world, archive, key, binaries, fields, by)
    at = world.now() if created_at is None else created_at
    publication = world.publish_source(archive, series, release, PENDING, at, creator=by)
    if builds is None and release.builds:
        _share_binaries(world, publication)
    else:
        states = builds if builds is not None else dict.fromkeys(world.to_build(release, archive, series), BUILT)
        for architecture, state in states.items():
            world.set_build(world.new_build(release, archive, series, architecture, at), state, publication, at)
    for one in (publication, *publication.binaries):
        _enter(world, one, status, at, by, comment)
    return publication


def _new_release(
    world: World,
    archive: Archive,
    key: tuple[str, str, str, str],
    binaries: Iterable[str | Mapping[str, Any]] | None,
    fields: Mapping[str, str] | None,
    creator: str,
) -> Release:
    name, version, content, orig = key
    specs = tuple(
        BinarySpec(one) if isinstance(one, str) else BinarySpec(**one)
        for one in (binaries if binaries is not None else (name,))
    )
    world.names.add(name)
    return Release(
        world.new_id(), name, version, content, orig, specs, dict(fields or {}), creator, archive.private
    )


def _share_binaries(world: World, publication: SourcePublication) -> None:
    """Publish the release's binaries here too, as a copy would have."""
    for build in publication.release.builds:
        if build.state == BUILT:
            for binary in build.binaries:
                world.publish_binary(publication, binary, publication.created_at, copied_from=build.archive)


def _enter(world: World, publication: Publication, status: str, at: float, by: str, comment: str) -> None:
    """Bring what is Pending into the status that it is to have."""
    if status == PENDING:
        return
    world.pending.remove(publication)
    publication.status, publication.published_at = PUBLISHED, at
    if status == PUBLISHED:
        world.dominate(publication, at)
    else:
        world.end(publication, status, at, by=by if status == DELETED else "", comment=comment)
