"""The proxy: what is allowed passes whole and in order, and nothing else is ever connected to."""

from __future__ import annotations

import hashlib
import http.server
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from buildfarm.vm.gateway import Gateway
from buildfarm.vm.http_stream import Patience
from buildfarm.vm.targets import Target
from buildfarm.vm.upstream import Proxies, Reach, Via, read_proxies
from tests.vm.conftest import OpenGateway
from tests.vm.servers import (
    WAIT_S,
    Recorder,
    answering,
    ask,
    echo_path,
    open_to,
    path_of,
    read_all,
    recording,
    status_of,
)


def get(gateway: Gateway, url: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {url} HTTP/{version}", *fields, "Connection: close", "", ""]
    return ask(gateway.order.socket_path, "\r\n".join(lines).encode())


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


@pytest.fixture
def echo() -> Iterator[Recorder]:
    with recording(echo_path) as server:
        yield server


def test_an_allowed_url_is_fetched(open_gateway: OpenGateway, echo: Recorder) -> None:
    gateway = open_gateway(mirrors=(echo.port,))

    answer = get(
        gateway,
        f"http://127.0.0.1:{echo.port}/a/%2e%2e/b?c=d#e",
        "Host: elsewhere.example",
        "User-Agent: apt",
        "Proxy-Authorization: Basic x",
        "X-Mine: 1",
        "Keep-Alive: 5",
    )

    assert status_of(answer) == 200
    assert body_of(answer) == b"/a/%2e%2e/b?c=d"
    assert echo.heads == [
        f"GET /a/%2e%2e/b?c=d HTTP/1.1\r\nHost: 127.0.0.1:{echo.port}\r\nUser-Agent: apt\r\nX-Mine: 1\r\n"
        "Connection: keep-alive".encode()
    ]


def test_what_connection_names_does_not_travel(open_gateway: OpenGateway, echo: Recorder) -> None:
    gateway = open_gateway(mirrors=(echo.port,))

    get(gateway, f"http://127.0.0.1:{echo.port}/", "Connection: X-Secret", "X-Secret: 1")

    assert b"X-Secret" not in echo.heads[0]


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://127.0.0.1:{other}/", 403),
        ("http://127.0.0.1:22/", 403),
        ("http://127.0.0.1/", 403),
        ("http://localhost:{port}/", 403),
        ("http://127.0.0.2:{port}/", 403),
        ("http://[::1]:{port}/", 403),
        ("http://[::ffff:127.0.0.1]:{port}/", 403),
        ("http://127.1:{port}/", 400),
        ("http://0x7f000001:{port}/", 400),
        ("http://user@127.0.0.1:{port}/", 400),
        ("http://user:secret@127.0.0.1:{port}/", 400),
        ("http://127.0.0.1:{port}@evil.example/", 400),
        ("http://evil.example:80@127.0.0.1:{port}/", 400),
        ("http://127.0.0.1:{port}\\@evil.example/", 200),
        ("http://evil.example\\@127.0.0.1:{port}/", 403),
        ("http://evil.example#@127.0.0.1:{port}/", 403),
        ("https://127.0.0.1:{port}/", 400),
        ("ftp://127.0.0.1:{port}/", 400),
        ("http://", 400),
        ("http:///x", 400),
    ],
)
def test_only_what_is_listed_is_connected_to(
    open_gateway: OpenGateway, echo: Recorder, url: str, status: int
) -> None:
    with recording(echo_path) as other:
        gateway = open_gateway(mirrors=(echo.port,))

        answer = get(gateway, url.format(port=echo.port, other=other.port))

        assert status_of(answer) == status
        assert other.connections == 0
        assert echo.connections == (status == 200)


def test_a_refusal_says_what_to_list_and_is_recorded(open_gateway: OpenGateway) -> None:
    gateway = open_gateway(hint="Put {target} into the recipe.")

    for _ in range(3):
        answer = get(gateway, "http://Example.ORG:8080/x")

    assert body_of(answer) == (
        b"this machine may not reach example.org:8080. Put example.org:8080 into the recipe.\n"
    )
    assert gateway.refused_targets == {Target("example.org", 8080): 3}
    assert gateway.accesses[0].status == 403
    for number in range(300):
        get(gateway, f"http://h{number}.example/")
    assert len(gateway.refused_targets) == 200


def test_redirects_go_back_to_who_asked(open_gateway: OpenGateway, echo: Recorder) -> None:
    answer = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{echo.port}/\r\nContent-Length: 0\r\n\r\n"
    with recording(answering(answer.encode())) as server:
        gateway = open_gateway(mirrors=(server.port,))

        got = get(gateway, f"http://127.0.0.1:{server.port}/")

    assert status_of(got) == 302
    assert f"Location: http://127.0.0.1:{echo.port}/".encode() in got
    assert echo.connections == 0


@pytest.mark.parametrize(
    "reach",
    [
        {Target("127.0.0.1", 1)},
        {Target("localhost", 1)},
        {Target("x.localhost", 1)},
        {Target("::1", 1)},
        {Target("169.254.169.254", 1)},
    ],
)
def test_a_recipes_word_does_not_reach_the_farms_host(reach: set[Target]) -> None:
    assert [Reach(recipe=frozenset(reach)).kind_of(target) for target in reach] == [None]
    assert [Reach(mirrors=frozenset(reach)).kind_of(target) for target in reach] == ["mirror"]


def test_a_recipes_name_that_resolves_to_the_farms_host_is_refused(
    open_gateway: OpenGateway, echo: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def resolve(host: str, *arguments: object, **more: object) -> object:
        return real("127.0.0.1" if host == "evil.example" else host, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    gateway = open_gateway(recipe=(Target("evil.example", echo.port),))

    assert status_of(get(gateway, f"http://evil.example:{echo.port}/")) == 403
    assert echo.connections == 0
    mirrored = open_gateway(mirrors=(Target("evil.example", echo.port),), name="t")
    assert status_of(get(mirrored, f"http://evil.example:{echo.port}/")) == 200


def test_a_recipes_name_for_the_hosts_own_outer_address_is_refused(open_gateway: OpenGateway) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; tells the address that would be used
        except OSError:
            pytest.skip("this host has no outer address")
        address = probe.getsockname()[0]
    with socket.create_server((address, 0)) as listener:
        port = listener.getsockname()[1]
        gateway = open_gateway(recipe=(Target(address, port),))

        assert status_of(get(gateway, f"http://{address}:{port}/")) == 403


def test_pipelined_requests_are_answered_in_order(open_gateway: OpenGateway, echo: Recorder) -> None:
    gateway = open_gateway(mirrors=(echo.port,))
    requests = [f"GET http://127.0.0.1:{echo.port}/{n} HTTP/1.1\r\n\r\n" for n in range(30)]
    requests[10] = "GET http://no.example/ HTTP/1.1\r\n\r\n"
    requests[20] = f"HEAD http://127.0.0.1:{echo.port}/20 HTTP/1.1\r\n\r\n"
    requests.append(f"GET http://127.0.0.1:{echo.port}/last HTTP/1.1\r\nConnection: close\r\n\r\n")

    answer = ask(gateway.order.socket_path, "".join(requests).encode(), then_close=False)

    parts = answer.split(b"HTTP/1.1 ")[1:]
    expected = [f"/{n}".encode() for n in range(30)]
    expected[20] = b""
    assert [body_of(part) for part in parts[:10]] == expected[:10]
    assert parts[10].startswith(b"403 ")
    assert [body_of(part) for part in parts[11:30]] == expected[11:]
    assert body_of(parts[30]) == b"/last"
    assert b"Content-Length: 3\r\n" in parts[20]
    assert echo.connections == 1


def test_a_connection_that_the_server_closed_is_made_anew(open_gateway: OpenGateway) -> None:
    closed = threading.Event()

    def once(connection: socket.socket, head: bytes) -> bool:
        if path_of(head) == "/again" and not closed.is_set():
            closed.set()
            return False
        return echo_path(connection, head)

    with recording(once) as server:
        gateway = open_gateway(mirrors=(server.port,))
        url = f"http://127.0.0.1:{server.port}"
        answer = ask(
            gateway.order.socket_path,
            f"GET {url}/first HTTP/1.1\r\n\r\nGET {url}/again HTTP/1.1\r\nConnection: close\r\n\r\n".encode(),
            then_close=False,
        )

    assert answer.endswith(b"\r\n\r\n/again")
    assert server.connections == 2


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    "upstream",
    [
        CHUNKED + b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.0 200 OK\r\n\r\nabcde",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200\r\n\r\nabcde",
    ],
)
def test_bodies_pass_however_they_are_framed(open_gateway: OpenGateway, upstream: bytes, version: str) -> None:
    with recording(answering(upstream, keep=False)) as server:
        gateway = open_gateway(mirrors=(server.port,))
        url = f"http://127.0.0.1:{server.port}/x"
        shown = subprocess.run(
            ["curl", "-sS", f"--http{version}", "-x", f"http://127.0.0.1:{gateway.port}", url],
            capture_output=True,
            timeout=20,
            check=True,
        ).stdout

    assert shown == b"abcde"


@pytest.mark.parametrize(
    "upstream",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad header\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    ],
)
def test_an_answer_that_makes_no_sense_is_not_passed_on(open_gateway: OpenGateway, upstream: bytes) -> None:
    with recording(answering(upstream, keep=False)) as server:
        gateway = open_gateway(mirrors=(server.port,))

        answer = get(gateway, f"http://127.0.0.1:{server.port}/x")

    assert status_of(answer) == 502


@pytest.mark.parametrize(
    "upstream",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc",
        CHUNKED + b"3\r\nabc\r\n",
        CHUNKED + b"3\r\nabc\r\nzz\r\n",
        CHUNKED + b"3\r\nabcdef\r\n0\r\n\r\n",
        CHUNKED + b"3\r\nabc\r\n0\r\n" + b"A: b\r\n" * 200,
        CHUNKED + b"3\r\nabc\r\n" + b"0" * 2000,
    ],
)
def test_a_body_that_was_cut_is_cut_for_the_reader_too(open_gateway: OpenGateway, upstream: bytes) -> None:
    with recording(answering(upstream, keep=False)) as server:
        gateway = open_gateway(mirrors=(server.port,))
        ran = subprocess.run(
            ["curl", "-sS", "-x", f"http://127.0.0.1:{gateway.port}", f"http://127.0.0.1:{server.port}/x"],
            capture_output=True,
            timeout=20,
        )

    assert ran.returncode in (18, 56)


def test_a_server_that_is_not_there_or_says_nothing_is_told(open_gateway: OpenGateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        gateway = open_gateway(mirrors=(port, 1), patience=Patience(idle_s=0.2))

        assert status_of(get(gateway, f"http://127.0.0.1:{port}/")) == 504
        assert status_of(get(gateway, "http://127.0.0.1:1/")) == 502


def test_a_name_that_does_not_resolve_is_told(open_gateway: OpenGateway) -> None:
    gateway = open_gateway(mirrors=(Target("no.invalid", 80),))

    assert status_of(get(gateway, "http://no.invalid/")) in (502, 504)


def test_a_tunnel_passes_bytes_both_ways_to_what_is_allowed(open_gateway: OpenGateway) -> None:
    def upper(connection: socket.socket, head: bytes) -> bool:
        connection.sendall(head.upper() + b"\r\n\r\n")
        return True

    with recording(upper) as server:
        gateway = open_gateway(mirrors=(server.port,))
        with open_to(gateway.order.socket_path) as connection:
            connection.sendall(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n\r\nearly\r\n\r\n".encode())
            file = connection.makefile("rb")
            assert file.readline() == b"HTTP/1.1 200 Connection established\r\n"
            assert [file.readline() for _ in range(3)] == [b"\r\n", b"EARLY\r\n", b"\r\n"]
            connection.sendall(b"late\r\n\r\n")
            assert file.readline() == b"LATE\r\n"
            connection.shutdown(socket.SHUT_WR)
            assert file.read() == b"\r\n"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("127.0.0.1:22", 403),
        ("127.0.0.1", 400),
        ("evil.example:443", 403),
        ("user@127.0.0.1:{port}", 400),
        ("http://127.0.0.1:{port}/", 400),
        ("127.0.0.1:{archive}", 403),
        ("10.0.2.100:80", 403),
        ("/", 400),
    ],
)
def test_tunnels_lead_nowhere_else(open_gateway: OpenGateway, echo: Recorder, target: str, status: int) -> None:
    with recording(echo_path) as archive:
        gateway = open_gateway(mirrors=(echo.port,), archive=(archive.port,))

        named = target.format(port=echo.port, archive=archive.port)
        answer = ask(gateway.order.socket_path, f"CONNECT {named} HTTP/1.1\r\n\r\n".encode())

        assert status_of(answer) == status
        assert echo.connections == archive.connections == 0


def test_an_archive_elsewhere_is_reached_as_mirrors_are() -> None:
    here, there = Target("127.0.0.1", 8011), Target("ppa.example", 443)
    reach = Reach(archive=frozenset({here, there}))

    assert [reach.kind_of(target) for target in (here, there)] == ["archive", "archive"]
    assert [reach.is_own_archive(target) for target in (here, there)] == [True, False]


def test_a_tunnel_where_nothing_passes_ends(open_gateway: OpenGateway, echo: Recorder) -> None:
    gateway = open_gateway(mirrors=(echo.port,), patience=Patience(idle_s=0.1))

    with open_to(gateway.order.socket_path) as connection:
        connection.sendall(f"CONNECT 127.0.0.1:{echo.port} HTTP/1.1\r\n\r\n".encode())
        assert status_of(read_all(connection)) == 200


def test_a_machine_has_a_limit_of_bytes_and_may_still_call(open_gateway: OpenGateway) -> None:
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000000
    with recording(answering(large)) as server:
        gateway = open_gateway(mirrors=(server.port,), total_bytes=300_000)
        url = f"http://127.0.0.1:{server.port}/"

        assert len(get(gateway, url)) <= 300_000
        assert status_of(get(gateway, url)) == 503
        assert gateway.left_bytes == 0
        assert status_of(ask(gateway.order.socket_path, b"POST /firstboot/booted HTTP/1.0\r\n\r\n")) == 403


def test_a_reader_that_is_slow_slows_the_server(open_gateway: OpenGateway) -> None:
    sent = threading.Semaphore(0)
    total = 64 << 20

    def pour(connection: socket.socket, _: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        block = bytes(1 << 20)
        for _ in range(64):
            connection.sendall(block)
            sent.release()
        return True

    with recording(pour) as server:
        gateway = open_gateway(mirrors=(server.port,))
        with open_to(gateway.order.socket_path) as connection:
            connection.sendall(f"GET http://127.0.0.1:{server.port}/ HTTP/1.0\r\n\r\n".encode())
            blocks = 0
            while sent.acquire(timeout=0.3):
                blocks += 1
            assert blocks < 32
            assert len(read_all(connection)) > total


def test_a_host_without_a_way_of_its_own_asks_its_proxy(open_gateway: OpenGateway, echo: Recorder) -> None:
    def as_proxy(connection: socket.socket, head: bytes) -> bool:
        if head.startswith(b"CONNECT refused"):
            connection.sendall(b"HTTP/1.1 403 No\r\n\r\n")
            return False
        if head.startswith(b"CONNECT"):
            connection.sendall(b"HTTP/1.1 200 Fine\r\n\r\nthrough")
            return False
        return echo_path(connection, head)

    with recording(as_proxy) as upstream:
        proxies, notes = read_proxies(
            [
                f'Acquire::http::Proxy "http://me:p%40ss@127.0.0.1:{upstream.port}/";',
                'Acquire::http::Proxy::direct.example "DIRECT";',
                'Acquire::Retries "3";',
            ]
        )
        assert notes == ()
        mirrors = (Target("deb.example", 80), Target("deb.example", 443), Target("refused.example", 443))
        gateway = open_gateway(mirrors=mirrors, archive=(echo.port,), proxies=proxies)

        assert body_of(get(gateway, "http://deb.example/x")) == b"http://deb.example/x"
        assert body_of(get(gateway, f"http://127.0.0.1:{echo.port}/own")) == b"/own"
        tunnel = ask(gateway.order.socket_path, b"CONNECT deb.example:443 HTTP/1.1\r\n\r\n", then_close=False)
        refused = ask(gateway.order.socket_path, b"CONNECT refused.example:443 HTTP/1.1\r\n\r\n")

    assert body_of(tunnel) == b"through"
    assert status_of(refused) == 502
    assert b"answered 403" in refused
    assert [head.split(b"\r\n")[0] for head in upstream.heads] == [
        b"GET http://deb.example/x HTTP/1.1",
        b"CONNECT deb.example:443 HTTP/1.1",
        b"CONNECT refused.example:443 HTTP/1.1",
    ]
    assert all(b"Proxy-Authorization: Basic bWU6cEBzcw==" in head for head in upstream.heads)


@pytest.mark.parametrize(
    ("lines", "scheme", "host", "via"),
    [
        ([], "http", "a", None),
        (['Acquire::http::Proxy "http://p:3128";'], "http", "a", Via(Target("p", 3128))),
        (['Acquire::http::Proxy "http://p:3128";'], "https", "a", Via(Target("p", 3128))),
        (['acquire::HTTP::proxy "http://p";'], "http", "a", Via(Target("p", 80))),
        (['Acquire::http::Proxy "http://p";', 'Acquire::https::Proxy "DIRECT";'], "https", "a", None),
        (['Acquire::http::Proxy "http://p";', 'Acquire::http::Proxy::a "DIRECT";'], "http", "a", None),
        (['Acquire::http::Proxy "http://p";', 'Acquire::http::Proxy::A "DIRECT";'], "http", "a", None),
        (['Acquire::http::Proxy::a "http://p:1/";'], "http", "a", Via(Target("p", 1))),
        (['Acquire::http::Proxy::a "http://p:1/";'], "http", "b", None),
        (['Acquire::http::Proxy "";'], "http", "a", None),
        (['Acquire::http::Proxy "false";'], "http", "a", None),
    ],
)
def test_apts_proxy_lines_are_read_as_apt_reads_them(
    lines: list[str], scheme: str, host: str, via: Via | None
) -> None:
    proxies, notes = read_proxies(lines)

    assert notes == ()
    assert proxies.for_target(scheme, Target(host, 80)) == via


@pytest.mark.parametrize(
    "line",
    [
        'Acquire::http::Proxy "socks5h://p:1080";',
        'Acquire::http::Proxy "p:3128";',
        'Acquire::http::Proxy-Auto-Detect "/usr/bin/auto";',
    ],
)
def test_proxies_that_are_of_no_use_are_told(line: str) -> None:
    proxies, notes = read_proxies([line])

    assert proxies == Proxies()
    assert len(notes) == 1


POOL = b"a package" * 1000
POOL_ANSWER = (
    b"HTTP/1.1 200 OK\r\nLast-Modified: Tue, 01 Mar 2022 10:00:00 GMT\r\nContent-Length: %d\r\n\r\n" % len(POOL)
) + POOL


def test_a_package_is_downloaded_once_by_all_machines(open_gateway: OpenGateway, tmp_path: Path) -> None:
    with recording(answering(POOL_ANSWER)) as server:
        one = open_gateway(mirrors=(server.port,), cache=tmp_path / "c")
        other = open_gateway(mirrors=(server.port,), cache=tmp_path / "c", name="t")
        url = f"http://127.0.0.1:{server.port}/debian/pool/main/h/hello/hello_1_all.deb"

        first, second, third = get(one, url), get(one, url), get(other, url)

        assert body_of(first) == body_of(second) == body_of(third) == POOL
        assert len(server.heads) == 1
        assert b"Last-Modified: Tue, 01 Mar 2022 10:00:00 GMT" in second
        assert other.accesses[0].note == "from the cache"
        get(one, url, "Cache-Control: no-cache")
        get(one, url, "Range: bytes=5-")
        get(one, url, "If-Modified-Since: Tue, 01 Mar 2022 10:00:00 GMT")
        get(one, url, method="HEAD")
        get(one, url + "?x")
        assert len(server.heads) == 6
        wait_until(lambda: len(list((tmp_path / "c").iterdir())) == 1)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/debian/dists/sid/InRelease", POOL_ANSWER),
        ("/debian/pool/x", POOL_ANSWER.replace(b"200 OK", b"203 Changed")),
        ("/debian/pool/x", POOL_ANSWER.replace(b"200 OK", b"404 No")),
        ("/debian/pool/x", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("/debian/pool/x", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut"),
        ("/debian/pool/x", b"HTTP/1.1 200 OK\r\n\r\nup to the end"),
        ("/debian/pool/../dists/x", POOL_ANSWER),
        ("/debian/by-hash/SHA256/" + "0" * 64, POOL_ANSWER),
    ],
)
def test_what_may_differ_is_not_kept(open_gateway: OpenGateway, tmp_path: Path, path: str, answer: bytes) -> None:
    with recording(answering(answer, keep=False)) as server:
        gateway = open_gateway(mirrors=(server.port,), cache=tmp_path / "c")

        get(gateway, f"http://127.0.0.1:{server.port}{path}")
        get(gateway, f"http://127.0.0.1:{server.port}{path}")

        assert len(server.heads) == 2
        wait_until(lambda: not (tmp_path / "c").exists() or not list((tmp_path / "c").iterdir()))


def test_an_index_is_kept_by_its_hash(open_gateway: OpenGateway, tmp_path: Path) -> None:
    with recording(answering(POOL_ANSWER)) as server:
        gateway = open_gateway(mirrors=(server.port,), cache=tmp_path / "c")
        url = f"http://127.0.0.1:{server.port}/dists/sid/by-hash/SHA256/{hashlib.sha256(POOL).hexdigest()}"

        get(gateway, url)
        get(gateway, url, "Cache-Control: max-age=0")

        assert len(server.heads) == 1


def test_the_farms_archive_is_not_cached(open_gateway: OpenGateway, tmp_path: Path) -> None:
    with recording(answering(POOL_ANSWER)) as server:
        gateway = open_gateway(archive=(server.port,), cache=tmp_path / "c")
        for _ in range(2):
            assert body_of(get(gateway, f"http://127.0.0.1:{server.port}/o/ppa/pool/x")) == POOL

        assert len(server.heads) == 2


def test_the_cache_stays_within_its_limit(open_gateway: OpenGateway, tmp_path: Path) -> None:
    with recording(answering(POOL_ANSWER)) as server:
        gateway = open_gateway(mirrors=(server.port,), cache=tmp_path / "c", cache_bytes=5 * len(POOL))
        for number in range(20):
            get(gateway, f"http://127.0.0.1:{server.port}/pool/{number}")
        get(gateway, f"http://127.0.0.1:{server.port}/pool/19")
        wait_until(lambda: 0 < len(list((tmp_path / "c").iterdir())) <= 5)

        assert len(server.heads) == 20


def test_a_cache_that_cannot_be_written_costs_nothing(open_gateway: OpenGateway, tmp_path: Path) -> None:
    (tmp_path / "c").write_text("no directory")
    with recording(answering(POOL_ANSWER)) as server:
        gateway = open_gateway(mirrors=(server.port,), cache=tmp_path / "c")

        assert body_of(get(gateway, f"http://127.0.0.1:{server.port}/pool/x")) == POOL


@contextmanager
def files_served(directory: Path) -> Iterator[int]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=directory)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def make_package(directory: Path, name: str) -> None:
    tree = directory / f"{name}.tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: x\n"
    )
    (tree / "data").write_bytes(name.encode() * 50_000)
    (directory / "pool").mkdir(exist_ok=True)
    subprocess.run(
        ["dpkg-deb", "-Znone", "--root-owner-group", "-b", tree, directory / f"pool/{name}_1_all.deb"],
        check=True,
        capture_output=True,
        timeout=60,
    )


def run_apt(root: Path, gateway: Gateway, *command: str) -> subprocess.CompletedProcess[str]:
    options = {
        "Dir": root,
        "Dir::State::status": root / "status",
        "Acquire::http::Proxy": f"http://127.0.0.1:{gateway.port}/",
        "Acquire::Retries": "0",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return subprocess.run(
        ["apt-get", *words, *command],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=root,
        env={"PATH": "/usr/bin:/bin", "APT_CONFIG": "/dev/null", "LC_ALL": "C.UTF-8"},
    )


def test_apt_reads_an_archive_and_downloads_its_packages(open_gateway: OpenGateway, tmp_path: Path) -> None:
    mirror, root = tmp_path / "mirror", tmp_path / "root"
    names = [f"package-{number}" for number in range(25)]
    for name in names:
        make_package(mirror, name)
    index = subprocess.run(
        ["apt-ftparchive", "packages", "pool"], cwd=mirror, capture_output=True, timeout=60, check=True
    ).stdout
    (mirror / "Packages").write_bytes(index)
    for name in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial"):
        (root / name).mkdir(parents=True)
    (root / "var/cache/apt/archives/partial").mkdir(parents=True)
    (root / "status").write_text("")
    with files_served(mirror) as port:
        (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] http://127.0.0.1:{port} ./\n")
        gateway = open_gateway(mirrors=(port,), cache=tmp_path / "c")

        updated = run_apt(root, gateway, "update")
        got = run_apt(root, gateway, "download", *names)

        assert updated.returncode == got.returncode == 0, (updated, got, gateway.accesses)
        assert len(list(root.glob("*.deb"))) == len(names)
        fetched = [access for access in gateway.accesses if "/pool/" in access.target]
        assert [access.status for access in fetched] == [200] * len(names)
        for path in root.glob("*.deb"):
            path.unlink()
        assert run_apt(root, gateway, "download", *names).returncode == 0
        assert [access.note for access in gateway.accesses[-len(names) :]] == ["from the cache"] * len(names)


def test_apt_tells_what_the_gateway_refused(open_gateway: OpenGateway, tmp_path: Path) -> None:
    for name in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "var/cache/apt/archives/partial").mkdir(parents=True)
    (tmp_path / "status").write_text("")
    (tmp_path / "etc/apt/sources.list").write_text("deb [trusted=yes] http://no.example/debian ./\n")
    gateway = open_gateway()

    ran = run_apt(tmp_path, gateway, "update")

    assert "403  Forbidden" in ran.stdout + ran.stderr
    assert gateway.refused_targets[Target("no.example", 80)] > 0


def test_a_large_file_passes_whole(open_gateway: OpenGateway, tmp_path: Path) -> None:
    content = bytes(range(256)) * (20 << 12)
    (tmp_path / "f").mkdir()
    (tmp_path / "f/large").write_bytes(content)
    with files_served(tmp_path / "f") as port:
        gateway = open_gateway(mirrors=(port,))
        with subprocess.Popen(
            ["nc", "-N", "-U", gateway.order.socket_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as nc:
            assert nc.stdin is not None
            assert nc.stdout is not None
            nc.stdin.write(f"GET http://127.0.0.1:{port}/large HTTP/1.0\r\n\r\n".encode())
            nc.stdin.flush()
            got = nc.stdout.read()

    assert body_of(got) == content
