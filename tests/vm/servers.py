"""Servers and clients for the gateway's tests: real sockets, one behaviour each."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT_S = 20.0


class Recorder:
    """A server of raw connections on 127.0.0.1: ``behave(connection, request head)`` after each head."""

    def __init__(self, behave: Callable[[socket.socket, bytes], bool]) -> None:
        self.behave = behave
        self.heads: list[bytes] = []
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(WAIT_S)
        buffer = b""
        try:
            with connection:
                while True:
                    while b"\r\n\r\n" not in buffer:
                        block = connection.recv(65536)
                        if not block:
                            return
                        buffer += block
                    head, _, buffer = buffer.partition(b"\r\n\r\n")
                    self.heads.append(head)
                    if not self.behave(connection, head):
                        return
        except OSError:
            return


@contextmanager
def recording(behave: Callable[[socket.socket, bytes], bool]) -> Iterator[Recorder]:
    server = Recorder(behave)
    try:
        yield server
    finally:
        server.close()


def answering(answer: bytes, *, keep: bool = True) -> Callable[[socket.socket, bytes], bool]:
    def behave(connection: socket.socket, _: bytes) -> bool:
        connection.sendall(answer)
        return keep

    return behave


def path_of(head: bytes) -> str:
    return head.split(b" ", 2)[1].decode()


def echo_path(connection: socket.socket, head: bytes) -> bool:
    """Answer with the path that was asked for."""
    body = path_of(head).encode()
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
    if not head.startswith(b"HEAD"):
        connection.sendall(body)
    return True


def ask(where: Path | int, data: bytes, *, then_close: bool = True) -> bytes:
    """Send bytes on a connection of their own, and read until its end."""
    with open_to(where) as connection:
        connection.sendall(data)
        if then_close:
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def open_to(where: Path | int) -> socket.socket:
    if isinstance(where, int):
        return socket.create_connection(("127.0.0.1", where), timeout=WAIT_S)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(WAIT_S)
    connection.connect(str(where))
    return connection


def read_all(connection: socket.socket) -> bytes:
    blocks = []
    try:
        while block := connection.recv(65536):
            blocks.append(block)
    except ConnectionResetError:
        pass
    return b"".join(blocks)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0
