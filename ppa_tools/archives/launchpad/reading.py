"""Rows of Launchpad's web service as the values that every archive has; links are parsed, not followed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from ppa_tools.archives.door import Unreachable
from ppa_tools.debversion import split_version
from ppa_tools.publication import Binary, Build, BuildState, File, Publication, SeriesFacts, Status

OBSOLETE = "Obsolete"
LINK_MARK = "~"
HIDDEN = "tag:launchpad.net:2008:redacted"
"""What Launchpad writes in place of what one may not see."""

LONGEST_WORD = 255
"""A name or version that is longer fits no file name."""

Row = Mapping[str, Any]


@contextlib.contextmanager
def understood(doing: str) -> Iterator[None]:
    """Tell what is not shaped as Launchpad's rows are as the door's error; ``doing`` says what is read."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise Unreachable(
            f"Launchpad's answer is not understood ({doing}): {type(error).__name__}: {str(error)[:LONGEST_WORD]}",
            resolution="Look whether that is a Launchpad, and nothing stands before it; or try again in a while.",
        ) from error


def publications(rows: Iterable[Row]) -> Iterator[Publication]:
    """Source publications; raises ValueError for an active one whose version is none.

    Of those that have ended, such ones are left out: Launchpad once took versions that nothing compares with.
    """
    for one in map(publication, rows):
        try:
            split_version(one.version)
        except ValueError:
            if one.is_active:
                raise
            continue
        yield one


def publication(row: Row) -> Publication:
    """A source publication; its key is Launchpad's number for it."""
    origin = _archive_name(row.get("copied_from_archive_link"))
    return Publication(
        key=last_part(row["self_link"]),
        source=_word(row["source_package_name"]),
        version=_word(row["source_package_version"]),
        series=_word(last_part(row["distro_series_link"])),
        status=Status(row["status"]),
        created_at=moment(row.get("date_created")),
        published_at=moment(row.get("date_published")),
        ended_at=moment(row.get("date_superseded")) or moment(row.get("date_removed")),
        by=_person(row.get("creator_link") or row.get("package_signer_link")),
        why=f"copied from {origin}" if origin else "",
        ended_by=_person(row.get("removed_by_link")),
        end_why=_text(row.get("removal_comment")),
    )


def binary(row: Row) -> Binary:
    """A binary publication."""
    _, series, index_architecture = row["distro_arch_series_link"].rstrip("/").rsplit("/", 2)
    return Binary(
        package=_word(row["binary_package_name"]),
        version=_word(row["binary_package_version"]),
        architecture=index_architecture if row.get("architecture_specific", True) else "all",
        index_architecture=index_architecture,
        source=_text(row.get("source_package_name")),
        source_version=_text(row.get("source_package_version")),
        series=series,
        status=Status(row["status"]),
    )


def build(row: Row, *, published: bool) -> Build:
    """A build; a state that is not known counts as failed."""
    try:
        state = BuildState(row["buildstate"])
    except ValueError:
        state = BuildState.FAILED
    return Build(_word(row["arch_tag"]), state, published, _text(row.get("web_link")) or row.get("self_link", ""))


def series(row: Row) -> SeriesFacts:
    """A series; which architectures it has would be one more request each, and is not told."""
    return SeriesFacts(_word(row["name"]), obsolete=row.get("status") == OBSOLETE)


def file(row: Row) -> File | None:
    """A file of ``sourceFileUrls`` or ``binaryFileUrls``; None for one whose contents are no longer kept."""
    if not row.get("sha256") or row.get("size") is None:
        return None
    name = unquote(last_part(urlsplit(row["url"]).path))
    return File(name, row["url"], row["sha256"], int(row["size"]))


def moment(text: str | None) -> float | None:
    """A date of Launchpad's in seconds since the epoch."""
    return datetime.fromisoformat(text).astimezone(UTC).timestamp() if text else None


def last_part(link: str) -> str:
    """What a link ends in: a number, or a name."""
    return link.rstrip("/").rpartition("/")[2]


def _person(link: str | None) -> str:
    name = last_part(link or "")
    return name[1:] if name.startswith(LINK_MARK) else ""


def _archive_name(link: str | None) -> str:
    """``ppa:owner/name``, or for Ubuntu's own archives their last part."""
    parts = (link or "").rstrip("/").split("/")
    owner = next((part[1:] for part in parts if part.startswith(LINK_MARK)), "")
    return f"ppa:{owner}/{parts[-1]}" if owner else parts[-1]


def _word(value: object) -> str:
    """A name or a version, which stand in tables, paths and further requests; raises ValueError."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_WORD:
        raise ValueError(f"{str(value)[:LONGEST_WORD]!r} is no name or version")
    if not value.isprintable() or "/" in value or " " in value:
        raise ValueError(f"{value!r} is no name or version")
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) and value != HIDDEN else ""
