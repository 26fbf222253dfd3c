"""HTTP with Launchpad: counted, bounded in time and size, safe in threads; reads are tried again, changes never.

A change (POST) ends in one of three ways: answered; Unreachable, when the connection was never made or Launchpad
says 503, which it does before it takes anything; Uncertain, when the connection broke after it was on its way.
"""

from __future__ import annotations

import enum
import json
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NoReturn
from urllib.parse import urlencode, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from ppa_tools.archives.door import DoorError, Stats, Uncertain, Unreachable
from ppa_tools.archives.launchpad.credentials import APPLICATION, Token
from ppa_tools.parallel import WORKERS

NOT_TAKEN = 503
IN_DOUBT = (502, 504)
TRY_AGAIN = (429, 502, 503, 504)
CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Limits:
    """What a request may take, in seconds and bytes, and how often a read is tried.

    ``read_s`` bounds every wait for the next bytes, ``whole_s`` the request with its body, and ``retrying_s`` all
    waits between the tries of one read. A connection idle for ``idle_s`` is not used again: what stands between
    may have forgotten it. Where nothing can be connected to, ``connecting_tries`` are enough.
    """

    connect_s: float = 10.0
    read_s: float = 60.0
    whole_s: float = 300.0
    idle_s: float = 5.0
    answer_bytes: int = 64 << 20
    tries: int = 6
    connecting_tries: int = 3
    first_wait_s: float = 0.5
    longest_wait_s: float = 20.0
    retrying_s: float = 90.0


@dataclass(frozen=True)
class Answer:
    """What came back: the status and the body."""

    status: int
    body: bytes
    retry_after_s: float | None = None

    @property
    def is_good(self) -> bool:
        """Whether what was asked was done."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body, for people."""
        return self.body.decode("utf-8", "replace")


class BrokenOff(Exception):
    """A request got no whole answer; ``sent``: it may have arrived."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


@dataclass
class _Busy:
    """How many requests of an archive are under way, and since when any is."""

    count: int = 0
    since: float = 0.0


@dataclass
class Session:
    """One pool of connections for all threads.

    ``token`` is in whose name requests below ``api`` are made; None: nobody's.
    """

    api: str
    limits: Limits = field(default_factory=Limits)
    token: Token | None = None
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self._adapter = HTTPAdapter(pool_connections=4, pool_maxsize=WORKERS)
        self._threads = threading.local()
        self._lock = threading.Lock()
        self._last_used = time.monotonic()
        self._busy: dict[int, _Busy] = {}

    def get(
        self,
        url: str,
        parameters: Mapping[str, object] | None = None,
        *,
        kind: str,
        stats: Stats,
        tries: int | None = None,
    ) -> Answer:
        """Read; tried again while the service or the line is in trouble. Raises Unreachable.

        The token goes to the web service alone, never to where a URL from elsewhere may lead. ``tries`` is for
        what can be had in another way.
        """
        tries = tries or self.limits.tries
        full = f"{url}?{urlencode(_encoded(parameters))}" if parameters else url
        waited = 0.0
        for attempt in range(1, tries + 1):
            asked_to_wait: float | None = None
            try:
                answer = self._once("GET", full, None, kind, stats)
                if answer.status not in TRY_AGAIN:
                    return answer
                why, asked_to_wait = f"it answers {answer.status}", answer.retry_after_s
            except BrokenOff as error:
                why = str(error)
                if not error.sent:
                    tries = min(tries, self.limits.connecting_tries)
            wait = asked_to_wait if asked_to_wait is not None else self._back_off(attempt)
            if attempt >= tries or waited + wait > self.limits.retrying_s:
                break
            waited += wait
            with self._lock:
                stats.retried += 1
            self.sleep(wait)
        raise _unreachable(url, why, "Try again", asked_to_wait)

    def post(self, url: str, form: Mapping[str, object], *, kind: str, stats: Stats) -> Answer:
        """Change something: asked once. Raises Unreachable (nothing was taken), Uncertain."""
        body = urlencode(_encoded(form)).encode()
        try:
            answer = self._once("POST", url, body, kind, stats)
        except BrokenOff as error:
            if error.sent:
                _uncertain(url, str(error))
            raise _unreachable(url, str(error), "Nothing was taken; try again") from error
        if answer.status in IN_DOUBT:
            _uncertain(url, f"what stands before it answers {answer.status}")
        if answer.status == NOT_TAKEN:
            why = f"it answers {answer.status}"
            raise _unreachable(url, why, "Nothing was taken; try again", answer.retry_after_s)
        return answer

    def read_json(
        self, url: str, parameters: Mapping[str, object] | None = None, *, kind: str, stats: Stats
    ) -> tuple[Answer, Any]:
        """Read, and what the JSON says, None where the answer is no good one. Raises Unreachable."""
        answer = self.get(url, parameters, kind=kind, stats=stats)
        if not answer.is_good:
            return answer, None
        try:
            return answer, json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            why = "its answer is no JSON"
            what_to_do = "Look whether that is a Launchpad, and nothing stands before it; or try again"
            raise _unreachable(url, why, what_to_do) from error

    def close(self) -> None:
        """Let go of all connections."""
        self._adapter.close()

    def _once(self, method: str, url: str, body: bytes | None, kind: str, stats: Stats) -> Answer:
        self._begin(kind, stats)
        received = 0
        try:
            self._drop_idle()
            response = self._thread().request(
                method,
                url,
                data=body,
                headers={"Content-Type": "application/x-www-form-urlencoded"} if body else {},
                timeout=(self.limits.connect_s, self.limits.read_s),
                allow_redirects=method == "GET",
                stream=True,
            )
            with response:
                content = self._body(response, wanted=method == "GET" or response.status_code >= 300)
                received = int(response.raw.tell())
                return Answer(response.status_code, content, _retry_after_s(response.headers.get("Retry-After")))
        except requests.RequestException as error:
            raise BrokenOff(_in_words(error), sent=not _before_sending(error)) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise BrokenOff(_in_words(error), sent=True) from error
        finally:
            self._end(stats, received, len(body or b""))

    def _body(self, response: requests.Response, *, wanted: bool) -> bytes:
        """The body; of a change that was taken nobody needs it, and what breaks while it comes is no matter."""
        until = time.monotonic() + self.limits.whole_s
        content = bytearray()
        try:
            while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
                content += chunk
                if len(content) > self.limits.answer_bytes:
                    raise BrokenOff(f"its answer is longer than {self.limits.answer_bytes >> 20} MiB", sent=True)
                if time.monotonic() > until:
                    raise BrokenOff(f"its answer takes longer than {self.limits.whole_s:.0f} s", sent=True)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, BrokenOff):
            if wanted:
                raise
        return bytes(content)

    def _thread(self) -> requests.Session:
        """The calling thread's own session; all share the pool of connections."""
        found: requests.Session | None = getattr(self._threads, "session", None)
        if found is None:
            found = requests.Session()
            found.mount("https://", self._adapter)
            found.mount("http://", self._adapter)
            found.headers.update({"User-Agent": APPLICATION, "Accept": "application/json, */*;q=0.1"})
            found.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            found.auth = _Signed(self)
            self._threads.session = found
        return found

    def _drop_idle(self) -> None:
        with self._lock:
            now = time.monotonic()
            idle, self._last_used = now - self._last_used, now
            if idle > self.limits.idle_s:
                self._adapter.poolmanager.clear()

    def _begin(self, kind: str, stats: Stats) -> None:
        with self._lock:
            stats.requests += 1
            stats.by_kind[kind] = stats.by_kind.get(kind, 0) + 1
            busy = self._busy.setdefault(id(stats), _Busy())
            if not busy.count:
                busy.since = time.monotonic()
            busy.count += 1

    def _end(self, stats: Stats, received_bytes: int, sent_bytes: int) -> None:
        with self._lock:
            self._last_used = time.monotonic()
            stats.received_bytes += received_bytes
            stats.sent_bytes += sent_bytes
            busy = self._busy[id(stats)]
            busy.count -= 1
            if not busy.count:
                stats.seconds += self._last_used - busy.since
                del self._busy[id(stats)]

    def _back_off(self, attempt: int) -> float:
        longest = min(self.limits.longest_wait_s, self.limits.first_wait_s * 2.0 ** (attempt - 1))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 (so that many clients do not come back as one)


class _Signed(AuthBase):
    """Puts the token on requests; being an ``auth`` it keeps requests from looking for one in ~/.netrc."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        below_api = (request.url or "").startswith(f"{self._session.api}/")
        if self._session.token is not None and below_api:
            request.headers["Authorization"] = self._session.token.authorization()
        return request


def _encoded(parameters: Mapping[str, object] | None) -> dict[str, str]:
    """As launchpadlib sends them: choices, and what steers the service (``ws.``), as they are; all else is JSON.

    So a version "1.0" stays a text.
    """
    return {
        name: str(value)
        if name.startswith("ws.") or isinstance(value, enum.StrEnum)
        else json.dumps(value, separators=(",", ":"))
        for name, value in (parameters or {}).items()
    }


def _before_sending(error: requests.RequestException) -> bool:
    """Whether the request cannot have left: there was no connection, or nobody trusted at its end."""
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.ProxyError):
        return True
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    not_connected = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    refused = isinstance(reason, urllib3.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(reason)
    built = isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema)
    return isinstance(reason, not_connected) or refused or built


def _in_words(error: Exception) -> str:
    inner = error.args[0] if error.args else None
    reason = getattr(inner, "reason", None) or inner
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer came in time"
    if isinstance(reason, urllib3.exceptions.NameResolutionError):
        return "its name is not known here: is there a network?"
    if isinstance(reason, urllib3.exceptions.NewConnectionError):
        return "nothing takes connections there"
    if isinstance(reason, urllib3.exceptions.SSLError):
        return f"TLS fails: {reason}"
    return f"the connection broke ({type(reason or error).__name__})"


def _retry_after_s(text: str | None) -> float | None:
    if text is None:
        return None
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", text):
        return float(text)
    try:
        return max(0.0, float(parsedate_to_datetime(text).timestamp()) - time.time())
    except (ValueError, OverflowError):
        return None


def _unreachable(url: str, why: str, what_to_do: str, retry_after_s: float | None = None) -> DoorError:
    when = f"in {retry_after_s:.0f} seconds" if retry_after_s else "in a while"
    said = f"{urlsplit(url).netloc} cannot be reached: {why}"
    return Unreachable(said, resolution=f"{what_to_do} {when}.")


def _uncertain(url: str, why: str) -> NoReturn:
    raise Uncertain(
        f"{urlsplit(url).netloc} did not tell whether it took the change: {why}",
        resolution="It may have been taken: look before asking again.",
    )
