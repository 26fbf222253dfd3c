"""The Atom feed: sound, and with ids that stay."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest
from defusedxml.ElementTree import fromstring

from buildfarm.regress.feed import feed
from buildfarm.regress.report_forms import utc
from tests.regress.rounds import Farm

BASE = "https://farm.example.org/"
ATOM = "{http://www.w3.org/2005/Atom}"
TAG_URI = re.compile(r"tag:[a-z0-9.-]+,\d{4}(-\d\d(-\d\d)?)?:[A-Za-z0-9._~%/+-]+")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    farm = Farm(tmp_path)
    farm.round("a", "b", "c")
    farm.round("a", "b", "c", fails={"a": {"cause": "<b>&\x00\ud800"}, "b": {}}, environment="e2")
    farm.round("a", "b", "c", fails={"b": {"fingerprint": "g"}}, environment="e3")
    return farm


def read(text: str) -> Element:
    root = fromstring(text.encode())
    assert isinstance(root, Element)
    return root


def check_rfc4287(root: Element) -> None:
    """The MUSTs of the RFC that concern what we write."""
    assert root.tag == f"{ATOM}feed"
    for owner in (root, *root.findall(f"{ATOM}entry")):
        for name in ("id", "title", "updated"):
            assert len(owner.findall(f"{ATOM}{name}")) == 1, name
        assert TAG_URI.fullmatch(owner.findtext(f"{ATOM}id", ""))
        assert TIME.fullmatch(owner.findtext(f"{ATOM}updated", ""))
    assert root.findtext(f"{ATOM}author/{ATOM}name")
    ids = [entry.findtext(f"{ATOM}id") for entry in root.findall(f"{ATOM}entry")]
    assert len(set(ids)) == len(ids)
    for entry in root.findall(f"{ATOM}entry"):
        assert [link.get("rel") for link in entry.findall(f"{ATOM}link")] == ["alternate"]
        (content,) = entry.findall(f"{ATOM}content")
        assert content.get("type") == "text"
        assert len(content) == 0


def test_news_are_entries_one_for_each_cause(farm: Farm) -> None:
    root = read(feed(farm.nights, BASE, self_url=f"{BASE}rebuilds/feed.atom"))
    check_rfc4287(root)
    titles = [entry.findtext(f"{ATOM}title", "") for entry in root.findall(f"{ATOM}entry")]
    assert [title.partition(":")[0] for title in titles] == ["another cause", "fixed", "new failure"]
    assert "a bookworm-amd64, b bookworm-amd64" in titles[2]
    assert root.findtext(f"{ATOM}updated") == utc(farm.nights.recent_nights(1)[0].ended_at or 0)


def test_ids_stay_when_more_nights_labels_and_addresses_come(farm: Farm) -> None:
    def ids() -> dict[str, str]:
        entries = read(feed(farm.nights, BASE)).findall(f"{ATOM}entry")
        return {one.findtext(f"{ATOM}id", ""): one.findtext(f"{ATOM}updated", "") for one in entries}

    before = ids()
    farm.nights.set_label("f1", "known")
    farm.round("a", "b", "c", environment="e4")
    after = ids()
    assert before.items() < after.items()


def test_a_night_that_goes_on_is_not_told_of_yet(farm: Farm) -> None:
    before = feed(farm.nights, BASE)
    farm.begin("a")
    farm.step(outcome="fail", environment="e9")
    assert feed(farm.nights, BASE) == before


def test_a_feed_without_news_or_with_an_odd_address_is_sound(tmp_path: Path) -> None:
    farm = Farm(tmp_path)
    check_rfc4287(read(feed(farm.nights, "http://[::1]:8010/", "a set")))
    farm.round("a")
    root = read(feed(farm.nights, "http://[::1]:8010/"))
    check_rfc4287(root)
    assert root.findall(f"{ATOM}entry") == []
