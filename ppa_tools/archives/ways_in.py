"""What a server listens on beside HTTP: FTP and SFTP for dput, each only when it has a port."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.error import CannotListenError

from ppa_tools.archives.drops import Drops
from ppa_tools.archives.errors import ArchiveTrouble


@dataclass(frozen=True)
class WaysIn:
    """Where uploads by FTP and SFTP are taken; a port of 0 is none.

    FTP's data comes to ``passive_ports``, () for any that is free. With a file of ``authorised_keys``, as sshd
    has them, only these keys are let in by SFTP. The server's own SFTP key is kept in ``key_directory``.
    """

    host: str
    key_directory: Path
    ftp_port: int = 0
    sftp_port: int = 0
    passive_ports: Sequence[int] = ()
    authorised_keys: Path | None = None


def listen(ways: WaysIn, drops: Drops) -> tuple[list[Any], list[str]]:
    """Begin to listen: the ports, and a line on each for whoever starts the server. Raises ArchiveTrouble."""
    ports, lines = [], []
    for port, (factory, words) in _factories(ways, drops):
        ports.append(listen_tcp(port, factory, ways.host))
        lines.append(f"archive: taking uploads by {words.format(where=_where(ports[-1]))}")
    return ports, lines


def listen_tcp(port: int, factory: Any, host: str) -> Any:
    """Listen; raises ArchiveTrouble when that cannot be."""
    try:
        return reactor.listenTCP(port, factory, interface=host)
    except CannotListenError as error:
        raise ArchiveTrouble(f"cannot listen on {host}:{port}: {error.socketError}") from error


def _factories(ways: WaysIn, drops: Drops) -> Iterator[tuple[int, tuple[Any, str]]]:
    if ways.ftp_port:
        from ppa_tools.archives.ftp_server import DropFTPFactory

        yield ways.ftp_port, (DropFTPFactory(drops, ways.passive_ports), "ftp://{where}/")
    if ways.sftp_port:  # its libraries take a while to load
        from ppa_tools.archives import sftp_server

        key = sftp_server.host_key(ways.key_directory)
        words = f"sftp://{{where}}/, host key ED25519 {sftp_server.fingerprint(key)}"
        yield ways.sftp_port, (sftp_server.DropSSHFactory(drops, key, ways.authorised_keys), words)


def _where(port: Any) -> str:
    address = port.getHost()
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"
