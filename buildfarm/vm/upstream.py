"""How the gateway gets to a target: the host's own apt proxies, and connections to exactly what was allowed."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from buildfarm.vm.http_stream import Patience, Stream
from buildfarm.vm.http_wire import Refused
from buildfarm.vm.targets import Target, is_own, parse_authority

Kind = Literal["archive", "mirror", "recipe"]
RESOLVERS = 8
_SETTING = re.compile(r'Acquire::(https?)::Proxy(?:::(\S+))?\s+"([^"]*)";?', re.IGNORECASE)
T = TypeVar("T")


@dataclass(frozen=True)
class Reach:
    """What a machine may reach, by whose word.

    ``archive`` holds what is under test, and is never cached; on this host it is asked without a proxy, and takes
    no tunnels: a machine reads there and sends nothing. ``mirrors`` are the administrator's and may be on this
    host as well. What a ``recipe`` lists may not lead back to this host, whatever its name resolves to.
    """

    archive: frozenset[Target] = frozenset()
    mirrors: frozenset[Target] = frozenset()
    recipe: frozenset[Target] = frozenset()

    def kind_of(self, target: Target) -> Kind | None:
        """On whose word the target may be reached; None when it may not."""
        if target in self.archive:
            return "archive"
        if target in self.mirrors:
            return "mirror"
        return "recipe" if target in self.recipe and not target.means_this_host else None

    def is_own_archive(self, target: Target) -> bool:
        """Whether it is the farm's archive on this host."""
        return target in self.archive and target.means_this_host


@dataclass(frozen=True)
class Via:
    """A proxy on the way; ``authorization`` is the value of Proxy-Authorization, "" for none."""

    target: Target
    authorization: str = ""


@dataclass(frozen=True)
class Proxies:
    """The host's apt's proxies: for a scheme, and for a host of a scheme; None is a direct way."""

    general: Mapping[str, Via | None] = field(default_factory=dict)
    by_host: Mapping[tuple[str, str], Via | None] = field(default_factory=dict)

    def for_target(self, scheme: str, target: Target) -> Via | None:
        """The proxy for a target. As in apt, what is said for http holds for https unless it has its own."""
        for name in (scheme, "http"):
            if (name, target.host) in self.by_host:
                return self.by_host[name, target.host]
        return next((self.general[name] for name in (scheme, "http") if name in self.general), None)


def read_proxies(settings: Iterable[str]) -> tuple[Proxies, tuple[str, ...]]:
    """The proxies among apt.conf lines, and notes on those that are of no use to the gateway."""
    general: dict[str, Via | None] = {}
    by_host: dict[tuple[str, str], Via | None] = {}
    notes = []
    for line in settings:
        match = _SETTING.fullmatch(line.strip())
        if match is None:
            if "proxy" in line.lower():
                notes.append(f"not understood, and left out: {line.strip()[:200]}")
            continue
        scheme, host, url = match[1].lower(), (match[2] or "").lower(), match[3]
        try:
            via = _parse_proxy(url)
        except ValueError as error:
            notes.append(f"the proxy of {'::'.join(filter(None, (scheme, host)))} is left out: {error}")
            continue
        if host:
            by_host[scheme, host] = via
        elif url:
            general[scheme] = via
    return Proxies(general, by_host), tuple(notes)


def _parse_proxy(url: str) -> Via | None:
    if url.lower() in ("direct", "false", ""):
        return None
    parts = urlsplit(url)
    if parts.scheme.lower() != "http":
        raise ValueError(f"proxies are asked by http:// only, not {parts.scheme[:20]}://")
    authority = parts.netloc.rpartition("@")[2]
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode("ascii")
    return Via(parse_authority(authority, 80), authorization)


class Connector:
    """Opens connections for one gateway, by address, so that what was checked is what is connected to."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._resolving = asyncio.Semaphore(RESOLVERS)

    async def connect(self, target: Target, *, own_host: bool) -> Stream:
        """A connection to the target; raises Refused (403 when it leads to this host and may not, 502, 504)."""
        try:
            async with asyncio.timeout(self._patience.connect_s):
                return await self._connect(target, own_host)
        except TimeoutError as error:
            raise Refused(504, f"{target} did not answer within {self._patience.connect_s:g} s") from error
        except OSError as error:
            raise Refused(502, f"{target} cannot be reached: {error.strerror or error}") from error

    async def _connect(self, target: Target, own_host: bool) -> Stream:
        addresses = await self._resolve(target)
        usable = [address for address in addresses if own_host or not is_own(ipaddress.ip_address(address))]
        if not usable:
            raise Refused(403, f"{target} leads to the farm's own host, where a recipe's word does not reach")
        last: OSError | None = None
        for address in usable:
            try:
                reader, writer = await asyncio.open_connection(address, target.port)
            except OSError as error:
                last = error
                continue
            names = [writer.get_extra_info(name) for name in ("sockname", "peername")]
            if not own_host and names[0][0] == names[1][0]:
                writer.transport.abort()
                raise Refused(403, f"{target} is the farm's own host, where a recipe's word does not reach")
            return Stream(reader, writer, self._patience)
        assert last is not None
        raise last

    async def _resolve(self, target: Target) -> list[str]:
        if target.address is not None:
            return [target.host]
        async with self._resolving:
            found = await in_thread(
                lambda: socket.getaddrinfo(
                    target.host, target.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
                )
            )
        # A zone, as in fe80::1%eth0, makes no address that can be judged.
        return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


async def in_thread(work: Callable[[], T]) -> T:
    """Run ``work`` in a thread of its own, for which no end waits: a name server may be silent for long."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(set_it: Callable[[Any], None], value: Any) -> None:
        def do() -> None:
            if not future.done():
                set_it(value)

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants it any more
            loop.call_soon_threadsafe(do)

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 (it is raised where the work was asked for)
            settle(future.set_exception, error)
        else:
            settle(future.set_result, result)

    threading.Thread(target=run, name="gateway-helper", daemon=True).start()
    return await future
