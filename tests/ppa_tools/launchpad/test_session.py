"""Reads survive what goes wrong on the way, within limits of time and size; what they cost is counted."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ppa_tools.address import parse_address
from ppa_tools.archives.door import NotThere, Unreachable
from ppa_tools.archives.launchpad import LaunchpadArchive, LaunchpadClient
from ppa_tools.archives.launchpad.credentials import Login
from ppa_tools.archives.launchpad.instances import find_instance
from ppa_tools.archives.launchpad.session import Limits
from tests.doubles.launchpad import LaunchpadDouble
from tests.ppa_tools.launchpad.conftest import QUICK, Open


@pytest.fixture
def ppa(double: LaunchpadDouble, opened: Open) -> LaunchpadArchive:
    double.add_ppa("me/ppa")
    double.add_package("me/ppa", "hello", "1")
    return opened("me/ppa", person="")


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("status", {"status": 502}),
        ("status", {"status": 503}),
        ("status", {"status": 504}),
        ("status", {"status": 429}),
        ("cut-before", {}),
        ("cut-after", {}),
        ("truncate", {}),
    ],
)
def test_a_read_is_tried_again(
    double: LaunchpadDouble, ppa: LaunchpadArchive, kind: str, facts: dict[str, object]
) -> None:
    double.fault(kind, times=3, **facts)

    assert [one.source for one in ppa.publications()] == ["hello"]
    assert (ppa.stats.requests, ppa.stats.retried) == (4, 3)
    assert len(double.requests()) == 4


def test_a_connection_cut_at_every_third_request_changes_nothing_that_is_read(
    double: LaunchpadDouble, opened: Open
) -> None:
    double.add_ppa("me/ppa")
    double.add_packages({"ppa": "me/ppa", "name": f"pkg{n}", "version": "1"} for n in range(2000))
    double.fault("cut-after", times=0, each=3)

    assert len(opened("me/ppa").side(with_past=True).publications) == 2000


def test_launchpad_says_how_long_to_wait(double: LaunchpadDouble) -> None:
    double.add_ppa("me/ppa")
    waits: list[float] = []
    client = LaunchpadClient(find_instance(double.url), Login(), QUICK, sleep=waits.append)
    double.fault("status", retry_after_s=7)

    LaunchpadArchive(client, parse_address("ppa:me/ppa")).publications()

    assert waits == [7]


def test_a_longer_wait_than_there_is_time_for_is_left_to_the_user(double: LaunchpadDouble) -> None:
    double.add_ppa("me/ppa")
    waits: list[float] = []
    client = LaunchpadClient(find_instance(double.url), Login(), QUICK, sleep=waits.append)
    double.fault("status", retry_after_s=3600)

    with pytest.raises(Unreachable, match="answers 503") as caught:
        LaunchpadArchive(client, parse_address("ppa:me/ppa")).publications()

    assert caught.value.resolution == "Try again in 3600 seconds."
    assert waits == []


@pytest.mark.parametrize(
    ("kind", "facts", "limits", "words"),
    [
        ("status", {}, QUICK, "it answers 503"),
        ("cut-before", {}, QUICK, "the connection broke"),
        ("garbage", {}, QUICK, "its answer is no JSON"),
        ("hang", {"seconds": 2}, Limits(read_s=0.1, tries=2, first_wait_s=0.001), "no answer came in time"),
        ("slow", {"seconds": 2}, Limits(whole_s=0.1, tries=2, first_wait_s=0.001), "takes longer than"),
    ],
)
def test_trouble_that_lasts_is_told_with_what_to_do(
    double: LaunchpadDouble, opened: Open, kind: str, facts: dict[str, object], limits: Limits, words: str
) -> None:
    double.add_ppa("me/ppa")
    ppa = opened("me/ppa", limits=limits)
    double.fault(kind, times=0, **facts)

    with pytest.raises(Unreachable, match=words) as caught:
        ppa.publications()
    assert "ry again" in caught.value.resolution


def test_an_answer_without_end_is_cut_off(double: LaunchpadDouble, opened: Open) -> None:
    double.add_ppa("me/ppa")
    double.add_packages({"ppa": "me/ppa", "name": f"pkg{n}", "version": "1"} for n in range(200))

    with pytest.raises(Unreachable, match="longer than"):
        opened("me/ppa", limits=Limits(answer_bytes=1 << 17, tries=1)).publications()


def test_a_series_that_is_not_there_is_told_with_the_nearest(ppa: LaunchpadArchive) -> None:
    with pytest.raises(NotThere, match="Ubuntu has no series nobel") as caught:
        ppa.publications(series=["nobel"])

    assert caught.value.resolution == "It has noble."


def test_what_it_has_cost_is_counted(double: LaunchpadDouble, opened: Open) -> None:
    double.add_ppa("me/ppa")
    double.add_packages({"ppa": "me/ppa", "name": f"pkg{n}", "version": "1"} for n in range(500))
    double.set(latency_s=0.05)
    ppa = opened("me/ppa", person="")

    ppa.side(with_past=True)
    double.set(latency_s=0)

    requests = double.requests()
    assert ppa.stats.requests == len(requests) == sum(ppa.stats.by_kind.values())
    assert ppa.stats.by_kind == {
        "archive": 1,
        "series": 1,
        "getPublishedSources": 2,
        "getPublishedSources (total)": 1,
    }
    assert ppa.stats.received_bytes == sum(one["size_bytes"] for one in requests)
    assert 0.1 <= ppa.stats.seconds < sum(one["seconds"] for one in requests), "what goes on at once counts once"


def test_where_nothing_listens_is_told_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    waits: list[float] = []
    client = LaunchpadClient(find_instance(url), Login(), Limits(), sleep=waits.append)

    with pytest.raises(Unreachable, match="nothing takes connections there"):
        LaunchpadArchive(client, parse_address("ppa:me/ppa")).publications()
    assert sum(waits) < 2


@pytest.mark.parametrize(("idle_s", "connections"), [(0.0, 3), (60.0, 1)])
def test_a_connection_that_was_idle_for_long_is_not_used_again(idle_s: float, connections: int) -> None:
    accepted = []

    class Empty(BaseHTTPRequestHandler):
        """A Launchpad whose PPAs are all empty."""

        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            accepted.append(self.client_address)
            super().setup()

        def do_GET(self) -> None:
            body = b'{"start": 0, "total_size": 0, "entries": []}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tell nobody."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        client = LaunchpadClient(
            find_instance(f"http://127.0.0.1:{server.server_port}"), Login(), Limits(idle_s=idle_s)
        )
        for _ in range(3):
            assert LaunchpadArchive(client, parse_address("ppa:me/ppa")).publications() == ()
        client.close()
        server.shutdown()

    assert len(accepted) == connections


def row(**facts: object) -> dict[str, object]:
    """A publication as Launchpad tells it, but for ``facts``."""
    usual: dict[str, object] = {
        "self_link": "https://api.example/devel/~me/+archive/ubuntu/ppa/+sourcepub/7",
        "source_package_name": "hello",
        "source_package_version": "1.0-1",
        "distro_series_link": "https://api.example/devel/ubuntu/noble",
        "status": "Published",
        "date_created": "2026-11-01T12:00:00+00:00",
    }
    return usual | facts


@pytest.mark.parametrize(
    "page",
    [
        {"entries": [row()], "total_size": "many"},
        {"entries": [row()], "total_size": 10**12, "next_collection_link": "https://api.example/"},
        {"entries": [7], "total_size": 1},
        {"entries": [{}], "total_size": 1},
        {"entries": [row(self_link=None)], "total_size": 1},
        {"entries": [row(self_link="https://api.example/?ws.op=delete")], "total_size": 1},
        {"entries": [row(status="Gone fishing")], "total_size": 1},
        {"entries": [row(date_created="yesterday")], "total_size": 1},
        {"entries": [row(distro_series_link=7)], "total_size": 1},
        {"entries": [row(source_package_name="../etc")], "total_size": 1},
        {"entries": [row(source_package_name="hello\x1b]0;you\x07")], "total_size": 1},
        {"entries": [row(source_package_version="1\x9b2J")], "total_size": 1},
        {"entries": [row(source_package_version="no-version")], "total_size": 1},
        {"entries": [row(source_package_version="9" * 5000)], "total_size": 1},
        {"entries": [row(source_package_version=1.0)], "total_size": 1},
    ],
    ids=str,
)
def test_rows_of_unexpected_shape_are_an_error_in_words(page: dict[str, object]) -> None:
    with answering(json.dumps(page)) as ppa, pytest.raises(Unreachable) as raised:
        ppa.publications()

    assert "Launchpad" in str(raised.value)
    assert str(raised.value).replace("\n", "").isprintable()


def test_an_answer_nested_without_end_is_an_error_in_words() -> None:
    with answering("[" * 200_000) as ppa, pytest.raises(Unreachable, match="no JSON"):
        ppa.publications()


def test_versions_of_before_launchpad_looked_at_them_do_not_hide_what_is_there() -> None:
    old = row(self_link="https://api.example/+sourcepub/3", source_package_version="r12", status="Deleted")
    with answering(json.dumps({"entries": [old, row()], "total_size": 2})) as ppa:
        assert [one.version for one in ppa.publications()] == ["1.0-1"]


@contextlib.contextmanager
def answering(body: str) -> Iterator[LaunchpadArchive]:
    """A PPA on something that answers all requests with the same."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    client = LaunchpadClient(find_instance(f"http://127.0.0.1:{server.server_port}"), Login(), QUICK)
    try:
        yield LaunchpadArchive(client, parse_address("ppa:me/ppa"))
    finally:
        client.close()
        server.shutdown()
        thread.join()
        server.server_close()
