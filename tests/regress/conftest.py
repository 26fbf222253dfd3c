"""A farm's nights on this machine over an archive of synthetic packages: real layers, real builds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from buildfarm.regress.local import HERE, Telling, alone_here, run_night
from buildfarm.regress.model import BuildReport, RebuildJob
from buildfarm.regress.nights import Nights, open_nights
from buildfarm.regress.places import Places, places_of
from buildfarm.regress.records import Build, Night, NightRules, Rebuild
from buildfarm.settings import Settings
from tests.regress.yard import Yard


@dataclass
class Here:
    """Nights that are built on this machine, one after another."""

    settings: Settings
    told: list[str] = field(default_factory=list)

    @property
    def nights(self) -> Nights:
        return open_nights(self.places.history_file)

    @property
    def places(self) -> Places:
        return places_of(self.settings)

    def night(self, jobs: Sequence[RebuildJob], **rules: object) -> Night:
        """A whole night over these jobs."""

        def settled(rebuild: Rebuild, verdict: object) -> None:
            self.told.append(f"{rebuild.subject.package}: {verdict}")

        nights = self.nights
        night = nights.open_night("yard", jobs, driver=HERE, reason="test", rules=NightRules(**rules))  # type: ignore[arg-type]
        with alone_here(self.settings):
            return run_night(
                night, nights, self.settings, Telling(lambda _build: None, lambda _build, _report: None, settled)
            )

    def verdicts(self, night: Night) -> dict[str, str]:
        return {one.subject.package: str(one.verdict) for one in self.nights.rebuilds(night)}

    def rebuild(self, night: Night, package: str) -> Rebuild:
        return next(one for one in self.nights.rebuilds(night) if one.subject.package == package)

    def builds(self, night: Night, package: str) -> list[Build]:
        return list(self.nights.builds(self.rebuild(night, package)))

    def report(self, night: Night, package: str) -> BuildReport:
        report = self.builds(night, package)[0].report
        assert report is not None
        return report


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory, host_series: str) -> Iterator[Yard]:
    with Yard(tmp_path_factory.mktemp("yard"), host_series).served() as served:
        served.state("before")
        yield served


@pytest.fixture
def here(farm_settings: Settings) -> Here:
    return Here(farm_settings)
