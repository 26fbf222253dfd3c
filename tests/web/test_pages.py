"""What the pages of rebuilds say, read over HTTP from the real resource."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import replace
from html import unescape
from urllib.parse import quote, urljoin, urlsplit

import sqlalchemy as sa

from buildfarm.regress.model import LeftOut, Subject, Suspect
from buildfarm.web.lookups import open_reading
from buildfarm.web.site import Site
from tests.web.populated import HOSTILE, HOSTILE_LINE, Population, culprit, failed, passed
from tests.web.weeks import Web, Weeks, serving

LINK = re.compile(r'(?:href|action)="([^"]*)"')


def text_of(html: str) -> str:
    """What a person reads: no tags, one space between words."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def cells_of(html: str, package: str) -> list[str]:
    """The words of a package's cells in the matrix, the newest night's first."""
    row = next(one for one in html.split("<tr>") if f">{package}</a>" in one)
    return re.findall(r'aria-label="([^"]*)"', row)


def test_the_matrix_has_words_beside_each_mark_and_leads_to_the_build(web: Web, weeks: Weeks) -> None:
    html = web.get("?set=founding").text
    assert cells_of(html, "libvirt") == ["still failing"] * 7 + ["new failure"] + ["still passing"] * 6
    assert cells_of(html, "grep")[:4] == ["fixed", "still failing", "new failure", "still passing"]
    assert cells_of(html, "vim")[0] == "dependency wait"
    assert re.search(
        rf'<td class="v-new"><a href="./builds/{weeks.broken}" [^>]*aria-label="new failure">N</a>', html
    )


def test_the_matrix_counts_names_causes_and_tells_of_workers_out_of_service(web: Web) -> None:
    words = text_of(web.get("?set=founding").text)
    assert "3 still failing 1 fixed 1 dependency wait 2 still passing" in words
    assert "undefined reference to foo_open 2 packages Known: libfoo dropped foo_open" in words
    assert "1 worker out of service worker-2 since" in words
    assert "buildfarm rebuild workers --put-back worker-2" in words


def test_what_matters_stands_first_or_names_in_order_as_is_wished(web: Web) -> None:
    def order(query: str) -> list[str]:
        html = web.get(f"?set=founding{query}").text
        names = re.findall(r'<th scope="row"><a href="[^"]*">([^<]*)</a>', html)
        return [unescape(one) for one in names if one.startswith(("c", "g", "h", "l", "n", "v"))]

    assert order("") == ["curl", "libvirt", "grep", "vim", "hello", "nano"]
    assert order("&sort=name") == ["curl", "grep", "hello", "libvirt", "nano", "vim"]
    assert order("&show=failing") == ["curl", "libvirt"]
    assert order("&show=news") == ["grep"]
    assert order("&where=bookworm-amd64&show=news") == ["grep"]
    assert order("&where=bookworm-arm64") == []


def test_older_nights_are_a_page_further_and_newer_ones_back(web: Web) -> None:
    html = web.get("?set=founding").text
    older = unescape(re.search(r'rel="prev" href="([^"]*)">← older', html)[1])  # type: ignore[index]
    page = web.get(older).text
    assert cells_of(page, "libvirt") == ["still passing"] * 3
    newer = unescape(re.search(r'rel="next" href="([^"]*)">newer', page)[1])  # type: ignore[index]
    assert cells_of(web.get(newer).text, "libvirt") == cells_of(html, "libvirt")
    assert "no older nights" in page


def test_a_night_tells_its_news_by_cause_with_the_first_error_and_the_rest_below(own: Population) -> None:
    own.night("hello", "libvirt", "curl", "vim", passes=passed(1, "hello"))
    own.night("hello", "libvirt", "curl", "vim", fails={"libvirt": failed(), "curl": failed()})
    with serving(own) as web:
        words = text_of(web.get("nights/2").text)
        assert "2 new failures 2 still passing" in words
        assert words.count("undefined reference to foo_open") == 1
        assert "12: main.c:12: undefined reference to `foo_open'" in words
        assert "because of src-libfoo 1.2 to 1.3" in words
        web.get("nights/1")


def test_a_night_names_what_it_leaves_out_and_why(own: Population) -> None:
    own.night("hello", "libvirt")
    gone = LeftOut(Subject(HOSTILE, "bookworm", "amd64"), f"no such package {HOSTILE_LINE}")
    own.begin("hello", left_out=(gone,) * 70)
    with serving(own) as web:
        assert "Left out" not in web.get("nights/1").text
        page = web.get("nights/2").text
        assert "Left out" in text_of(page)
        assert "and 10 more" in text_of(page)
        assert HOSTILE not in page
        assert f"no such package 34: main.c:12: {HOSTILE}" in unescape(page)
        assert not re.search("[\x00\x1b\u202e]", page)


def test_a_build_says_why_it_failed_and_how_to_have_it_again(web: Web, weeks: Weeks) -> None:
    words = text_of(web.get(f"builds/{weeks.broken}").text)
    assert f"#{weeks.broken} libvirt 1.2-1 failed in the stage build: undefined reference to `foo_open'." in words
    assert "new failure since" in words
    assert "2 failing tests t/open.t t/close.t" in words
    assert culprit("libvirt").words in words
    assert "37 sources had changed; 9 builds, 30 min 30 s." in words
    assert f"buildfarm repro {weeks.broken}" in words
    assert "own build 41 s preparation 14 s in all 58 s disk 94 MiB" in words


def test_tests_that_broke_stand_apart_from_those_that_are_known_to_fail(own: Population) -> None:
    broken = replace(
        failed(), failing_tests=("t/new.t", "t/old.t", "t/older.t"), broken_tests=("t/new.t",), first_error=()
    )
    own.night("hello")
    own.night("hello", fails={"hello": broken})
    number = next(one.id for one in own.nights.history(Subject("hello", "bookworm", "amd64")) if one.id > 1)
    with serving(own) as web:
        assert "1 broken test t/new.t 2 known failing tests t/old.t t/older.t" in text_of(
            web.get(f"builds/{number}").text
        )
        words = text_of(web.get("nights/2").text)
        assert "t/new.t" in words
        assert "t/old.t" not in words


def test_a_failure_is_compared_with_the_last_pass(web: Web, weeks: Weeks) -> None:
    html = web.get(f"builds/{weeks.broken}").text
    words = text_of(html)
    assert f"Compared with #{weeks.passing} the last that passed" in words
    assert "3 sources: 2 packages changed, 1 added, 0 removed, 2 the same." in words
    assert "src-gcc 12.2 12.3 gcc" in words
    assert "src-libbar – 3.0 + libbar 3.0" in words
    assert "All tests that fail now did not fail before." in words
    assert 'class="guilty"' not in html


def test_the_source_that_is_the_cause_stands_first_among_what_changed(own: Population) -> None:
    before, after = own.environment(libfoo="1.2", gcc="12.2"), own.environment(libfoo="1.3", gcc="12.3")
    own.night("hello", "curl", passes=passed(1, "hello", before))
    own.night("hello", "curl", fails={"curl": failed(environment=after)}, passes=passed(2, "hello", after))
    assert culprit("curl").suspects[0] == Suspect("src-libfoo", "1.2", "1.3", ("libfoo1", "libfoo-dev"))
    number = next(one.decided_by for one in own.nights.rebuilds(own.nights.night(2)) if one.job.package == "curl")  # type: ignore[arg-type]
    with serving(own) as web:
        words = text_of(web.get(f"builds/{number}").text)
    assert "src-libfoo the cause 1.2 1.3 libfoo src-gcc 12.2 12.3 gcc" in words


def test_any_two_builds_of_a_package_can_be_compared_and_none_of_others(web: Web, weeks: Weeks) -> None:
    words = text_of(web.get(f"builds/{weeks.broken}?against={weeks.passing - 7}").text)
    assert f"Compared with #{weeks.passing - 7} chosen by its number" in words
    refused = web.get(f"builds/{weeks.broken}?against={weeks.hostile}", 404).text
    assert f"#{weeks.hostile} is no build of libvirt bookworm-amd64" in text_of(refused)


def test_an_environment_that_is_not_kept_any_more_is_said_to_be_so(own: Population) -> None:
    own.night("hello", "curl", passes=passed(1, "hello", "0" * 64))
    own.night("hello", "curl", passes=passed(2, "hello", "1" * 64))
    number = own.nights.recent_nights(1)[0].number
    build = own.nights.rebuilds(own.nights.night(number))[0].decided_by  # type: ignore[arg-type]
    with serving(own) as web:
        words = text_of(web.get(f"builds/{build}").text)
    assert "The environment 000000000000 is not kept here." in words
    assert "keep_nights" in words


def test_a_history_has_verdicts_plots_with_axes_and_a_table_for_who_sees_none(web: Web) -> None:
    html = web.get("packages/libvirt/bookworm/amd64").text
    words = text_of(html)
    assert "still failing since" in words
    assert culprit("libvirt").words in words
    assert html.count('<figure class="plot">') == html.count('<line class="axis"') == 2
    assert html.count('aria-describedby="durations-table"') == 1
    assert "0 25 50 75 100 seconds night" in words
    assert "118 2 3 undefined reference to foo_open" in words
    assert html.count('class="l-failed"') == 8 + 1  # a bar for each night that failed, and one in the legend


def test_a_flaky_package_shows_its_rate_with_the_interval(web: Web) -> None:
    words = text_of(web.get("packages/valgrind/bookworm/amd64").text)
    assert "~ flaky" in words
    assert "1 of 2 builds 50% (9% to 91%)" in words


def test_a_cause_names_all_it_hit_its_label_and_how_to_label_it(web: Web, weeks: Weeks) -> None:
    html = web.get("causes/f00dfeed00000001").text
    words = text_of(html)
    assert "2 packages in 8 nights" in words
    assert "Known: libfoo dropped foo_open" in words
    assert 'href="https://bugs.example.org/1" rel="noreferrer nofollow"' in html
    assert "buildfarm rebuild label f00dfeed00000001" in words
    assert "<form" not in html
    assert f'href="../builds/{weeks.broken}"' in html


def test_nothing_that_a_package_says_becomes_part_of_a_page(web: Web, weeks: Weeks) -> None:
    addresses = [
        "?set=founding",
        "nights/18",
        f"builds/{weeks.hostile}",
        "causes/bad0bad0bad0bad0",
        f"packages/{quote(HOSTILE, safe='')}/bookworm/amd64",
    ]
    for address in addresses:
        answer = web.get(address)
        assert HOSTILE in unescape(answer.text), address
        assert "<script" not in answer.text.lower(), address
        assert not re.search(r"<[^>]*\son\w+\s*=", answer.text), address
        assert not re.search("[\x00-\x08\x1b\u202e]", answer.text), address
        assert " 49" not in answer.text.replace("&#39;", ""), address
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert not re.search(r"\sstyle=|<style", answer.text), address


def test_a_page_in_buildbot_is_linked_only_when_it_is_of_the_web(own: Population) -> None:
    own.begin("hello")
    build = own.start(own.due()[0][2])
    own.nights.note_worker(build, "worker-1", "javascript:alert(1)")
    with serving(own) as web:
        assert "javascript" not in web.get(f"builds/{build.id}").text


def test_what_is_not_there_is_a_404_that_says_what_to_do(web: Web, weeks: Weeks) -> None:
    absent = [
        "builds/0", "builds/999999", "builds/-1", "builds/1e3", "builds/" + "9" * 30, "builds/١", "builds/",
        "builds/1/what", "nights/4711", "nights/x", "packages/none/bookworm/amd64", "packages/hello",
        "causes/0000000000000000", "causes/" + "f" * 150, "causes/%27%20or%201=1", "nothing", "a/b/c/d/e/f/g/h",
        "style.css/more", "templates/base.html", "%2e%2e/%2e%2e/etc/passwd", "?set=nowhere",
        "?set=founding&before=1", f"builds/{weeks.broken}/files/nothing", "x" * 3000,
    ]  # fmt: skip
    for address in absent:
        answer = web.get(address, 404)
        assert answer.headers["Content-Security-Policy"], address
        assert len(text_of(answer.text).split("To the matrix")[0]) > 60, address


def test_words_of_a_query_that_cannot_be_read_are_refused_with_the_words_that_can(web: Web) -> None:
    for query in ("?show=everything", "?before=x", "?from=-1", "?set=" + "x" * 300, "?sort=%00"):
        assert "Choose it" in (said := text_of(web.get(query, 400).text)) or "Digits" in said, query
    assert "give a date" in text_of(web.get("report.json?since=yesterday", 400).text).lower()


def test_every_link_leads_somewhere_also_below_a_proxys_path(weeks: Weeks) -> None:
    with serving(weeks.population, "farm/ci/") as web:
        home = urljoin(web.url, ".")
        seen, waiting, pages = {web.url}, deque([web.url]), 0
        while waiting and pages < 120:
            address = waiting.popleft()
            answer = web.get(address.removeprefix(web.url))
            pages += 1
            if not answer.headers["Content-Type"].startswith("text/html"):
                continue
            for link in LINK.findall(answer.text):
                target = unescape(link)
                if target.startswith(("https://bugs.example.org/", "http://127.0.0.1:8010/", "#")):
                    continue
                assert not urlsplit(target).scheme, target
                assert not target.startswith("/"), target
                full = urljoin(address, target).partition("#")[0]
                assert full.startswith(home) or full == urljoin(home, ".."), (address, target)
                if full.startswith(web.url) and full not in seen:
                    seen.add(full)
                    waiting.append(full)
        assert pages > 60


def test_the_first_page_without_its_slash_leads_to_it(web: Web) -> None:
    answer = Web(web.url.rstrip("/")).get(status=302)
    assert answer.headers["Location"] == "rebuilds/"


def test_a_farm_without_nights_says_how_to_begin(own: Population) -> None:
    with serving(own) as web:
        assert "buildfarm rebuild hello" in text_of(web.get().text)


def test_a_night_that_goes_on_shows_how_far_it_is_and_what_is_built(own: Population) -> None:
    own.night("hello", "curl")
    own.begin("hello", "curl", "grep")
    own.do(*own.due()[0], {})
    running = own.start(own.due()[0][2])
    with serving(own) as web:
        html = web.get().text
        words = text_of(html)
        assert "Night 2 goes on: 1 of 3 rebuilds settled." in words
        assert f"#{running.id} {running.job.package} bookworm-amd64 : first build on worker-1" in words
        assert 'http-equiv="refresh"' not in html
        assert 'http-equiv="refresh" content="30"' in web.get("?follow=yes").text
        assert "is being built on worker-1." in text_of(web.get(f"builds/{running.id}").text)
        assert "waits for its turn." in text_of(web.get(f"builds/{own.due()[0][2].id}").text)


def test_a_matrix_of_many_packages_comes_in_pages_and_asks_no_more_questions(own: Population) -> None:
    asked: list[str] = []
    names = [f"package-{number:03}" for number in range(230)]
    own.begin(*names, of="large")
    own.begin("hello", of="small")
    reading = open_reading(own.settings.regression_file)
    sa.event.listen(sa.Engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    site = Site(own.settings)
    counts = []
    for query in ({"set": "small"}, {"set": "large"}, {"set": "large", "from": "200"}):
        asked.clear()
        answer = site.answer(("",), query)
        counts.append(len(asked))
    assert counts[0] == counts[1] == counts[2]
    assert b"package-229" in answer.body  # type: ignore[union-attr]
    assert b"package-199" not in answer.body  # type: ignore[union-attr]
    assert b"packages 201 to 230 of 230" in answer.body  # type: ignore[union-attr]
    reading.close()
    site.close()


def test_pages_cannot_write_to_the_record(own: Population) -> None:
    own.night("hello")
    reading = open_reading(own.settings.regression_file)
    with reading._reading() as connection:
        try:
            connection.exec_driver_sql("DELETE FROM nights")
        except sa.exc.OperationalError as error:
            assert "readonly" in str(error)  # noqa: PT017 (the rollback comes first)
    assert len(own.nights.recent_nights(5)) == 1
