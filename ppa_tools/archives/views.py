"""The archive as programs read it: publications as JSON values."""

from __future__ import annotations

from typing import Any

from ppa_tools.archives.local import BinaryPublication, Publication


def publication_json(one: Publication) -> dict[str, Any]:
    """A publication as plain JSON values; times are seconds since the epoch, UTC."""
    source, span = one.source, one.source.span
    return {
        "source": source.source,
        "version": source.version,
        "series": source.series,
        "status": span.status.value,
        "created_at": span.created_at,
        "created_by": span.created_by,
        "why": span.why,
        "published_at": span.published_at,
        "ended_at": span.ended_at,
        "end_why": span.end_why,
        "built_on": list(one.built_on),
        "binaries": [_binary_json(binary) for binary in one.binaries],
    }


def _binary_json(one: BinaryPublication) -> dict[str, Any]:
    return {
        "package": one.package,
        "version": one.version,
        "architecture": one.architecture,
        "index": one.index_architecture,
        "status": one.span.status.value,
        "created_at": one.span.created_at,
        "created_by": one.span.created_by,
        "published_at": one.span.published_at,
    }
