"""One log for several: its own file, and whoever watches."""

from __future__ import annotations

from typing import BinaryIO


class Tee:
    """A log that goes to a file and to whoever watches."""

    def __init__(self, *files: BinaryIO) -> None:
        self._files = files

    def write(self, data: bytes) -> int:
        """Write to all; a watcher that has gone away is no trouble."""
        for file in self._files:
            try:
                file.write(data)
            except BrokenPipeError:
                continue
        return len(data)

    def flush(self) -> None:
        """Flush all."""
        for file in self._files:
            try:
                file.flush()
            except BrokenPipeError:
                continue
