"""What the PPAs of one Launchpad share: connections, the login, and what need be read only once."""

from __future__ import annotations

import difflib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ppa_tools.address import Address
from ppa_tools.archives.door import DoorError, NoRights, NotThere, Stats
from ppa_tools.archives.launchpad import reading
from ppa_tools.archives.launchpad.answers import refusal
from ppa_tools.archives.launchpad.credentials import Login
from ppa_tools.archives.launchpad.instances import Instance
from ppa_tools.archives.launchpad.paging import Collection, Row, read_all
from ppa_tools.archives.launchpad.session import Limits, Session
from ppa_tools.publication import SeriesFacts

NEAREST = 5

T = TypeVar("T")


class LaunchpadClient:
    """One Launchpad. Any thread may use it. Public PPAs are read without a login, unless there is one at hand.

    ``sleep`` waits between the tries of a read. Raises NoRights when the credentials at hand are damaged.
    """

    def __init__(
        self,
        instance: Instance,
        login: Login,
        limits: Limits | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.instance = instance
        self.session = Session(instance.api, limits or Limits(), sleep=sleep)
        self._login = login
        self._lock = threading.Lock()
        self._series: Mapping[str, SeriesFacts] | None = None
        if instance.is_safe:
            self.session.token = login.at_hand()

    def sign_in(self) -> None:
        """Have credentials to change things with; may ask the user. Raises NoRights, Unreachable."""
        with self._lock:
            if self.session.token is not None:
                return
            if not self.instance.is_safe:
                raise NoRights(
                    f"credentials are not sent to {self.instance.name}: on the way they could be read",
                    resolution="Use https.",
                )
            self.session.token = self._login.sign_in(self.instance)

    def reading(self, read: Callable[[], T], doing: str) -> T:
        """What ``read`` returns; where nobody may read it without a login, one is found, or asked for.

        What is not shaped as Launchpad's answers are raises Unreachable.
        """
        with reading.understood(doing):
            return self._reading(read)

    def _reading(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except NoRights as error:
            if self.session.token is not None:
                raise
            try:
                self.sign_in()
            except NoRights:
                raise error from None  # it says what cannot be read, and what to do
        return read()

    def entry(self, url: str, *, kind: str, doing: str, stats: Stats) -> Row:
        """One entry. Raises NotThere, NoRights, Unreachable."""
        found = self.value(url, {}, kind=kind, doing=doing, stats=stats)
        if not isinstance(found, dict):
            raise DoorError(f"Launchpad's answer is no entry ({doing})")
        return found

    def value(self, url: str, parameters: Mapping[str, object], *, kind: str, doing: str, stats: Stats) -> Any:
        """What an operation that reads returns. Raises as ``entry``."""
        answer, found = self.session.read_json(url, parameters, kind=kind, stats=stats)
        if not answer.is_good:
            raise refusal(answer, doing, self.session.token)
        return found

    def rows(self, wanted: Collection, stats: Stats) -> tuple[Row, ...]:
        """All rows of a collection. Raises as ``entry``."""
        return read_all(self.session, wanted, stats)

    def change(self, url: str, form: Mapping[str, object], *, doing: str, stats: Stats) -> None:
        """Ask for a change, once. Raises Refused, NoRights, NotThere, Unreachable (not taken), Uncertain."""
        self.sign_in()
        answer = self.session.post(url, form, kind=str(form["ws.op"]), stats=stats)
        if not answer.is_good:
            raise refusal(answer, doing, self.session.token)

    def series(self, stats: Stats) -> Mapping[str, SeriesFacts]:
        """The series of Ubuntu by name, read once. Raises Unreachable."""
        with self._lock:
            if self._series is None:
                wanted = Collection(
                    f"{self.instance.api}/ubuntu/series", {}, "series", "read the series of Ubuntu"
                )
                rows = self.rows(wanted, stats)
                self._series = {one.name: one for one in map(reading.series, rows)}
            return self._series

    def check_series(self, names: Iterable[str], stats: Stats, why: DoorError) -> None:
        """Raise NotThere, which tells the nearest, where one of these is no series; ``why``: Launchpad's word."""
        known = self.series(stats)
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=NEAREST) or known
                raise NotThere(f"Ubuntu has no series {name}", resolution=f"It has {', '.join(near)}.") from why

    def not_there(self, address: Address, stats: Stats) -> NotThere:
        """That there is no such PPA, with those of its owner that there are."""
        url = f"{self.instance.api}/~{address.owner}/ppas"
        wanted = Collection(url, {}, "ppas", f"read the PPAs of {address.owner}")
        try:
            with reading.understood(wanted.doing):
                names = [str(row["name"]) for row in self.rows(wanted, stats)]
        except NotThere:
            return NotThere(
                f"there is no {address}: Launchpad ({self.instance.name}) knows nobody called {address.owner}",
                resolution="Look at the PPA's page for its name: ppa:OWNER/NAME.",
            )
        except DoorError:
            names = []
        seen = "with these credentials" if self.session.token else "without credentials"
        return NotThere(
            f"there is no {address}, or it is private and may not be seen {seen}",
            resolution=_others(address, names),
        )

    def close(self) -> None:
        """Let go of connections."""
        self.session.close()


def _others(address: Address, names: Sequence[str]) -> str:
    if not names:
        return f"{address.owner} has no PPA that may be seen."
    near = difflib.get_close_matches(address.name, names, n=NEAREST, cutoff=0.3)
    shown = list(dict.fromkeys((*near, *sorted(names))))[:NEAREST]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{address.owner} has {', '.join(f'ppa:{address.owner}/{name}' for name in shown)}{more}."
