"""A search takes only a build's own result for an answer: what the farm itself met is asked again."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from buildfarm.build.bootstrap import native_architecture
from buildfarm.build.environments import use_exactly, use_layers
from buildfarm.build.manifest import EnvironmentPackage, Manifest
from buildfarm.build.roots import get_root, spec_for
from buildfarm.errors import FarmTrouble
from buildfarm.files import write_json
from buildfarm.regress.bisecting import CANNOT_STAND, search
from buildfarm.regress.model import BuildReport
from buildfarm.regress.one_build import REPORT, read_report
from buildfarm.regress.orders import BuildOrder, CulpritOrder
from buildfarm.regress.places import places_of
from buildfarm.settings import Settings
from tests.regress.conftest import Here
from tests.regress.rounds import job

GUILTY = "lib3"
DISK = BuildReport("error", "the disk is nearly full: 12 MiB left")


@dataclass
class Searching:
    """A search among eight libraries, one of which breaks the build; ``troubles`` come in place of results."""

    settings: Settings
    directory: Path
    order: BuildOrder
    culprit: CulpritOrder
    troubles: Iterator[BuildReport | None] = field(default_factory=lambda: iter(()))
    built: list[str] = field(default_factory=list)

    def search(self, *troubles: BuildReport | None) -> BuildReport:
        """One try; ``None`` lets a build come to its result."""
        self.troubles = iter(troubles)
        (self.directory / REPORT).unlink(missing_ok=True)  # as whoever tries again does
        return search(self.order, self.culprit, self.directory, self.settings)

    def build(self, order: BuildOrder, directory: Path, settings: Settings, _watcher: object) -> BuildReport:
        if (kept := read_report(directory)) is not None:
            return kept
        self.built.append(order.environment)
        packages = places_of(settings).manifest(order.environment).packages
        broken = any(one.name == GUILTY and one.version == "2" for one in packages)
        result = BuildReport("fail", "broken", fingerprint="f") if broken else BuildReport("pass", "built")
        report = next(self.troubles, None) or result
        write_json(directory / REPORT, report.to_json())
        return report


@pytest.fixture
def searching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Searching:
    made = Settings(root=tmp_path, home=tmp_path / "farm", recipes=tmp_path / "recipes")
    places = places_of(made)
    ids = []
    for version in ("1", "2"):
        packages = tuple(EnvironmentPackage(f"lib{number}", version, "amd64") for number in range(8))
        manifest = Manifest("bookworm", "amd64", packages)
        manifest.write(places.manifest_path(manifest.id))
        ids.append(manifest.id)
    culprit = CulpritOrder(ids[0], "1-1", "11-19", "11-20", "f", 24, 3600.0)
    found = Searching(made, tmp_path / "search", BuildOrder(job("hello"), ids[1], culprit=culprit), culprit)
    monkeypatch.setattr("buildfarm.regress.bisecting.run_build", found.build)
    return found


@pytest.mark.parametrize("results_before", range(4))
def test_trouble_ends_a_try_of_a_search_and_the_next_one_goes_on_from_there(
    searching: Searching, results_before: int
) -> None:
    undisturbed: list[BuildReport | None] = [None] * results_before

    troubled = searching.search(*undisturbed, DISK, DISK)
    assert (troubled.outcome, troubled.culprit) == ("error", None)
    assert DISK.reason in troubled.reason
    assert len(searching.built) == results_before + 1, "the first trouble ends it"
    assert searching.search(DISK).outcome == "error", "nor is it taken for a result when it comes again"
    ended = searching.search()

    assert ended.outcome == "pass"
    assert ended.culprit is not None
    assert ended.culprit.confirmed
    assert [one.source for one in ended.culprit.suspects] == [GUILTY]
    again = searching.built[results_before : results_before + 3]
    assert len(set(again)) == 1, "the same build is asked for until it comes to a result"
    assert len(searching.built) - 2 == ended.culprit.builds, "and no other is done twice"


@pytest.mark.parametrize(
    "report",
    [
        BuildReport("error", f"{CANNOT_STAND}: libx 1 is missing"),
        BuildReport("dependency-wait", "what the dependencies resolve to cannot be installed"),
        BuildReport("fail", "fails otherwise", fingerprint="other"),
    ],
)
def test_a_mix_that_gives_no_result_by_itself_is_gone_round(searching: Searching, report: BuildReport) -> None:
    ended = searching.search(None, report)

    assert ended.outcome == "pass"
    assert ended.culprit is not None
    assert [one.source for one in ended.culprit.suspects] == [GUILTY]


def test_a_mix_that_apt_makes_another_of_is_told_in_the_words_that_a_search_knows(
    here: Here, host_series: str
) -> None:
    architecture, cache, log = native_architecture(), here.settings.cache, io.BytesIO()
    root = get_root(spec_for(here.settings, host_series, architecture), cache, log)
    with use_layers(root, (), cache, log) as plain:
        whole = plain.manifest
    without = tuple(one for one in whole.packages if one.name != "libdebhelper-perl")  # debhelper goes with it

    with (
        pytest.raises(FarmTrouble, match=f"^{CANNOT_STAND}"),
        use_exactly(root, replace(whole, packages=without), here.places.store, cache, log),
    ):
        pytest.fail("it stands")
