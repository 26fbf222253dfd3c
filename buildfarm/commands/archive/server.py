"""``buildfarm archive serve``: the archive's server, as the farm's settings want it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from buildfarm.errors import UsageError
from buildfarm.secrets_store import ARCHIVE_WORKER_TOKEN, ensure_secret
from buildfarm.settings import Settings

if TYPE_CHECKING:
    from ppa_tools.archives.local import LocalArchive
    from ppa_tools.archives.mail import Mailer


def serve(archive: LocalArchive, settings: Settings, _args: argparse.Namespace) -> int:
    """Serve until a signal; the exit status."""
    from ppa_tools.archives.dropbox import DropLimits
    from ppa_tools.archives.incoming import Limits
    from ppa_tools.archives.server import serve as serve_archive
    from ppa_tools.archives.ways_in import WaysIn

    ours = settings.archive
    keys = settings.root / ours.sftp_authorized_keys if ours.sftp_authorized_keys else None
    if keys is not None and not keys.is_file():
        raise UsageError("there is no such file", where=f"archive.sftp_authorized_keys = {str(keys)!r}")
    first, last = ours.passive_ports or (0, 0)
    mailer = _mailer(settings)
    try:
        return serve_archive(
            archive,
            host=ours.host,
            port=ours.port,
            worker_token=ensure_secret(settings.secrets / ARCHIVE_WORKER_TOKEN),
            drop_limits=DropLimits(
                Limits(file_bytes=ours.upload_file_mib << 20),
                sessions=ours.upload_sessions,
                free_bytes=ours.keep_free_mib << 20,
            ),
            ways_in=WaysIn(
                ours.upload_host,
                archive.root / "keys",
                ours.ftp_port,
                ours.sftp_port,
                range(first, last + 1),
                keys,
            ),
            notifier=mailer,
        )
    finally:
        if mailer is not None:
            mailer.close()


def _mailer(settings: Settings) -> Mailer | None:
    """Who tells uploaders what became of their uploads, where mail is set up."""
    from buildfarm.mail import smtp_of
    from ppa_tools.archives.mail import Mailer

    smtp = smtp_of(settings)
    if smtp is None:
        return None
    return Mailer(smtp, lambda line: print(line, file=sys.stderr, flush=True))
