"""A loopback double of Launchpad's upload server: real FTP, by Twisted.

It models: anonymous login; any directory may be entered; files can be stored but not listed or read; every session
has a directory of its own, looked at when the session ends. It does not look at signatures, and sends no mail.
``fail_at`` ends the connection in the middle of the n-th file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import IRealm, Portal
from twisted.internet import defer, reactor
from twisted.protocols import ftp
from twisted.python.filepath import FilePath
from zope.interface import implementer


class Session(ftp.FTPShell):
    def __init__(self, root: FilePath, fail_at: int) -> None:
        super().__init__(root)
        self.fail_at = fail_at
        self.stored = 0

    def access(self, path: tuple[str, ...]) -> defer.Deferred[None]:
        target = self._path(path)
        if not target.isdir():
            target.makedirs()
        return defer.succeed(None)

    def openForWriting(self, path: tuple[str, ...]) -> Any:  # noqa: N802
        self.stored += 1
        if self.stored == self.fail_at:
            return defer.fail(ftp.FileNotFoundError(path))
        return super().openForWriting(path)


@implementer(IRealm)
class Realm:
    def __init__(self, root: Path, fail_at: int) -> None:
        self.root, self.fail_at, self.sessions = root, fail_at, 0

    def requestAvatar(self, _avatar_id: Any, _mind: Any, *_interfaces: Any) -> Any:  # noqa: N802
        self.sessions += 1
        directory = self.root / f"session-{self.sessions}"
        directory.mkdir(parents=True)
        fail_at = self.fail_at if self.sessions == 1 else 0
        return ftp.IFTPShell, Session(FilePath(str(directory)), fail_at), lambda: None


class Protocol(ftp.FTP):
    def ftp_STOR(self, path: str) -> Any:  # noqa: N802
        shell = self.shell
        if shell.stored + 1 == shell.fail_at:
            self.transport.abortConnection()
        return super().ftp_STOR(path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--fail-at", type=int, default=0)
    args = parser.parse_args()
    factory = ftp.FTPFactory(Portal(Realm(args.root, args.fail_at), [AllowAnonymousAccess()]))
    factory.protocol = Protocol
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


if __name__ == "__main__":
    sys.exit(main())
