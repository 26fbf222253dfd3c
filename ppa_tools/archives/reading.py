"""What a PPA holds and held, put together for readers: publications with their binaries, and events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from ppa_tools.address import Address
from ppa_tools.archives import history as h
from ppa_tools.archives.words import days_in_words, size_in_words
from ppa_tools.debversion import version_key


@dataclass(frozen=True)
class Publication:
    """A source version in a series with its binaries; ``built_on``: the builds that have come."""

    source: h.SourcePublication
    binaries: tuple[h.BinaryPublication, ...]
    built_on: tuple[str, ...]


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
    by_source: dict[tuple[str, str, str], list[h.BinaryPublication]] = {}
    for one in binaries:
        by_source.setdefault((one.series, one.source, one.source_version), []).append(one)
    found = [
        Publication(
            one,
            tuple(by_source.get((one.series, one.source, one.version), ())),
            built.get((one.series, one.release_id), ()),
        )
        for one in reversed(rows)
    ]
    found.sort(key=lambda publication: version_key(publication.source.version), reverse=True)
    return tuple(sorted(found, key=lambda publication: (publication.source.series, publication.source.source)))


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
    its = ppa.settings
    used = size_in_words(ppa.used_bytes)
    return "; ".join(
        (
            "private: read with a token" if its.private else "public",
            f"{used} of {size_in_words(its.quota_bytes)} used" if its.quota_bytes else f"{used} used, no quota",
            "one version of a package" if its.versions == 1 else f"{its.versions} versions of a package",
            f"ended ones kept for {days_in_words(its.keep_ended_s)}",
            f"indexes in {', '.join(its.compressions)}",
            *([f"a Release valid for {days_in_words(its.valid_for_s)}"] if its.valid_for_s else []),
        )
    )


def _events(
    row: h.SourcePublication | h.BinaryPublication, kind: str, name: str, architecture: str
) -> Iterable[Event]:
    span = row.span
    where = (kind, name, row.version, row.series, architecture)
    arrived = "copied" if span.copied_from_id is not None else "uploaded" if kind == "source" else "built"
    yield Event(span.created_at, arrived, *where, span.created_by, span.why)
    if span.published_at is not None:
        yield Event(span.published_at, "published", *where, "", "")
    if span.ended_at is not None:
        yield Event(span.ended_at, span.status.lower(), *where, span.ended_by, span.end_why)
