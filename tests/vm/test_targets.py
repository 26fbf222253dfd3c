"""Hosts and ports: one spelling of each, no patterns, nothing that resolves to another thing than it says."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import UsageError
from buildfarm.vm.targets import is_own, parse_authority, parse_targets, parse_url


@pytest.mark.parametrize(
    ("word", "targets"),
    [
        ("deb.debian.org:80", ["deb.debian.org:80"]),
        ("deb.debian.org", ["deb.debian.org:80", "deb.debian.org:443"]),
        ("DEB.Debian.ORG.:8080", ["deb.debian.org:8080"]),
        ("http://deb.debian.org/debian", ["deb.debian.org:80"]),
        ("HTTPS://deb.debian.org", ["deb.debian.org:443"]),
        ("http://127.0.0.1:8011/owner/ppa", ["127.0.0.1:8011"]),
        ("[::1]:80", ["[::1]:80"]),
        ("[0:0::1]", ["[::1]:80", "[::1]:443"]),
        ("http://[2001:DB8::0:1]:8080/x", ["[2001:db8::1]:8080"]),
        ("xn--mnchen-3ya.example:443", ["xn--mnchen-3ya.example:443"]),
    ],
)
def test_words_that_name_targets(word: str, targets: list[str]) -> None:
    assert [str(target) for target in parse_targets(word)] == targets


@pytest.mark.parametrize(
    "word",
    [
        "",
        ":80",
        "*",
        "*.debian.org:80",
        "deb.debian.org:*",
        "deb.debian.org:",
        "deb.debian.org:0",
        "deb.debian.org:65536",
        "deb.debian.org:+80",
        "deb.debian.org:８０",
        "user@deb.debian.org:80",
        "http://user:secret@deb.debian.org/",
        "http://@deb.debian.org/",
        "ftp://deb.debian.org/",
        "deb.debian.org/debian",
        "münchen.example:443",
        "127.1:80",
        "0x7f.0.0.1:80",
        "2130706433:80",
        "0177.0.0.1:80",
        "::1",
        "[::1",
        "[::1]80",
        "[::1]:",
        "[fe80::1%eth0]:80",
        "[localhost]:80",
        "a b:80",
        "a..b:80",
        "-a:80",
        "a\n:80",
        "a" * 300,
    ],
)
def test_words_that_name_none(word: str) -> None:
    with pytest.raises(UsageError, match="names no host and port"):
        parse_targets(word)


@pytest.mark.parametrize(
    ("url", "target", "path"),
    [
        ("http://a/b?c#d", "a:80", "/b?c"),
        ("http://a", "a:80", "/"),
        ("http://a?x", "a:80", "/?x"),
        ("http://a:81/%2e%2e/x", "a:81", "/%2e%2e/x"),
        ("http://a\\@b/", "a:80", "/\\@b/"),
    ],
)
def test_urls_come_apart(url: str, target: str, path: str) -> None:
    found, rest = parse_url(url)
    assert (str(found), rest) == (target, path)


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("0.0.0.0", True),
        ("0.1.2.3", True),
        ("169.254.169.254", True),
        ("224.0.0.1", True),
        ("::1", True),
        ("::", True),
        ("::ffff:127.0.0.1", True),
        ("fe80::1", True),
        ("255.255.255.255", True),
        ("::127.0.0.1", True),
        ("2002:7f00:1::", True),
        ("64:ff9b::808:808", False),
        ("10.0.0.1", False),
        ("192.168.1.1", False),
        ("::ffff:10.0.0.1", False),
        ("2001:db8::1", False),
        ("151.101.2.132", False),
    ],
)
def test_addresses_of_this_host_are_known(address: str, own: bool) -> None:
    assert is_own(ipaddress.ip_address(address)) == own


@given(st.text(max_size=40))
def test_a_target_is_read_back_as_itself(text: str) -> None:
    try:
        target = parse_authority(text, 80)
    except ValueError:
        return
    assert parse_authority(str(target)) == target
    assert str(target).isascii()
    assert target.host == target.host.lower()
