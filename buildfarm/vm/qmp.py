"""QMP, qemu's machine protocol, over a socket that was inherited: commands, and the events between them."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, Queue
from typing import Any

from buildfarm.errors import FarmTrouble

COMMAND_LIMIT_S = 30.0
MESSAGE_LIMIT_BYTES = 1 << 20


class QmpError(FarmTrouble):
    """qemu said no to a command, or nothing in time."""


@dataclass
class Qmp:
    """One end of a QMP session.

    ``feed`` is called, by whoever reads the socket, with the bytes that came; ``execute`` by anybody else. An
    event goes to ``on_event`` as (name, data) in the reader's thread.
    """

    wire: socket.socket
    on_event: Callable[[str, dict[str, Any]], None]
    _pending: bytearray = field(default_factory=bytearray)
    _answers: Queue[dict[str, Any]] = field(default_factory=Queue)

    def feed(self, data: bytes) -> None:
        """Take in what qemu sent."""
        self._pending += data
        while (end := self._pending.find(b"\n")) >= 0:
            line, self._pending = bytes(self._pending[:end]), self._pending[end + 1 :]
            if line.strip():
                self._take(json.loads(line))
        if len(self._pending) > MESSAGE_LIMIT_BYTES:
            self._pending.clear()

    def _take(self, message: dict[str, Any]) -> None:
        if "event" in message:
            self.on_event(message["event"], message.get("data", {}))
        elif "QMP" not in message:
            self._answers.put(message)

    def ended(self) -> None:
        """qemu is gone: nobody waits for an answer any longer."""
        self._answers.put({"error": {"desc": "qemu is gone"}})

    def execute(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        *,
        descriptors: Sequence[int] = (),
        timeout_s: float = COMMAND_LIMIT_S,
    ) -> Any:
        """Run a command and return what it returns; raises QmpError. ``descriptors`` travel with it (getfd)."""
        while not self._answers.empty():  # the late answer to one that was given up
            self._answers.get_nowait()
        message: dict[str, Any] = {"execute": command}
        if arguments:
            message["arguments"] = arguments
        text = json.dumps(message).encode() + b"\n"
        try:
            if descriptors:
                socket.send_fds(self.wire, [text], list(descriptors))
            else:
                self.wire.sendall(text)
            answer = self._answers.get(timeout=timeout_s)
        except Empty:
            raise QmpError(f"qemu does not answer {command} within {timeout_s:.0f} s") from None
        except OSError as error:
            raise QmpError(f"qemu cannot be told {command}: {error.strerror}") from error
        if "error" in answer:
            raise QmpError(f"qemu refuses {command}: {answer['error'].get('desc', answer['error'])}")
        return answer.get("return")
