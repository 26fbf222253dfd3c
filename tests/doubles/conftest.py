"""A running double of Launchpad, and the real launchpadlib logged in to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from launchpadlib.launchpad import Launchpad

from tests.doubles.launchpad import LaunchpadDouble

LogIn = Callable[[str], Any]


@pytest.fixture(scope="module")
def running() -> Iterator[LaunchpadDouble]:
    with LaunchpadDouble() as one:
        yield one


@pytest.fixture
def double(running: LaunchpadDouble) -> LaunchpadDouble:
    """An empty world, where ``me`` owns two PPAs and somebody else one."""
    running.reset()
    running.set(copy_delay_s=None, publish_delay_s=None)
    for ppa in ("me/trunk", "me/stable", "you/tools"):
        running.add_ppa(ppa)
    return running


@pytest.fixture
def log_in(double: LaunchpadDouble, tmp_path: Path) -> LogIn:
    """launchpadlib, as a person who has logged in before."""

    def log_in(person: str) -> Any:
        credentials = double.token(person).save(tmp_path / f"{person}.credentials")
        return Launchpad.login_with(
            "tests",
            service_root=f"{double.url}/",
            version="devel",
            credentials_file=str(credentials),
            launchpadlib_dir=str(tmp_path / f"{person}.cache"),
        )

    return log_in


@pytest.fixture
def session(double: LaunchpadDouble) -> Iterator[requests.Session]:
    """Plain requests with ``me``'s token."""
    with requests.Session() as one:
        one.headers["Authorization"] = double.token("me").header
        yield one
