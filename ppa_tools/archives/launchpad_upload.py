"""Sending an upload to a Launchpad PPA by FTP, as dput does: anonymous, passive, the .changes last.

Launchpad gives every FTP session a directory of its own and looks at it when the session ends. So an upload that
was cut off is sent again in whole: its first half is thrown away there, having no .changes. One whose .changes was
acknowledged is not sent again; whether it is accepted, Launchpad says later, by mail.
"""

from __future__ import annotations

import ftplib
from dataclasses import dataclass
from pathlib import Path

from ppa_tools.address import Address
from ppa_tools.archives.errors import ArchiveError, ArchiveUnreachable
from ppa_tools.archives.ledger import Ledger

TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Sent:
    """An upload that was handed over; ``already``: by an earlier attempt."""

    files: tuple[str, ...]
    already: bool


def upload_path(address: Address, series: str) -> str:
    """Where a source for a series of a PPA goes; the series here wins over the .changes' Distribution."""
    return f"~{address.owner}/ubuntu/{address.name}/{series}"


def send_to_launchpad(
    address: Address,
    series: str,
    changes: Path,
    files: list[Path],
    ledger: Ledger,
    *,
    host: str,
    port: int,
    timeout_s: float = TIMEOUT_S,
) -> Sent:
    """Hand an upload to Launchpad; ``files`` are all but the .changes.

    Raises ArchiveUnreachable when trying again may help, ArchiveError for what Launchpad refuses outright.
    """
    if ledger.accepted is not None:
        return Sent(tuple(ledger.sent), already=True)
    ledger.start_again()
    ordered = (*sorted(files), changes)
    try:
        with ftplib.FTP(timeout=timeout_s, encoding="utf-8") as ftp:  # noqa: S321 (Launchpad's way; all is signed)
            ftp.connect(host, port)
            ftp.login()
            ftp.cwd(upload_path(address, series))
            for file in ordered:
                with file.open("rb") as body:
                    ftp.storbinary(f"STOR {file.name}", body)
                ledger.note_sent(file.name)
            ledger.note_accepted({"host": host, "path": upload_path(address, series)})
            ftp.quit()
    except ftplib.error_perm as error:
        raise ArchiveError(f"{host} refuses the upload: {error}") from error
    except (ftplib.Error, EOFError, OSError) as error:
        if ledger.accepted is None:
            raise ArchiveUnreachable(f"{host} cannot be reached: {error}") from error
    return Sent(tuple(file.name for file in ordered), already=False)
