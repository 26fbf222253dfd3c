"""What packages install, as Contents indexes ask for it: read from each package once, and kept."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ppa_tools.archives.history import schema as t
from ppa_tools.archives.history.ppas import PPA, list_ppas
from ppa_tools.publication import ACTIVE

PACKAGES_AT_A_TIME = 200
SECTION = re.compile(r"^Section:[ \t]*(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Unlisted:
    """A published package whose files nobody has listed yet."""

    release_id: int
    file_name: str
    sha256: str


@dataclass(frozen=True)
class Installed:
    """A published package, as Contents names it, and the paths that it installs."""

    package: str
    section: str
    paths: tuple[str, ...]


def unlisted_packages(conn: Connection, series_id: int) -> tuple[Unlisted, ...]:
    """The packages of a series whose files are to be listed."""
    p, b, c = t.binary_publications, t.binary_releases, t.binary_contents
    query = sa.select(b.c.id, b.c.file_name, b.c.sha256).join(p, p.c.release_id == b.c.id)
    query = query.where(
        p.c.series_id == series_id, p.c.status.in_(ACTIVE), b.c.id.not_in(sa.select(c.c.release_id))
    )
    return tuple(Unlisted(*row) for row in conn.execute(query.distinct().order_by(b.c.id)))


def keep_paths(conn: Connection, paths: dict[int, Sequence[str]]) -> None:
    """Keep what packages install, by their release; one that is kept already stays."""
    c = t.binary_contents
    known = set(conn.execute(sa.select(c.c.release_id).where(c.c.release_id.in_(paths))).scalars())
    rows = [
        {"release_id": release_id, "paths": zlib.compress("\n".join(some).encode())}
        for release_id, some in paths.items()
        if release_id not in known
    ]
    if rows:
        conn.execute(sa.insert(c), rows)


def installed_packages(conn: Connection, series_id: int, index_architecture: str) -> Iterator[Installed]:
    """What is in an architecture's index of a series, packages for all architectures among them."""
    p, b, c = t.binary_publications, t.binary_releases, t.binary_contents
    query = sa.select(b.c.package, b.c.stanza, c.c.paths).join(p, p.c.release_id == b.c.id)
    query = query.join(c, c.c.release_id == b.c.id).where(
        p.c.series_id == series_id, p.c.index_architecture == index_architecture, p.c.status.in_(ACTIVE)
    )
    for row in conn.execute(query.execution_options(yield_per=PACKAGES_AT_A_TIME)):
        section = SECTION.search(row.stanza)
        paths = zlib.decompress(row.paths).decode()
        yield Installed(row.package, section[1] if section else "misc", tuple(paths.split("\n")) if paths else ())


def ppas_without_contents(conn: Connection) -> tuple[PPA, ...]:
    """The PPAs with a series whose Contents lag behind what it publishes."""
    s = t.series
    query = sa.select(s.c.ppa_id).where(s.c.deleted_at.is_(None), s.c.contents_generation != s.c.generation)
    lagging = set(conn.execute(query).scalars())
    return tuple(ppa for ppa in list_ppas(conn) if ppa.id in lagging)


def mark_contents(conn: Connection, series_id: int, generation: int) -> None:
    """The Contents indexes of this generation are written."""
    conn.execute(sa.update(t.series).where(t.series.c.id == series_id).values(contents_generation=generation))
