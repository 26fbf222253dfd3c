"""Where the packages of a series come from."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.build.apt_sources import (
    HostApt,
    distribution_of,
    find_sources,
    parse_deb822,
    parse_one_line,
    read_host,
)
from buildfarm.errors import FarmTrouble, UsageError
from buildfarm.settings import SeriesSettings

HOST = HostApt(
    "bookworm",
    {
        "/etc/apt/sources.list.d/debian.sources": (
            "# the main thing\nTypes: deb deb-src\n# a comment inside\nURIs: http://mirror.example/debian\n"
            "Suites: bookworm bookworm-updates trixie\nComponents: main\n\n"
            "Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: bookworm\nComponents: main\n"
        ),
        "/etc/apt/sources.list": (
            "deb [arch=amd64 trusted=yes] http://team.example bookworm-security main contrib # ours\n"
            "deb http://node.example nodistro main\n"
            "# deb http://commented.example bookworm main\n"
            "deb-src http://src.example bookworm main\n"
        ),
    },
    (
        'Acquire::http::Proxy "http://proxy.example:3142";',
        'Acquire::http::Proxy::mirror.example "DIRECT";',
        'APT::Architecture "amd64";',
        'Acquire::Languages "none";',
    ),
)


def test_the_hosts_own_series_uses_the_hosts_own_sources() -> None:
    sources = find_sources("bookworm", "amd64", None, HOST)

    assert list(parse_deb822(sources.text)) == [
        {
            "Types": "deb",
            "URIs": "http://mirror.example/debian",
            "Suites": "bookworm bookworm-updates",
            "Components": "main",
        },
        {
            "Types": "deb",
            "URIs": "http://team.example",
            "Suites": "bookworm-security",
            "Components": "main contrib",
            "Architectures": "amd64",
            "Trusted": "yes",
        },
    ]


def test_only_how_to_reach_mirrors_is_carried_over() -> None:
    assert find_sources("bookworm", "amd64", None, HOST).settings == HOST.configuration[:2]


def test_the_farms_settings_win() -> None:
    text = "Types: deb\nURIs: http://mine.example\nSuites: bookworm\nComponents: main\nTrusted: yes"

    assert find_sources("bookworm", "amd64", SeriesSettings(text), HOST).text == text + "\n"


def test_another_series_comes_from_its_distributions_mirror() -> None:
    sources = find_sources("trixie", "amd64", None, HOST)

    uris = [(stanza["URIs"], stanza["Suites"]) for stanza in parse_deb822(sources.text)]
    assert uris == [
        ("http://deb.debian.org/debian", "trixie trixie-updates"),
        ("http://deb.debian.org/debian-security", "trixie-security"),
    ]
    assert sources.keyrings == (Path("/usr/share/keyrings/debian-archive-keyring.gpg"),)


def test_an_unknown_series_is_a_clear_error() -> None:
    with pytest.raises(UsageError, match="no series is called 'nosuch'") as caught:
        find_sources("nosuch", "amd64", None, HOST)

    assert "[series.nosuch]" in caught.value.resolution


def test_a_key_that_is_not_there_is_named() -> None:
    given_text = SeriesSettings("Types: deb\nURIs: http://x\nSuites: y\nSigned-By: /nowhere/key.gpg\n")

    with pytest.raises(FarmTrouble, match=r"/nowhere/key\.gpg"):
        find_sources("y", "amd64", given_text, HOST)


def test_a_key_inside_the_sources_needs_no_file() -> None:
    text = "Types: deb\nURIs: http://x\nSuites: y\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n /w==\n"

    assert find_sources("y", "amd64", SeriesSettings(text), HOST).keyrings == ()


@pytest.mark.parametrize(
    ("series", "distribution"), [("bookworm", "debian"), ("sid", "debian"), ("noble", "ubuntu")]
)
def test_a_series_belongs_to_its_distribution(series: str, distribution: str) -> None:
    assert distribution_of(series) == distribution


def test_this_machine_has_sources_of_its_own() -> None:
    host = read_host()

    assert "Suites: " in find_sources(host.codename, "amd64", None, host).text


@given(st.text(max_size=200))
def test_any_text_is_read_without_a_stumble(text: str) -> None:
    list(parse_deb822(text))
    assert all(stanza["Types"] == "deb" for stanza in parse_one_line(text))
