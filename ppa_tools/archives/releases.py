"""Keeping what came, source versions and binary packages, as releases in the publishing history."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from ppa_tools.archives import history as h
from ppa_tools.archives import indexes
from ppa_tools.archives.checks import Deb
from ppa_tools.archives.control import NamedFile, SourceControl
from ppa_tools.archives.pool import pool_directory


def add_release(conn: Connection, ppa: h.PPA, dsc: SourceControl, dsc_file: NamedFile, payload_sha256: str) -> int:
    """Keep what a source version is that came to a PPA; the id of its release. Its files are known already."""
    return h.add_source_release(
        conn,
        ppa.id,
        dsc.source,
        dsc.version,
        dsc.architectures,
        payload_sha256,
        indexes.source_stanza(dsc, dsc_file, dsc.files, pool_directory(dsc.source)),
        [(file.name, file.sha256) for file in (dsc_file, *dsc.files)],
    )


def keep_deb(conn: Connection, deb: Deb, source_release_id: int) -> int:
    """Keep what a binary package is, once; the id of its release. Its file is known already."""
    known = h.find_binary_release(conn, source_release_id, deb.file.digests.sha256)
    if known is not None:
        return known
    control, digests = deb.control, deb.file.digests
    pool_path = f"{pool_directory(control.source)}/{deb.file.name}"
    return h.add_binary_release(
        conn,
        source_release_id,
        control.package,
        control.version,
        control.architecture,
        deb.file.name,
        digests.sha256,
        indexes.package_stanza(control, pool_path, digests),
    )
