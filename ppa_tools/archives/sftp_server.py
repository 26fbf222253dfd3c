"""The way in for dput by SFTP: any name and any key, for writing only.

A file's close is answered when it is known what became of it; a refusal fails it, with the reason. paramiko, which
dput-ng uses, does not look at that answer: it learns the reason when it asks for the file's size afterwards
("confirm_upload"). Nothing can be listed, read or renamed; there is no shell and no forwarding.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from twisted.conch.avatar import ConchUser
from twisted.conch.error import ConchError, ValidPublicKey
from twisted.conch.interfaces import IConchUser, ISFTPFile, ISFTPServer
from twisted.conch.ssh import connection, factory, filetransfer, keys, session, transport, userauth
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ISSHPrivateKey
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet import defer
from twisted.internet.protocol import Protocol
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from zope.interface import implementer

from ppa_tools.archives.dropbox import Arrival, NoRoom, Outcome
from ppa_tools.archives.drops import Drop, Drops, Overflow
from ppa_tools.archives.durable import write_durably
from ppa_tools.archives.errors import ArchiveError, UnknownPPA
from ppa_tools.archives.upload_paths import Target, is_on_the_way, segments_of

HOST_KEY = "sftp-host-ed25519"
PACKET_LIMIT_BYTES = 1 << 20
CHANNELS = 4
DIRECTORY = {"size": 0, "permissions": 0o40700}


def host_key(directory: Path) -> keys.Key:
    """The server's own key, kept in ``directory`` with mode 0600, and made when it is not there."""
    path = directory / HOST_KEY
    if not path.exists():
        private = ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        write_durably(path, private, mode=0o600)
    return keys.Key.fromString(path.read_bytes())


def fingerprint(key: keys.Key) -> str:
    """A key's fingerprint as ssh shows it."""
    return "SHA256:" + key.fingerprint(keys.FingerprintFormats.SHA256_BASE64).rstrip("=")  # type: ignore[no-any-return]


@implementer(ICredentialsChecker)
class KeyChecker:
    """Lets in whoever holds the key they show; with a file of ``authorised`` keys, only one of those."""

    credentialInterfaces = (ISSHPrivateKey,)  # noqa: N815 (Twisted's name)

    def __init__(self, authorised: Path | None) -> None:
        self._authorised = authorised

    def requestAvatarId(self, credentials: Any) -> defer.Deferred[bytes]:  # noqa: N802 (Twisted's name)
        """The name that the client gave itself; fails with UnauthorizedLogin."""
        return deferToThread(self._check, credentials)

    def _check(self, credentials: Any) -> bytes:
        try:
            key = keys.Key.fromString(credentials.blob)
        except (keys.BadKeyError, keys.EncryptedKeyError, ValueError) as error:
            raise UnauthorizedLogin("this kind of key is not known here") from error
        if self._authorised is not None and not self._is_authorised(key):
            raise UnauthorizedLogin("this key is not authorised")
        if not credentials.signature:
            raise ValidPublicKey
        if not key.verify(credentials.signature, credentials.sigData):
            raise UnauthorizedLogin("the signature does not hold")
        return credentials.username  # type: ignore[no-any-return]

    def _is_authorised(self, key: keys.Key) -> bool:
        assert self._authorised is not None
        for line in self._authorised.read_bytes().splitlines():
            try:
                if line.strip() and not line.startswith(b"#") and keys.Key.fromString(line) == key:
                    return True
            except keys.BadKeyError:
                continue
        return False


class SFTPOnly(session.SSHSession):  # type: ignore[misc]
    """A channel for SFTP and nothing else."""

    def request_shell(self, _data: bytes) -> int:
        """No shell."""
        return 0

    request_exec = request_pty_req = request_env = request_window_change = request_shell


class SFTPProtocol(filetransfer.FileTransferServer):  # type: ignore[misc]
    """SFTP with limits: no packet, and no number of handles, that fills the memory."""

    openFiles: dict[bytes, SFTPFile]  # noqa: N815 (Twisted's name)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        """Requests, or parts of them."""
        super().dataReceived(data)
        if (
            len(self.buf) > PACKET_LIMIT_BYTES
            or len(self.openFiles) > 2 * self.client.drop.box.limits.upload.files
        ):
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 (Twisted's name)
        """Files that were not closed are not whole."""
        for file in self.openFiles.values():
            file.arrival.abandon()
        self.openFiles = {}
        super().connectionLost(reason)


@implementer(ISFTPFile)
class SFTPFile:
    """A file that comes in."""

    def __init__(self, drop: Drop, arrival: Arrival, ended: Callable[[int | str], None]) -> None:
        self.arrival = arrival
        self._drop, self._ended = drop, ended
        self._failed = ""

    def writeChunk(self, offset: int, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        """Take the next piece."""
        if not self._failed and offset != self.arrival.size_bytes:
            self.arrival.abandon()
            self._failed = f"{self.arrival.name} must be written from its beginning to its end"
        if not self._failed:
            self._drop.touch()
            try:
                self.arrival.write(data)
            except ArchiveError as error:
                self._failed = str(error)
        if self._failed:
            self._ended(self._failed)
            _fail(self._failed)

    def close(self) -> Any:
        """All has come: say what follows."""
        if self._failed:
            _fail(self._failed)
        return self._drop.settle(self.arrival).addCallbacks(self._settled, self._refused)

    def _settled(self, _outcome: Outcome) -> None:
        self._ended(self.arrival.size_bytes)

    def _refused(self, failure: Failure) -> NoReturn:
        self._failed = self._drop.explain(failure)
        self._ended(self._failed)
        _fail(self._failed)

    def readChunk(self, _offset: int, _length: int) -> NoReturn:  # noqa: N802 (Twisted's name)
        """Nothing is read."""
        _fail("this is for uploads only")

    def getAttrs(self) -> dict[str, int]:  # noqa: N802 (Twisted's name)
        """Its size so far."""
        return {"size": self.arrival.size_bytes, "permissions": 0o100600}

    def setAttrs(self, _attributes: dict[str, int]) -> None:  # noqa: N802 (Twisted's name)
        """Modes and times mean nothing here."""


@implementer(IConchUser, ISFTPServer)
class Visitor(ConchUser):  # type: ignore[misc]
    """Whoever has logged in."""

    def __init__(self) -> None:
        super().__init__()
        self.channelLookup[b"session"] = SFTPOnly
        self.subsystemLookup[b"sftp"] = SFTPProtocol
        self._outcomes: dict[tuple[str, ...], int | str] = {}

    @property
    def drop(self) -> Drop:
        """The session."""
        return self.conn.transport.drop  # type: ignore[no-any-return]

    def lookupChannel(self, *wanted: Any) -> Any:  # noqa: N802 (Twisted's name)
        """A channel, while there are few."""
        if len(self.conn.channels) >= CHANNELS:
            raise ConchError(connection.OPEN_RESOURCE_SHORTAGE, "too many channels")
        return super().lookupChannel(*wanted)

    def gotVersion(self, _version: int, _extensions: dict[bytes, bytes]) -> dict[bytes, bytes]:  # noqa: N802
        """No extensions."""
        return {}

    def openFile(self, filename: bytes, flags: int, _attributes: dict[str, int]) -> Any:  # noqa: N802
        """Begin to take a file."""
        segments = _segments(filename)
        if not segments or not flags & filetransfer.FXF_WRITE or flags & filetransfer.FXF_APPEND:
            _fail("this is for uploads only: files are written whole")
        self._outcomes.pop(segments, None)
        found = self.drop.find_target(segments[:-1])
        return found.addCallback(self._begin, segments).addErrback(self._explain)

    def getAttrs(self, path: bytes, _follow: int) -> Any:  # noqa: N802 (Twisted's name)
        """Directories for uploads are there; so is a file that came in this session, unless it was refused."""
        segments = _segments(path)
        outcome = self._outcomes.get(segments)
        if isinstance(outcome, str):
            _fail(outcome)
        if outcome is not None:
            return {"size": outcome, "permissions": 0o100600}
        if is_on_the_way(segments):
            return DIRECTORY
        return self.drop.find_target(segments).addCallbacks(lambda _: DIRECTORY, self._explain)

    def setAttrs(self, _path: bytes, _attributes: dict[str, int]) -> None:  # noqa: N802 (Twisted's name)
        """Modes and times mean nothing here."""

    def makeDirectory(self, _path: bytes, _attributes: dict[str, int]) -> None:  # noqa: N802 (Twisted's name)
        """Clients that make a directory before they go there are told that it is made."""

    def realPath(self, path: bytes) -> bytes:  # noqa: N802 (Twisted's name)
        """A path from the root."""
        return b"/" + "/".join(_segments(path)).encode()

    def removeFile(self, *_arguments: Any) -> NoReturn:  # noqa: N802 (Twisted's name)
        """Not here."""
        _fail("this is for uploads only")

    renameFile = removeDirectory = openDirectory = readLink = makeLink = removeFile  # noqa: N815

    def extendedRequest(self, name: bytes, _data: bytes) -> NoReturn:  # noqa: N802 (Twisted's name)
        """No extensions."""
        raise NotImplementedError(f"{name!r} is not known here")

    def _begin(self, target: Target, segments: tuple[str, ...]) -> SFTPFile:
        def ended(outcome: int | str) -> None:
            if len(self._outcomes) > self.drop.box.limits.upload.files:
                self._outcomes.clear()
            self._outcomes[segments] = outcome

        return SFTPFile(self.drop, self.drop.box.begin(target, segments[-1]), ended)

    def _explain(self, failure: Failure) -> NoReturn:
        missing = failure.check(UnknownPPA)
        _fail(self.drop.explain(failure), filetransfer.FX_NO_SUCH_FILE if missing else filetransfer.FX_FAILURE)


@implementer(IRealm)
class Realm:
    """Everybody is the same visitor: rights come from the upload's signature."""

    def requestAvatar(self, _name: bytes, _mind: Any, *_interfaces: Any) -> Any:  # noqa: N802 (Twisted's name)
        """A visitor."""
        return IConchUser, Visitor(), lambda: None


class UserAuth(userauth.SSHUserAuthServer):  # type: ignore[misc]
    """Logging in, within a minute."""

    loginTimeout = 60  # noqa: N815 (Twisted's name)


class DropSSH(transport.SSHServerTransport):  # type: ignore[misc]
    """A connection; without compression, since a small packet could unpack to gigabytes."""

    supportedCompressions = [b"none"]  # noqa: N815, RUF012 (Twisted's name)
    drop: Drop

    def connectionMade(self) -> None:  # noqa: N802 (Twisted's name)
        """Begin."""
        self.drop.when_ended = self.transport.abortConnection
        super().connectionMade()

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 (Twisted's name)
        """Whatever the end was: nothing of the session stays."""
        super().connectionLost(reason)
        self.drop.close()


class DropSSHFactory(factory.SSHFactory):  # type: ignore[misc]
    """Makes sessions while there is room."""

    protocol = DropSSH
    services = {b"ssh-userauth": UserAuth, b"ssh-connection": connection.SSHConnection}  # noqa: RUF012

    def __init__(self, drops: Drops, key: keys.Key, authorised: Path | None = None) -> None:
        self._drops = drops
        self.publicKeys = {b"ssh-ed25519": key.public()}
        self.privateKeys = {b"ssh-ed25519": key}
        self.portal = Portal(Realm(), [KeyChecker(authorised)])

    def buildProtocol(self, addr: Any) -> Protocol:  # noqa: N802 (Twisted's name)
        """A session, or the reason why there is none."""
        try:
            drop = self._drops.open(addr.host, "sftp")
        except NoRoom as full:
            return Overflow(full)
        one = super().buildProtocol(addr)
        one.drop = drop
        return one


def _segments(path: bytes) -> tuple[str, ...]:
    try:
        return segments_of((), path.decode())
    except UnicodeDecodeError:
        _fail("a path in UTF-8 is wanted")


def _fail(words: str, code: int = filetransfer.FX_FAILURE) -> NoReturn:
    """Answer with a reason; SFTP's own codes say nothing, and some of them make dput-ng go on."""
    raise filetransfer.SFTPError(code, words.encode("ascii", "backslashreplace").decode())
