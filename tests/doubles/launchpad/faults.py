"""What goes wrong, as tests ask for it: rules that count the requests they fit, and fire at some of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

KINDS = ("status", "cut-before", "cut-after", "hang", "slow", "truncate", "garbage")


@dataclass
class Fault:
    """One rule.

    ``status`` answers ``status`` without doing anything (with ``taken``: after doing it), with Retry-After where
    ``retry_after_s`` is given. ``cut-before`` drops the connection before the request is looked at, ``cut-after``
    after it was done but before a byte of the answer. ``hang`` does nothing for ``seconds``, then drops it.
    ``slow`` stretches the body over ``seconds``; ``truncate`` sends half of the body and drops the connection;
    ``garbage`` sends a web page with 200 instead of JSON.

    A rule fits requests by ``method``, ``op`` (of ``ws.op``) and ``path`` (a part of it), each "" for any. It
    fires from the ``at``-th request that fits, counted from 1 since the rule was made, ``times`` times (0: for
    ever), and with ``each`` only on every ``each``-th.
    """

    kind: str
    at: int = 1
    times: int = 1
    each: int = 1
    method: str = ""
    op: str = ""
    path: str = ""
    status: int = 503
    retry_after_s: int | None = None
    taken: bool = False
    seconds: float = 0.2
    seen: int = 0
    fired: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"there is no fault {self.kind!r}; there are {', '.join(KINDS)}")

    def fires(self, method: str, op: str, path: str) -> bool:
        """Count a request; whether the fault strikes it."""
        if self.method not in ("", method) or self.op not in ("", op) or self.path not in path:
            return False
        self.seen += 1
        if self.seen < self.at or (self.seen - self.at) % self.each or (self.times and self.fired >= self.times):
            return False
        self.fired += 1
        return True


class Faults:
    """All rules; each request is struck by the first that fires."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []

    def add(self, **facts: Any) -> None:
        self.rules.append(Fault(**facts))

    def strike(self, method: str, op: str, path: str) -> Fault | None:
        """The fault for a request; every rule counts it."""
        firing = [rule for rule in self.rules if rule.fires(method, op, path)]
        return dataclasses.replace(firing[0]) if firing else None
