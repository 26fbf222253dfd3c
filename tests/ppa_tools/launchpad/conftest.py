"""A double of Launchpad, and the backend that asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ppa_tools.address import parse_address
from ppa_tools.archives.door import Copy, CopyBatch
from ppa_tools.archives.launchpad import LaunchpadArchive, LaunchpadClient
from ppa_tools.archives.launchpad.credentials import Login
from ppa_tools.archives.launchpad.instances import find_instance
from ppa_tools.archives.launchpad.session import Limits
from ppa_tools.publication import Publication
from tests.doubles.launchpad import LaunchpadDouble

QUICK = Limits(connect_s=5, read_s=5, first_wait_s=0.001)

Open = Callable[..., LaunchpadArchive]


@pytest.fixture(scope="session")
def running_double() -> Iterator[LaunchpadDouble]:
    with LaunchpadDouble(copy_delay_s=0, publish_delay_s=None) as double:
        yield double


@pytest.fixture
def double(running_double: LaunchpadDouble) -> LaunchpadDouble:
    """An empty Launchpad: copies arrive at once, and wait to be published until the test says so."""
    running_double.reset()
    return running_double


@pytest.fixture
def connect(double: LaunchpadDouble) -> Callable[..., LaunchpadClient]:
    """Connect as a person; "" is nobody."""

    def connect(person: str = "", *, limits: Limits = QUICK, permission: str = "WRITE_PRIVATE") -> LaunchpadClient:
        text = double.token(person, permission=permission).text if person else ""
        login = Login({"LP_CREDENTIALS": text}, use_keyring=False)
        return LaunchpadClient(find_instance(double.url), login, limits)

    return connect


@pytest.fixture
def opened(connect: Callable[..., LaunchpadClient]) -> Open:
    """Open a PPA ``owner/name``, as its owner unless ``person`` says otherwise."""

    def opened(key: str, *, person: str | None = None, **how: object) -> LaunchpadArchive:
        who = key.partition("/")[0] if person is None else person
        return LaunchpadArchive(connect(who, **how), parse_address(f"ppa:{key}"))

    return opened


def batch(publications: tuple[Publication, ...], *, to_series: str = "noble", **how: object) -> CopyBatch:
    """Copies from ``ppa:me/source``."""
    copies = tuple(Copy(one.source, one.version, one.key) for one in publications)
    return CopyBatch(parse_address("ppa:me/source"), "noble", to_series, copies, **how)  # type: ignore[arg-type]


def posts(double: LaunchpadDouble) -> list[str]:
    """The operations of all changes that were asked for."""
    return [one["op"] for one in double.requests() if one["method"] == "POST"]
