"""What a PPA holds and held, put together for readers: publications with their binaries, and events."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from ppa_tools.address import Address
from ppa_tools.archives import history as h
from ppa_tools.archives.copying import COPIED_FROM
from ppa_tools.archives.layout import Layout
from ppa_tools.archives.words import days_in_words, size_in_words
from ppa_tools.debversion import version_key
from ppa_tools.publication import File


@dataclass(frozen=True)
class Publication:
    """A source version in a series with its binaries; ``built_on``: the builds that have come.

    ``architectures`` are the words of its source's Architecture field.
    """

    source: h.SourcePublication
    binaries: tuple[h.BinaryPublication, ...]
    built_on: tuple[str, ...]
    architectures: tuple[str, ...]


@dataclass(frozen=True)
class Event:
    """A line of a PPA's history; ``at`` in UTC seconds.

    ``what`` is uploaded, built, copied, published, superseded or deleted.
    """

    at: float
    what: str
    kind: str
    name: str
    version: str
    series: str
    architecture: str
    who: str
    why: str


def publications(
    conn: Connection,
    ppa: h.PPA,
    *,
    series: str,
    source: str,
    sources: Collection[str] | None,
    version: str,
    active: bool,
) -> tuple[Publication, ...]:
    """Source publications with their binaries, by name, newest version first; "" and None mean any."""
    rows = h.select_source_publications(
        conn, ppa, series=series, source=source, sources=sources, version=version, active=active
    )
    binaries = h.select_binary_publications(
        conn, ppa, series=series, source=source, sources=sources, source_version=version
    )
    release_ids = None if sources is None else {one.release_id for one in rows}
    built = h.built_architectures(conn, ppa, series=series, source=source, release_ids=release_ids)
    words = h.source_architectures(conn, {one.release_id for one in rows})
    by_source = _binaries_of(rows, binaries)
    found = [
        Publication(
            one,
            by_source[one.id],
            built.get((one.series, one.release_id), ()),
            words[one.release_id],
        )
        for one in reversed(rows)
    ]
    found.sort(key=lambda publication: version_key(publication.source.version), reverse=True)
    return tuple(sorted(found, key=lambda publication: (publication.source.series, publication.source.source)))


def _binaries_of(
    rows: Sequence[h.SourcePublication], binaries: Iterable[h.BinaryPublication]
) -> dict[int, tuple[h.BinaryPublication, ...]]:
    """The binaries of each source publication, by its id.

    Where a version was ended and came back, they are what was there from its coming to its coming back.
    """
    by_version: dict[tuple[str, str, str], list[h.BinaryPublication]] = {}
    for one in binaries:
        by_version.setdefault((one.series, one.source, one.source_version), []).append(one)
    until: dict[tuple[str, str, str], float] = {}
    found = {}
    for row in reversed(rows):
        key, since = (row.series, row.source, row.version), row.span.created_generation
        found[row.id] = tuple(
            one
            for one in by_version.get(key, ())
            if one.span.created_generation < until.get(key, math.inf)
            and (one.span.ended_generation is None or one.span.ended_generation > since)
        )
        until[key] = since
    return found


def source_files(
    conn: Connection, ppa: h.PPA, layout: Layout, release_ids: Collection[int]
) -> dict[int, tuple[File, ...]]:
    """The .dsc and the files it names, by source release; nothing where one of them is no longer kept."""
    named = h.files_of_sources(conn, release_ids)
    kept = _kept_files(conn, ppa, layout, {name for rows in named.values() for name, _ in rows})
    return {
        release_id: tuple(kept[name] for name, _ in sorted(rows)) if all(name in kept for name, _ in rows) else ()
        for release_id, rows in named.items()
    }


def binary_files(
    conn: Connection, ppa: h.PPA, layout: Layout, release_ids: Collection[int]
) -> dict[int, tuple[File, ...]]:
    """The package of each binary release; nothing where it is no longer kept."""
    named = h.files_of_binaries(conn, release_ids)
    kept = _kept_files(conn, ppa, layout, {name for name, _ in named.values()})
    return {release_id: (kept[name],) if name in kept else () for release_id, (name, _) in named.items()}


def events(conn: Connection, ppa: h.PPA, *, series: str, source: str) -> tuple[Event, ...]:
    """What happened to a PPA's packages, oldest first."""
    sources = h.select_source_publications(conn, ppa, series=series, source=source)
    binaries = h.select_binary_publications(conn, ppa, series=series, source=source)
    found = [event for row in sources for event in _events(row, "source", row.source, "source")]
    found += [event for row in binaries for event in _events(row, "binary", row.package, row.index_architecture)]
    return tuple(sorted(found, key=lambda event: event.at))


def sources_text(url: str, series: Sequence[str], key: bytes) -> str:
    """What goes to /etc/apt/sources.list.d/NAME.sources: deb822, with the key in it."""
    lines = [
        "Types: deb deb-src",
        f"URIs: {url}",
        f"Suites: {' '.join(series)}",
        "Components: main",
        "Signed-By:",
        *(f" {line.strip() or '.'}" for line in key.decode("ascii").strip().splitlines()),
    ]
    return "\n".join(lines) + "\n"


def one_liner(url: str, address: Address, series: str, *, private: bool) -> str:
    """The command that adds a PPA to a machine; of a private one curl asks for the token."""
    name = f"{address.name}-{series}.sources"
    return (
        f"curl -fsSL {'-u token ' if private else ''}{url}/{address.owner}/{address.name}/{name} "
        f"| sudo tee /etc/apt/sources.list.d/{address.owner}-{name} >/dev/null && sudo apt-get update"
    )


def auth_line(url: str, address: Address, login: str = "NAME", secret: str = "TOKEN") -> str:  # noqa: S107
    """The line of a file below /etc/apt/auth.conf.d/ that lets apt read a private PPA.

    As apt_auth.conf(5) wants it: without ``http://`` it would hold for https alone, and its path is a prefix.
    """
    where = url.removeprefix("https://")
    return f"machine {where}/{address.owner}/{address.name}/ login {login} password {secret}"


def settings_in_words(ppa: h.PPA) -> str:
    """What holds for a PPA, in a line."""
    its, used = ppa.settings, size_in_words(ppa.used_bytes)
    said = _in_words(its)
    said["quota_bytes"] = (
        f"{used} of {size_in_words(its.quota_bytes)} used" if its.quota_bytes else f"{used} used, no quota"
    )
    if not its.valid_for_s:
        del said["valid_for_s"]  # as it is with most
    return "; ".join(said.values())


def changed_settings_in_words(before: h.Settings, after: h.Settings) -> str:
    """What is otherwise, for the history."""
    said = _in_words(after) | {"description": "its description"}
    return "; ".join(words for name, words in said.items() if getattr(before, name) != getattr(after, name))


def _in_words(its: h.Settings) -> dict[str, str]:
    """What each setting means, by its name; of the description nothing."""
    return {
        "private": "private: read with a token" if its.private else "public",
        "quota_bytes": f"a quota of {size_in_words(its.quota_bytes)}" if its.quota_bytes else "no quota",
        "versions": "one version of a package" if its.versions == 1 else f"{its.versions} versions of a package",
        "keep_ended_s": f"ended ones kept for {days_in_words(its.keep_ended_s)}",
        "compressions": f"indexes in {', '.join(its.compressions)}",
        "valid_for_s": f"a Release valid for {days_in_words(its.valid_for_s) if its.valid_for_s else 'ever'}",
    }


def _kept_files(conn: Connection, ppa: h.PPA, layout: Layout, names: Collection[str]) -> dict[str, File]:
    """Where files of a PPA lie: under their names, or where the PPA no longer serves them as blobs."""
    served = layout.served(ppa.address, private=ppa.settings.private)
    return {
        one.name: File(
            one.name,
            str(layout.pool.blob(one.sha256) if one.removed else served / one.pool_path),
            one.sha256,
            one.size_bytes,
        )
        for one in h.names_in_ppa(conn, ppa.id, names).values()
        if not one.expired
    }


def _events(
    row: h.SourcePublication | h.BinaryPublication, kind: str, name: str, architecture: str
) -> Iterable[Event]:
    span = row.span
    where = (kind, name, row.version, row.series, architecture)
    copied = span.copied_from_id is not None or span.why.startswith(COPIED_FROM)  # from another archive, too
    arrived = "copied" if copied else "uploaded" if kind == "source" else "built"
    yield Event(span.created_at, arrived, *where, span.created_by, span.why)
    if span.published_at is not None:
        yield Event(span.published_at, "published", *where, "", "")
    if span.ended_at is not None:
        yield Event(span.ended_at, span.status.lower(), *where, span.ended_by, span.end_why)
