"""By which keys the indexes of PPAs are believed."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from ppa_tools.address import parse_address
from ppa_tools.apt.fetching import Fetcher
from ppa_tools.apt.indexes import Reader
from ppa_tools.archives.door import NotThere
from ppa_tools.commands.indexes import repository_of
from ppa_tools.commands.session import Session

HERE = parse_address("ppa:me/trunk")
KEYS = "https://api.launchpad.net/devel/~me/+archive/ubuntu/trunk?ws.op=getSigningKeyData"


class Told(Fetcher):
    """A network that has the answers to some URLs, and notes what was asked for."""

    def __init__(self, cache: Path, answers: dict[str, bytes]) -> None:
        super().__init__(cache)
        self.answers = answers
        self.asked: list[str] = []

    def fetch_fresh(self, url: str, limit_bytes: int) -> bytes:
        self.asked.append(url)
        if url not in self.answers:
            raise NotThere(url)
        return self.answers[url][:limit_bytes]


@pytest.mark.parametrize(
    ("answers", "keyring"), [({KEYS: b'"a key"'}, b"a key"), ({KEYS: b"null"}, b""), ({}, b"")]
)
def test_a_ppa_must_be_signed_by_the_keys_that_launchpad_tells(
    tmp_path: Path, answers: dict[str, bytes], keyring: bytes
) -> None:
    network = Told(tmp_path, answers)
    opened = Session(argparse.Namespace(instance="production"), Reader(network))

    found = [repository_of(opened, HERE, series) for series in ("noble", "jammy")]

    assert [one.keyring for one in found] == [keyring, keyring]
    assert network.asked == [KEYS], "once for all series"


def test_no_keys_are_asked_for_where_nobody_vouches_for_them(tmp_path: Path) -> None:
    network = Told(tmp_path, {})
    opened = Session(argparse.Namespace(instance="http://127.0.0.1:1"), Reader(network))

    assert repository_of(opened, HERE, "noble").keyring == b""
    assert network.asked == []
