"""One machine's one-time tokens, the phases it has called, and the calls that were refused.

A machine calls home three times, in the order of ``PHASES``. For each phase it is given a token that is good for
one call, of one run, one machine and one phase; only its hash is kept here. A call with the right token, in order
and in time, is always taken: refusals are limited in rate and in number, right calls are not.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

PHASES = ("booted", "installed", "tested")
TOKEN_BYTES = 32
NOTE_LIMIT_CHARACTERS = 4096
REFUSALS_KEPT = 1000
REFUSALS_AT_ONCE = 10
REFUSALS_PER_S = 5.0


@dataclass(frozen=True)
class Answer:
    """What a caller is told, as an HTTP status and a short text."""

    status: int
    text: str

    @property
    def accepted(self) -> bool:
        """Whether the call counts."""
        return self.status == 200


@dataclass(frozen=True)
class Call:
    """A phase that the machine has called: when (seconds since the epoch), and the note it sent along."""

    phase: str
    at: float
    note: str = ""


@dataclass(frozen=True)
class Refusal:
    """A call that did not count: when, for which phase as the caller wrote it, and why."""

    at: float
    phase: str
    status: int
    reason: str


class Callbacks:
    """The calls of ONE machine; all methods may be used from several threads."""

    def __init__(
        self,
        run: str,
        machine: str,
        clock: Callable[[], float] = time.time,
        new_token: Callable[[], str] = lambda: secrets.token_urlsafe(TOKEN_BYTES),
    ) -> None:
        self.run = run
        self.machine = machine
        self._clock = clock
        self._new_token = new_token
        self._digests: dict[str, bytes] = {}
        self._calls: dict[str, Call] = {}
        self._closed: set[str] = set()
        self._refusals: list[Refusal] = []
        self._refused: Counter[int] = Counter()
        self._nobodys = secrets.token_bytes(hashlib.sha256().digest_size)
        self._bucket = float(REFUSALS_AT_ONCE)
        self._bucket_at = clock()
        self._interrupted = False
        self._changed = threading.Condition()

    def issue(self, phase: str) -> str:
        """A token for the one call of ``phase``, in place of an earlier one; raises ValueError when it is late."""
        if phase not in PHASES:
            raise ValueError(f"{phase!r} is no phase")
        token = self._new_token()
        with self._changed:
            if phase in self._calls or phase in self._closed:
                raise ValueError(f"{phase!r} has been called, or is closed")
            self._digests[phase] = _digest(self.run, self.machine, phase, token)
        return token

    def offer(self, phase: str, token: str, note: str = "", *, run: str = "", machine: str = "") -> Answer:
        """Take a call or refuse it. ``run`` and ``machine`` are who the caller says it is, if it says so."""
        with self._changed:
            status, text = self._judge(phase, _digest(run or self.run, machine or self.machine, phase, token))
            now = self._clock()
            if status == 200:
                self._calls[phase] = Call(phase, now, escape(note))
                self._changed.notify_all()
            else:
                if not self._take_from_bucket(now):
                    status, text = 429, "too many calls"
                self._refused[status] += 1
                if len(self._refusals) < REFUSALS_KEPT:
                    self._refusals.append(Refusal(now, escape(phase, 40), status, text))
            return Answer(status, text)

    def close(self, phase: str) -> None:
        """From now on ``phase`` is too late; who waits for it waits no longer."""
        if phase not in PHASES:
            raise ValueError(f"{phase!r} is no phase")
        with self._changed:
            self._closed.add(phase)
            self._changed.notify_all()

    def wait(self, phase: str, timeout_s: float) -> Call | None:
        """The call of ``phase`` once it came; None when time is up, the phase was closed, or the machine ended."""
        with self._changed:
            self._changed.wait_for(
                lambda: phase in self._calls or phase in self._closed or self._interrupted, timeout=timeout_s
            )
            return self._calls.get(phase)

    def interrupt(self) -> None:
        """The machine has ended: nobody waits any longer. Calls that are still under way count."""
        with self._changed:
            self._interrupted = True
            self._changed.notify_all()

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that counted, in their order."""
        with self._changed:
            return tuple(self._calls.values())

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """The first ``REFUSALS_KEPT`` refused calls."""
        with self._changed:
            return tuple(self._refusals)

    @property
    def refused(self) -> dict[int, int]:
        """How many calls were refused, by status, those that are not kept included."""
        with self._changed:
            return dict(self._refused)

    def _judge(self, phase: str, offered: bytes) -> tuple[int, str]:
        if phase not in PHASES:
            return 404, f"no such phase; there are {', '.join(PHASES)}"
        # Compared in any case, so that the time taken does not tell whether a token is out.
        if not hmac.compare_digest(offered, self._digests.get(phase, self._nobodys)):
            return 403, "not this machine's token for this phase"
        if phase in self._calls:
            return 409, f"{phase} was called already"
        if phase in self._closed:
            return 410, f"too late: nobody waits for {phase} any longer"
        missing = next((before for before in PHASES[: PHASES.index(phase)] if before not in self._calls), None)
        if missing is not None:
            return 409, f"out of order: {missing} comes before {phase}"
        return 200, f"{phase}: noted"

    def _take_from_bucket(self, now: float) -> bool:
        gained = max(0.0, now - self._bucket_at) * REFUSALS_PER_S
        self._bucket = min(float(REFUSALS_AT_ONCE), self._bucket + gained)
        self._bucket_at = now
        if self._bucket < 1:
            return False
        self._bucket -= 1
        return True


def escape(text: str, limit: int = NOTE_LIMIT_CHARACTERS) -> str:
    """Text from outside as one may print it: control characters written out, no longer than ``limit``."""
    safe = "".join(
        character
        if character.isprintable() or character == "\n"
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text[:limit]
    )
    return safe if len(safe) <= limit and len(text) <= limit else safe[: limit - 1] + "…"


def _digest(run: str, machine: str, phase: str, token: str) -> bytes:
    parts = [part.encode("utf-8", "surrogatepass") for part in (run, machine, phase, token)]
    return hashlib.sha256(b"".join(b"%d:%s" % (len(part), part) for part in parts)).digest()
