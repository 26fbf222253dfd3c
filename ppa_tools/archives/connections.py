"""Connections to the server: as many as there is room for, and none for long that stands still.

When there is no room the one that was silent longest gives way to a new one: so strangers who open many and say
nothing keep nobody out, and never take the file descriptors that accepting an upload needs.
"""

from __future__ import annotations

import contextlib
import math
import resource
import socket

from twisted.internet import reactor
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

CONNECTIONS = 512
FILES = 4096  # a connection may have a file open, and so may an upload; processes have pipes
STALLED_S = 120


class Connection(ProtocolWrapper):  # type: ignore[misc]
    """One connection, and when it was last heard of; one whose other end reads nothing is cut off."""

    heard_at = 0.0

    def makeConnection(self, transport: object) -> None:  # noqa: N802 (Twisted's name)
        """Begin. The kernel looks for ends that take nothing: they never let a timer of ours see it."""
        super().makeConnection(transport)
        self._hear()
        self.transport.getHandle().setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_S * 1000)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        """Something came."""
        self._hear()
        super().dataReceived(data)

    def write(self, data: bytes) -> None:
        """Something goes, for which there is room at the other end."""
        self._hear()
        super().write(data)

    def _hear(self) -> None:
        self.heard_at = reactor.seconds()


class Connections(WrappingFactory):  # type: ignore[misc]
    """Lets ``limit`` connections in at a time."""

    protocol = Connection
    noisy = False

    def __init__(self, wrapped: object, limit: int = CONNECTIONS) -> None:
        super().__init__(wrapped)
        self._limit = limit

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # noqa: N802 (Twisted's name)
        """A connection, for which another one may have to go."""
        if len(self.protocols) >= self._limit:
            silent = min(self.protocols, key=lambda one: one.heard_at)
            silent.heard_at = math.inf  # it is counted until its end comes round
            silent.transport.abortConnection()
        return super().buildProtocol(addr)


def make_room_for_files(wanted: int = FILES) -> None:
    """Let this process have more files open than is usual, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
