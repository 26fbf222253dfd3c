"""Trouble on demand, and the record of what was asked."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
import requests

from tests.doubles.launchpad import ControlError, LaunchpadDouble


def delete(double: LaunchpadDouble, session: requests.Session, number: int) -> requests.Response:
    url = f"{double.api}/~me/+archive/ubuntu/trunk/+sourcepub/{number}"
    return session.post(url, data={"ws.op": "requestDeletion"})


@pytest.mark.parametrize(("kind", "done"), [("cut-before", False), ("cut-after", True), ("hang", False)])
def test_a_connection_is_cut_before_or_after_the_request_is_done(
    double: LaunchpadDouble, session: requests.Session, kind: str, done: bool
) -> None:
    number = double.add_package("me/trunk", "hello", "1")
    double.fault(kind, op="requestDeletion", seconds=0.01)
    with pytest.raises(requests.ConnectionError):
        delete(double, session, number)
    assert len(double.deletions()) == done
    assert [(one["fault"], one["status"]) for one in double.requests()] == [(kind, 0)]
    assert delete(double, session, number).status_code == 200


@pytest.mark.parametrize("taken", [False, True])
def test_a_503_is_given_with_or_without_the_request_done(
    double: LaunchpadDouble, session: requests.Session, taken: bool
) -> None:
    number = double.add_package("me/trunk", "hello", "1")
    double.fault("status", retry_after_s=7, taken=taken)
    answer = delete(double, session, number)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
    assert len(double.deletions()) == taken


def read(double: LaunchpadDouble) -> object:
    return requests.get(f"{double.api}/ubuntu").json()


def fails(act: Callable[[], object]) -> bool:
    try:
        act()
    except requests.RequestException:
        return True
    return False


@pytest.mark.parametrize("kind", ["truncate", "garbage"])
def test_a_body_can_be_half_or_no_json_at_all(double: LaunchpadDouble, kind: str) -> None:
    double.fault(kind)
    assert [fails(lambda: read(double)) for _ in range(2)] == [True, False]


def test_a_body_can_be_slow(double: LaunchpadDouble) -> None:
    double.fault("slow", seconds=30)
    with pytest.raises(requests.ConnectionError, match="timed out"):
        requests.get(f"{double.api}/ubuntu", timeout=1)


@pytest.mark.parametrize(
    ("rule", "struck"),
    [
        ({"at": 3}, [3]),
        ({"at": 2, "times": 2}, [2, 3]),
        ({"times": 0, "each": 2}, [1, 3, 5]),
        ({"at": 5, "times": 0}, [5, 6]),
        ({"path": "elsewhere"}, []),
        ({"method": "POST"}, []),
    ],
)
def test_a_rule_strikes_the_requests_that_it_names(
    double: LaunchpadDouble, rule: dict[str, object], struck: list[int]
) -> None:
    double.fault("cut-before", **rule)
    assert [n for n in range(1, 7) if fails(lambda: read(double))] == struck
    assert double.faults()[0]["fired"] == len(struck)


def test_an_unknown_fault_is_refused(double: LaunchpadDouble) -> None:
    with pytest.raises(ControlError, match="there are status, cut-before"):
        double.fault("earthquake")


def test_every_request_is_in_the_log_but_those_of_the_control(
    double: LaunchpadDouble, session: requests.Session
) -> None:
    number = double.add_package("me/trunk", "hello", "1")
    requests.get(f"{double.api}/~me/+archive/ubuntu/trunk?ws.op=getPublishedSources&source_name=hello")
    delete(double, session, number)
    said = [(one["method"], one["op"], one["who"], one["status"]) for one in double.requests()]
    assert said == [("GET", "getPublishedSources", "", 200), ("POST", "requestDeletion", "me", 200)]
    assert double.requests()[0]["query"]["source_name"] == ["hello"]
    assert double.deletions()[0]["request"] == 2
    double.clear_log()
    assert double.requests() == []


def test_every_answer_waits_as_long_as_the_network(double: LaunchpadDouble) -> None:
    double.set(latency_s=0.05)
    read(double)
    assert double.requests()[0]["seconds"] >= 0.05


def test_an_entry_that_is_known_is_not_sent_again(double: LaunchpadDouble) -> None:
    url = f"{double.api}/~me/+archive/ubuntu/trunk"
    first = requests.get(url)
    assert requests.get(url, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    assert first.json()["http_etag"] == first.headers["ETag"]


def test_a_connection_that_is_silent_too_long_is_closed(double: LaunchpadDouble) -> None:
    double.set(idle_s=0.05)
    connection = http.client.HTTPConnection(urlsplit(double.url).netloc, timeout=10)
    connection.request("GET", "/devel/ubuntu")
    connection.getresponse().read()
    assert connection.sock.recv(1) == b""
    connection.close()
