"""The way in for dput by FTP: anonymous, passive, and for writing only.

A transfer is answered when it is known what became of it: 226 with "accepted", or 451 with the reason. (dput-ng
takes any 5xx for a file that is there already: it keeps the reason to itself, goes on, and ends well. So whatever
ends a transfer has a 4xx.) Only the commands that upload clients need are there; nothing can be listed, read or
renamed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet import defer, error, protocol
from twisted.protocols import ftp
from twisted.python.failure import Failure

from ppa_tools.archives.dropbox import NoRoom, TooLarge
from ppa_tools.archives.drops import Drop, Drops, Overflow
from ppa_tools.archives.errors import ArchiveError
from ppa_tools.archives.upload_paths import Target, is_on_the_way, segments_of

ANONYMOUS = ("anonymous", "ftp")
COMMANDS = frozenset(
    "USER PASS QUIT FEAT SYST NOOP OPTS TYPE MODE STRU ALLO SITE PASV EPSV CWD CDUP PWD MKD STOR".split(" ")  # noqa: SIM905
)
REFUSED, NO_ROOM, NO_PLACE = 451, 452, 550
DATA_TIMEOUT_S = 30


class Answered(ftp.FTPCmdError):  # type: ignore[misc]
    """An answer with words of its own."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self._text = f"{code} {words}"

    def response(self) -> bytes:
        """The line to send."""
        return self._text.encode()


class DataConnection(protocol.Protocol):  # type: ignore[misc]
    """What carries a file; nothing is read before STOR says where it goes."""

    def __init__(self) -> None:
        self.has_ended: defer.Deferred[None] = defer.Deferred()
        self._take: Callable[[bytes], None] | None = None

    def connectionMade(self) -> None:  # noqa: N802 (Twisted's name)
        """Wait for STOR."""
        self.transport.pauseProducing()
        self.factory.deferred.callback(None)

    def receive(self, take: Callable[[bytes], None]) -> defer.Deferred[None]:
        """Give all that comes to ``take``; fails when the connection broke, or ``take`` raised."""
        self._take = take
        self.transport.resumeProducing()
        return self.has_ended

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        """Take a piece."""
        if self._take is None or self.has_ended.called:
            return
        try:
            self._take(data)
        except ArchiveError:
            self.transport.abortConnection()
            self.has_ended.errback(Failure())

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 (Twisted's name)
        """The file has ended, or was cut off."""
        if not self.has_ended.called:
            self.has_ended.callback(None) if reason.check(error.ConnectionDone) else self.has_ended.errback(reason)


class DataFactory(ftp.DTPFactory):  # type: ignore[misc]
    """Takes one data connection, from the address that the commands come from."""

    _state: object

    def buildProtocol(self, addr: Any) -> DataConnection | None:  # noqa: N802 (Twisted's name)
        """The connection; None for a second one, and for a stranger's."""
        if self._state is not self._IN_PROGRESS or addr.host != self.peerHost:
            return None
        self._state = self._FINISHED
        self.cancelTimeout()
        self.pi.stop_listening()
        connection = DataConnection()
        connection.factory = self
        self.pi.dtpInstance = connection
        return connection


class DropFTP(ftp.FTP):  # type: ignore[misc]
    """One session of commands."""

    FEATURES = ("EPSV", "PASV", "TYPE I", "UTF8")
    PUBLIC_COMMANDS = ("FEAT", "QUIT", "NOOP", "SYST")
    dtpTimeout = DATA_TIMEOUT_S  # noqa: N815 (Twisted's name)
    _encoding = "utf-8"

    drop: Drop
    workingDirectory: tuple[str, ...] = ()  # noqa: N815 (Twisted's name)
    dtpFactory: DataFactory | None  # noqa: N815 (Twisted's name)
    dtpInstance: DataConnection | None  # noqa: N815 (Twisted's name)
    dtpPort: Any  # noqa: N815 (Twisted's name)

    def connectionMade(self) -> None:  # noqa: N802 (Twisted's name)
        """Greet."""
        self.drop.when_ended = self.transport.abortConnection
        super().connectionMade()

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 (Twisted's name)
        """Whatever the end was: nothing of the session stays."""
        self.disconnected = True
        super().connectionLost(reason)
        self.drop.close()

    def sendLine(self, line: str | bytes) -> None:  # noqa: N802 (Twisted's name)
        """Say it, if anybody is there still."""
        if not self.disconnected:
            super().sendLine(line)

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 (Twisted's name)
        """A command; one that is no text is no command."""
        try:
            line.decode(self._encoding)
        except UnicodeDecodeError:
            self.sendLine("501 UTF-8 is wanted")
            return
        super().lineReceived(line)

    def processCommand(self, cmd: str, *params: str) -> Any:  # noqa: N802 (Twisted's name)
        """Only what an upload needs."""
        if cmd.upper() not in COMMANDS:
            return defer.fail(Answered(502, f"{cmd[:20]!r} is not to be had here: this is for uploads only"))
        return super().processCommand(cmd, *params)

    def ftp_USER(self, username: str) -> Any:  # noqa: N802 (Twisted's name)
        """Anonymous only: so nobody sends a password that is worth anything."""
        if username not in ANONYMOUS:
            return defer.fail(Answered(530, "log in as anonymous: rights come from the upload's signature"))
        self.state = self.INAUTH
        return ftp.GUEST_NAME_OK_NEED_EMAIL

    def ftp_PASS(self, _password: str = "") -> Any:  # noqa: N802 (Twisted's name)
        """Any password will do."""
        self.state = self.AUTHED
        return ftp.GUEST_LOGGED_IN_PROCEED

    def ftp_CWD(self, path: str) -> Any:  # noqa: N802 (Twisted's name)
        """Go to a place for uploads, or on the way to one."""
        segments = segments_of(self.workingDirectory, path)

        def enter(_found: Any) -> tuple[str]:
            self.workingDirectory = segments
            return (ftp.REQ_FILE_ACTN_COMPLETED_OK,)

        if is_on_the_way(segments):
            return enter(None)
        return self.drop.find_target(segments).addCallbacks(enter, self._explain, errbackArgs=(NO_PLACE,))

    def ftp_MKD(self, path: str) -> Any:  # noqa: N802 (Twisted's name)
        """Clients that make a directory before they go there are told that it is made."""
        return (ftp.MKD_REPLY, path)

    def ftp_ALLO(self, _size: str = "") -> bytes:  # noqa: N802 (Twisted's name)
        """Room is looked for when a file comes."""
        return ftp.CMD_NOT_IMPLMNTD_SUPERFLUOUS  # type: ignore[no-any-return]

    def ftp_SITE(self, command: str) -> Any:  # noqa: N802 (Twisted's name)
        """A mode may be asked for, and means nothing."""
        if command.upper().startswith("CHMOD "):
            return (ftp.CMD_OK,)
        return defer.fail(Answered(502, "SITE is not to be had here"))

    def type_A(self, _code: str) -> Any:  # noqa: N802 (Twisted's name)
        """Text mode would change what was signed."""
        return defer.fail(Answered(504, "TYPE I is wanted"))

    def ftp_PASV(self) -> Any:  # noqa: N802 (Twisted's name)
        """Listen for data, on the address that the commands came to."""
        host = self.transport.getHost().host.removeprefix("::ffff:")
        if ":" in host:
            return defer.fail(Answered(425, "PASV is for IPv4; use EPSV"))
        return self._listen(lambda port: (ftp.ENTERING_PASV_MODE, ftp.encodeHostPort(host, port)))

    def ftp_EPSV(self, _protocol: str = "") -> Any:  # noqa: N802 (Twisted's name)
        """As PASV, for IPv6, too."""
        return self._listen(lambda port: (ftp.ENTERING_EPSV_MODE, port))

    def ftp_STOR(self, path: str) -> Any:  # noqa: N802 (Twisted's name)
        """Take a file, and say what follows from it."""
        connection = self.dtpInstance
        if connection is None:
            return defer.fail(Answered(503, "PASV or EPSV comes before STOR"))
        segments = segments_of(self.workingDirectory, path)
        found = self.drop.find_target(segments[:-1])
        found.addCallback(self._receive, segments[-1] if segments else "", connection)
        found.addErrback(self._explain)

        def end(result: Any) -> Any:
            self.cleanupDTP()
            return result

        return found.addBoth(end)

    def stop_listening(self) -> None:
        """Free the port: its one data connection has come, or is wanted no more."""
        port, self.dtpPort = self.dtpPort, None
        if port is not None:
            port.stopListening()

    def cleanupDTP(self) -> None:  # noqa: N802 (Twisted's name)
        """End whatever there is for data: one connection carries one file."""
        self.stop_listening()
        if self.dtpFactory is not None:
            self.dtpFactory.stopFactory()
            self.dtpFactory = None
        if self.dtpInstance is not None:
            self.dtpInstance.transport.abortConnection()
            self.dtpInstance = None

    def _listen(self, answer: Callable[[int], Any]) -> Any:
        self.cleanupDTP()
        self.dtpFactory = DataFactory(self, self.transport.getPeer().host)
        try:
            self.dtpPort = self.getDTPPort(self.dtpFactory, self.transport.getHost().host)
        except error.CannotListenError:
            self.dtpFactory = None
            return defer.fail(Answered(425, "no port is free for the data; try again later"))
        self.dtpFactory.setTimeout(DATA_TIMEOUT_S)
        connected = self.dtpFactory.deferred
        self.reply(*answer(self.dtpPort.getHost().port))
        connected.addErrback(lambda _: defer.fail(Answered(425, "no data connection came")))
        return connected

    def _receive(self, target: Target, name: str, connection: DataConnection) -> Any:
        arrival = self.drop.box.begin(target, name)

        def take(data: bytes) -> None:
            self.drop.touch()
            arrival.write(data)

        def cut_off(failure: Failure) -> Failure:
            arrival.abandon()
            return failure

        self.sendLine("150 send it")
        received = connection.receive(take)
        received.addErrback(cut_off)
        received.addCallback(lambda _: self.drop.settle(arrival))
        return received.addCallback(lambda outcome: self.sendLine(f"226 {' '.join(outcome.words.split())}"))

    def _explain(self, failure: Failure, otherwise: int = REFUSED) -> None:
        if failure.check(error.ConnectionLost, error.ConnectionAborted):
            raise Answered(426, "the data connection broke")
        raise Answered(NO_ROOM if failure.check(TooLarge, NoRoom) else otherwise, self.drop.explain(failure))


class DropFTPFactory(protocol.ServerFactory):  # type: ignore[misc]
    """Makes sessions while there is room; ``passive_ports`` are for data, () for any that is free."""

    welcomeMessage = "uploads of signed Debian source packages"  # noqa: N815 (Twisted's name)

    def __init__(self, drops: Drops, passive_ports: Sequence[int] = ()) -> None:
        self._drops, self._passive_ports = drops, passive_ports or (0,)

    def buildProtocol(self, addr: Any) -> protocol.Protocol:  # noqa: N802 (Twisted's name)
        """A session, or the reason why there is none."""
        try:
            drop = self._drops.open(addr.host, "ftp")
        except NoRoom as full:
            return Overflow(full)
        session = DropFTP()
        session.factory, session.drop = self, drop
        session.passivePortRange = self._passive_ports
        return session
