"""A record with some weeks of nights, and its pages, which the tests of this directory share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.populated import Population
from tests.web.weeks import Web, Weeks, fill, serving


@pytest.fixture(scope="session")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> Weeks:
    return fill(Population(tmp_path_factory.mktemp("weeks")))


@pytest.fixture(scope="session")
def web(weeks: Weeks) -> Iterator[Web]:
    with serving(weeks.population) as found:
        yield found


@pytest.fixture
def own(tmp_path: Path) -> Population:
    """A population of a test's own, that has nothing yet."""
    return Population(tmp_path)
