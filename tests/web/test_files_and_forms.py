"""Logs, files, the feed and reports over HTTP: as they lie, as they grow, and known again by who has them."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import time
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import requests
from defusedxml import ElementTree

from buildfarm.web import forms
from buildfarm.web.answers import Answer
from buildfarm.web.resource import takes_gzip
from buildfarm.web.site import Site
from tests.web.populated import HOSTILE_LINE, TINY_LOG, Population, passed
from tests.web.weeks import Web, Weeks, serving

ATOM = "{http://www.w3.org/2005/Atom}"


def raw(web: Web, path: str, *headers: str) -> tuple[str, bytes]:
    """The head and the body as they come, nothing unpacked."""
    place = urlsplit(web.url)
    with socket.create_connection((place.hostname, place.port), 60) as connection:
        lines = [f"GET {place.path}{path} HTTP/1.0", f"Host: {place.netloc}", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode())
        with connection.makefile("rb") as file:
            head, _, body = file.read().partition(b"\r\n\r\n")
    return head.decode().lower(), body


def test_a_log_comes_packed_as_it_lies_where_that_is_taken_and_plain_where_not(web: Web, weeks: Weeks) -> None:
    path = f"builds/{weeks.broken}/log"
    head, body = raw(web, path, "Accept-Encoding: br, gzip;q=0.5")
    assert "content-encoding: gzip" in head
    assert "content-type: text/plain; charset=utf-8" in head
    assert "x-content-type-options: nosniff" in head
    assert gzip.decompress(body).decode() == TINY_LOG
    head, body = raw(web, path, "Accept-Encoding: identity, gzip;q=0")
    assert "content-encoding" not in head
    assert "vary: accept-encoding" in head
    assert body.decode() == TINY_LOG


def test_a_large_log_with_hostile_bytes_comes_whole(own: Population) -> None:
    own.night("hello", passes=passed(1, "hello"))
    build = own.nights.history(own.nights.rebuilds(own.nights.night(1))[0].subject)[0]  # type: ignore[arg-type]
    log = "".join(f"{number} {HOSTILE_LINE}\udcff\n" for number in range(200_000))
    own.leave(build, passed(1, "hello"), log)
    with serving(own) as web:
        head, body = raw(web, f"builds/{build.id}/log")
        assert body == log.encode("utf-8", "surrogateescape")
        assert "default-src 'none'; sandbox" in head


def test_a_damaged_log_breaks_off_and_the_server_goes_on(own: Population) -> None:
    own.night("hello", passes=passed(1, "hello"))
    build = own.nights.history(own.nights.rebuilds(own.nights.night(1))[0].subject)[0]  # type: ignore[arg-type]
    (own.places.build(build.id) / "build.log.gz").write_bytes(gzip.compress(b"x" * 100)[:12] + b"nonsense" * 900)
    with serving(own) as web:
        with contextlib.suppress(ConnectionError):
            raw(web, f"builds/{build.id}/log")
        web.get(f"builds/{build.id}")


def test_the_log_of_a_running_build_goes_on_while_it_is_written_and_ends_with_it(own: Population) -> None:
    own.begin("hello")
    build = own.start(own.due()[0][2])
    directory = own.places.build(build.id)
    directory.mkdir(parents=True)
    with serving(own) as web, (directory / "build.log").open("wb") as log:
        assert "Log, as it grows" in web.get(f"builds/{build.id}").text
        log.write(b"first\n")
        log.flush()
        with requests.get(f"{web.url}builds/{build.id}/log", stream=True, timeout=60) as answer:
            lines = answer.iter_lines(chunk_size=1)
            assert next(lines) == b"first"
            log.write(b"second\n")
            log.flush()
            assert next(lines) == b"second"
            log.write(b"last\n")
            log.flush()
            (directory / "build.log").unlink()
            assert list(lines) == [b"last"]


def test_who_leaves_while_a_log_grows_is_forgotten(own: Population) -> None:
    own.begin("hello")
    build = own.start(own.due()[0][2])
    directory = own.places.build(build.id)
    directory.mkdir(parents=True)
    (directory / "build.log").write_bytes(b"first\n")
    with serving(own) as web:
        for _ in range(70):  # more than may follow at once
            with requests.get(f"{web.url}builds/{build.id}/log", stream=True, timeout=60) as answer:
                assert next(answer.iter_lines(chunk_size=1)) == b"first"
        deadline = time.monotonic() + 60
        while True:
            with requests.get(f"{web.url}builds/{build.id}/log", stream=True, timeout=60) as answer:
                lines = answer.iter_lines(chunk_size=1)
                assert next(lines) == b"first"
                (directory / "build.log").open("ab").write(b"more\n")
                if next(lines, None) == b"more":
                    return
            assert time.monotonic() < deadline


def test_what_a_build_made_is_served_by_the_names_in_its_report_and_nothing_else(own: Population) -> None:
    told = passed(1, "hello")
    told = replace(told, artifacts=(*told.artifacts, "hello_1.deb", "../../secret"))
    own.night("hello", passes=told)
    build = own.nights.history(own.nights.rebuilds(own.nights.night(1))[0].subject)[0]  # type: ignore[arg-type]
    directory = own.places.build(build.id)
    secret = own.root / "secret"
    secret.write_text("secret")
    (directory / "order.json").write_text("{}")
    with serving(own) as web:
        name = told.artifacts[0]
        assert (
            web.get(f"builds/{build.id}/files/hello_1.deb").headers["Content-Disposition"].startswith("attachment")
        )
        assert "1 file that it made" in web.get(f"builds/{build.id}").text
        answer = web.get(f"builds/{build.id}/files/{name}")
        assert answer.text.startswith("Format: 1.0\nSource: hello")
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        for other in ("order.json", "report.json", "..%2f..%2fsecret", "%2e%2e", "", "build.log.gz"):
            web.get(f"builds/{build.id}/files/{other}", 404)
        (directory / name).unlink()
        (directory / name).symlink_to(secret)
        web.get(f"builds/{build.id}/files/{name}", 404)
        assert name not in web.get(f"builds/{build.id}").text
        (directory / "build.log.gz").unlink()
        (directory / "build.log.gz").symlink_to(secret)
        said = web.get(f"builds/{build.id}/log", 404).text
        assert "gone for good" in said
        assert f"buildfarm rebuild {build.job.package} " in said


@pytest.mark.parametrize(
    ("path", "type"),
    [
        ("feed.atom", "application/atom+xml; charset=utf-8"),
        ("report.json", "application/json; charset=utf-8"),
        ("report.xml", "application/xml; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
    ],
)
def test_who_has_a_form_already_is_told_so(web: Web, path: str, type: str) -> None:  # noqa: A002
    answer = web.get(path)
    assert answer.headers["Content-Type"] == type
    tag, at = answer.headers["ETag"], answer.headers["Last-Modified"]
    assert web.get(path, 304, If_None_Match=tag).content == b""
    web.get(path, 304, If_None_Match=f'"other", W/{tag}')
    web.get(path, 304, If_Modified_Since=at)
    web.get(path, 200, If_None_Match='"other"', If_Modified_Since=at)
    web.get(path, 200, If_Modified_Since="Thu, 01 Jan 2015 00:00:00 GMT")
    web.get(path, 200, If_Modified_Since="yesterday")


def test_a_form_is_made_anew_once_the_record_has_changed(own: Population) -> None:
    own.night("hello")
    with serving(own) as web:
        tag = web.get("report.json").headers["ETag"]
        assert web.get("report.json").headers["ETag"] == tag
        own.night("hello", "curl")
        changed = web.get("report.json", 200, If_None_Match=tag)
        assert [one["package"] for one in changed.json()["nights"][0]["rebuilds"]] == ["curl", "hello"]


def test_the_feed_has_the_news_of_all_nights_and_leads_to_the_pages(web: Web) -> None:
    root = ElementTree.fromstring(web.get("feed.atom?set=founding").content)
    titles = [one.findtext(f"{ATOM}title") for one in root.iter(f"{ATOM}entry")]
    assert "fixed: grep bookworm-amd64" in titles
    assert any(one.startswith("new failure: curl bookworm-amd64, libvirt bookworm-amd64") for one in titles)
    assert "rebuilds/feed.atom?set=founding" in root.find(f"{ATOM}link").get("href")
    for link in root.iterfind(f"{ATOM}entry/{ATOM}link"):
        web.get(link.get("href").partition("/rebuilds/")[2])


def test_reports_are_those_of_the_command_line(web: Web, weeks: Weeks) -> None:
    report = web.get("report.json?set=founding&since=10").json()
    assert [one["night"] for one in report["nights"]][:3] == [10, 11, 12]
    suites = ElementTree.fromstring(web.get("report.xml?set=founding").content)
    assert suites.get("failures") == "3"
    assert json.loads(web.get("report.json?set=nowhere").content)["nights"] == []


def test_nothing_can_be_changed_from_the_web(web: Web) -> None:
    for method in ("POST", "PUT", "DELETE"):
        answer = requests.request(method, web.url, timeout=60)
        assert answer.status_code == 405
        assert answer.headers["Allow"] == "GET, HEAD"


def test_a_head_has_no_body(web: Web, weeks: Weeks) -> None:
    for path in ("", f"builds/{weeks.broken}/log", "feed.atom"):
        answer = requests.head(web.url + path, timeout=60)
        assert answer.status_code == 200
        assert answer.content == b""


def test_a_report_of_too_many_rebuilds_is_refused_and_one_night_never(
    own: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.night("hello", "curl")
    own.night("hello", "curl")
    monkeypatch.setattr(forms, "MOST_REBUILDS", 1)
    site = Site(own.settings)
    refused = site.answer(("report.json",), {"since": "1"})
    assert isinstance(refused, Answer)
    assert refused.status == 400
    assert b"Ask for fewer nights" in refused.body
    for query in ({}, {"since": "2"}):
        assert site.answer(("report.json",), query).status == 200  # type: ignore[union-attr]
    site.close()


@pytest.mark.parametrize(
    ("header", "takes"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("br, GZIP ; q=0.1", True),
        ("gzip;q=0.000", False),
        ("gzipped", False),
    ],
)
def test_gzip_goes_only_to_who_takes_it(header: str | None, takes: bool) -> None:
    assert takes_gzip(header.encode() if header is not None else None) is takes
