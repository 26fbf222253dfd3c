"""Each case is run on both backends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.archive.conftest import Signer, signer  # noqa: F401
from tests.archive.shelf import Shelf
from tests.doubles.launchpad import LaunchpadDouble
from tests.ppa_tools.conformance.backends import Backend, Embedded, Launchpad


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Shelf:  # noqa: F811
    return Shelf(tmp_path_factory.mktemp("shelf"), signer)


@pytest.fixture(scope="session")
def double() -> Iterator[LaunchpadDouble]:
    with LaunchpadDouble() as one:
        yield one


@pytest.fixture(params=["embedded", "launchpad"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    one: Backend
    if request.param == "embedded":
        one = Embedded(tmp_path, request.getfixturevalue("shelf"))
    else:
        double = request.getfixturevalue("double")
        double.reset()
        one = Launchpad(double)
    yield one
    one.close()
