"""A ledger of what was sent: each line is on disk before more is sent, so a retry knows where it stands."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppa_tools.archives.durable import write_durably


@dataclass
class Ledger:
    """What was sent to one destination for one .changes; any other upload begins a new ledger.

    ``sent`` are the names the other side has acknowledged, in order; ``accepted`` is its answer to the .changes.
    """

    path: Path
    destination: str
    changes_sha256: str
    sent: list[str] = field(default_factory=list)
    accepted: dict[str, Any] | None = None

    def note_sent(self, name: str) -> None:
        """The other side has acknowledged a file."""
        if name not in self.sent:
            self.sent.append(name)
        self._save()

    def note_accepted(self, answer: dict[str, Any]) -> None:
        """The other side has the whole upload."""
        self.accepted = answer
        self._save()

    def start_again(self) -> None:
        """What was sent so far does not count."""
        self.sent.clear()
        self._save()

    def _save(self) -> None:
        record = {
            "destination": self.destination,
            "changes_sha256": self.changes_sha256,
            "sent": self.sent,
            "accepted": self.accepted,
        }
        write_durably(self.path, json.dumps(record, indent=2).encode() + b"\n")


def open_ledger(path: Path, destination: str, changes_sha256: str) -> Ledger:
    """The ledger at ``path`` when it is of this upload, else a new one; a damaged one counts as none."""
    new = Ledger(path, destination, changes_sha256)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        kept = Ledger(
            path, record["destination"], record["changes_sha256"], list(record["sent"]), record["accepted"]
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return new
    same = (kept.destination, kept.changes_sha256) == (destination, changes_sha256)
    return kept if same else new
