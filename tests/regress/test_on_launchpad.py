"""Rebuilds that Launchpad does: uploaded over FTP, asked after over its API, judged by its word and its log."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from buildfarm.build.building import box
from buildfarm.keys import ensure_upload_key, public_key
from buildfarm.regress.bisecting import carry_out
from buildfarm.regress.model import LOOK_AGAIN_S, BuildReport, RebuildVerdict
from buildfarm.regress.nights import Build, Night
from buildfarm.regress.on_launchpad import BUILT_LIMIT_S, TAKEN_LIMIT_S, build_on_launchpad
from buildfarm.regress.orders import BuildOrder, order_for
from buildfarm.regress.places import places_of
from buildfarm.regress.records import NightRules
from buildfarm.regress.tidying import ASKED_S, tidy
from buildfarm.settings import LaunchpadSettings, Settings
from ppa_tools import openpgp
from tests.doubles.launchpad import LaunchpadDouble
from tests.regress.rounds import Farm
from tests.regress.yard import Yard

ROOT = Path(__file__).parents[2]
PPA, SERIES, VERSION = "me/regression", "noble", "1.0~regression20251129"
FAILED = (
    box("Build")
    + "cc -c main.c\nmain.c:3:5: error: unknown type name 'frob_t'\nmake: *** [debian/rules:7: stamp] Error 1\n"
    + "dpkg-buildpackage: error: debian/rules binary subprocess returned exit status 2\n"
    + box("Summary")
    + "Fail-Stage: build\nPackage: steady\nStatus: attempted\nVersion: 1.0~regression20251129\n"
)


@dataclass
class Launchpad:
    """A farm that has nights of one package built by Launchpad: its double, its FTP server, and the looks."""

    double: LaunchpadDouble
    received: Path
    settings: Settings
    farm: Farm
    yard: Yard

    def begin(self, *architectures: str, **rules: object) -> Night:
        jobs = [
            replace(self.yard.job("steady"), series=SERIES, architecture=one, publish=f"ppa:{PPA}")
            for one in architectures or ("amd64",)
        ]
        return self.farm.nights.open_night(
            "nightly",
            jobs,
            driver="farm",
            reason="its time",
            rules=NightRules(**rules),  # type: ignore[arg-type]
        )

    def order(self) -> tuple[Build, BuildOrder]:
        night, rebuild, build = self.farm.due()[0]
        started = self.farm.nights.start(build, "signer")
        return started, order_for(self.farm.nights, night, rebuild, started)

    def look(self) -> BuildReport:
        """The next look, as the signing worker takes it; its report goes on record."""
        build, order = self.order()
        directory = places_of(self.settings).build(build.id)
        if build.tries:
            (directory / "report.json").unlink(missing_ok=True)
        report = carry_out(order, directory, self.settings)
        self.farm.nights.end(build, report, "signer")
        return report

    def taken(self, state: str = "Needs building", **told: object) -> None:
        """Launchpad takes the upload."""
        self.double.add_package(PPA, "steady", VERSION, series=SERIES, builds={"amd64": "Needs building"})
        self.comes_to(state, **told)

    def comes_to(self, state: str, **told: object) -> None:
        self.double.set_build(PPA, "steady", VERSION, "amd64", state, series=SERIES, **told)  # type: ignore[arg-type]

    def uploads(self) -> list[Path]:
        return sorted(self.received.glob(f"session-*/~me/ubuntu/regression/{SERIES}/*.changes"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("keys")
    ensure_upload_key(Settings(home, home, home / "recipes"), "rsa4096")
    return home / "keys"


@pytest.fixture(scope="module")
def running() -> Iterator[LaunchpadDouble]:
    with LaunchpadDouble() as one:
        yield one


@pytest.fixture
def launchpad(running: LaunchpadDouble, keys: Path, yard: Yard, tmp_path: Path) -> Iterator[Launchpad]:
    running.reset()
    running.add_ppa(PPA)
    running.token("me").save(tmp_path / "credentials")
    argv = [sys.executable, str(ROOT / "tests/archive/ftp_double.py"), str(tmp_path / "ftp")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        home = tmp_path / "farm"
        home.mkdir()
        (home / "keys").symlink_to(keys)
        there = LaunchpadSettings("127.0.0.1", port, f"{running.url}/", "credentials")
        settings = Settings(tmp_path, home, tmp_path / "recipes", launchpad=there)
        yield Launchpad(running, tmp_path / "ftp", settings, Farm(tmp_path), yard)
        server.terminate()


def test_a_source_is_uploaded_signed_and_once(launchpad: Launchpad) -> None:
    launchpad.begin("amd64", "arm64")

    said = [launchpad.look() for _ in range(4)]

    assert [one.reason for one in said[:1]] == [f"{VERSION} is uploaded to ppa:{PPA}"]
    assert {one.reason for one in said[1:]} == {f"ppa:{PPA} has not taken {VERSION} yet"}
    assert all(LOOK_AGAIN_S in one.facts for one in said)
    (changes,) = launchpad.uploads()
    signed = openpgp.verify_clearsigned(changes.read_bytes(), public_key(launchpad.settings, "rsa4096"))
    assert f"\nVersion: {VERSION}\n" in signed.payload.decode()
    assert f"\nDistribution: {SERIES}\n" in signed.payload.decode()
    assert {path.name for path in changes.parent.iterdir()} == {
        f"steady_{VERSION}.dsc",
        f"steady_{VERSION}.tar.gz",
        f"steady_{VERSION}_source.buildinfo",
        f"steady_{VERSION}_source.changes",
    }


def test_a_pass_is_launchpads_and_needs_no_further_publication(launchpad: Launchpad) -> None:
    night = launchpad.begin()
    launchpad.look()
    launchpad.taken()
    assert launchpad.look().reason == "Launchpad: Needs building"
    launchpad.comes_to("Currently building")
    assert launchpad.look().reason == "Launchpad: Currently building"
    launchpad.comes_to("Successfully built", duration_s=42.0)

    report = launchpad.look()

    assert (report.outcome, report.total_s) == ("pass", pytest.approx(42.0, abs=1.0))
    assert "/+build/" in report.facts["page"]
    (rebuild,) = launchpad.farm.nights.rebuilds(night)
    assert rebuild.verdict is RebuildVerdict.STILL_PASSING
    assert [one.kind for one in launchpad.farm.nights.builds(rebuild)] == ["first"]


def test_a_failure_is_built_again_by_launchpad_and_read_from_its_log(launchpad: Launchpad) -> None:
    night = launchpad.begin()
    launchpad.look()
    launchpad.taken("Failed to build", log=FAILED, duration_s=10.0)

    first = launchpad.look()

    assert (first.outcome, first.stage) == ("fail", "build")
    assert "unknown type name" in "\n".join(first.first_error)
    assert first.fingerprint
    assert (places_of(launchpad.settings).build(1) / first.log).stat().st_size > 0
    assert launchpad.look().reason == "Launchpad was asked to build it again"
    assert [one["op"] for one in launchpad.double.requests() if one["method"] == "POST"] == ["retry"]
    assert launchpad.look().reason == "Launchpad: Needs building", "it is asked once"
    launchpad.comes_to("Failed to build", log=FAILED)
    launchpad.look()
    (rebuild,) = launchpad.farm.nights.rebuilds(night)
    assert rebuild.verdict is RebuildVerdict.NEW_FAILURE
    assert rebuild.reason == "failed twice on Launchpad; assumed: its builders are sound"
    assert rebuild.culprit is not None
    assert "Launchpad does not tell" in rebuild.culprit.words
    assert [one.kind for one in launchpad.farm.nights.builds(rebuild)] == ["first", "again"]
    assert len(launchpad.uploads()) == 1


def test_what_passes_the_second_time_is_flaky(launchpad: Launchpad) -> None:
    night = launchpad.begin()
    launchpad.look()
    launchpad.taken("Failed to build", log=FAILED)
    launchpad.look()
    launchpad.look()
    launchpad.comes_to("Successfully built")
    launchpad.look()

    assert launchpad.farm.verdicts(night) == {"steady": "flaky"}


def test_missing_dependencies_are_named(launchpad: Launchpad) -> None:
    night = launchpad.begin()
    launchpad.look()
    launchpad.taken("Dependency wait", missing="libfrob-dev (>= 2)")

    report = launchpad.look()

    assert (report.outcome, report.reason) == (
        "dependency-wait",
        "Launchpad: Dependency wait for libfrob-dev (>= 2)",
    )
    assert launchpad.farm.verdicts(night) == {"steady": "dependency wait"}


def test_launchpads_own_trouble_is_tried_again_there_and_is_not_the_packages(launchpad: Launchpad) -> None:
    night = launchpad.begin()
    launchpad.look()
    launchpad.taken("Chroot problem")
    for _ in range(4):
        assert launchpad.look().reason == "Launchpad: Chroot problem"
        if launchpad.farm.due():
            assert launchpad.look().reason == "Launchpad was asked to build it again"
            launchpad.comes_to("Chroot problem")

    assert launchpad.farm.verdicts(night) == {"steady": "infrastructure"}
    assert launchpad.farm.nights.rebuilds(night)[0].reason.endswith("Launchpad: Chroot problem")


def test_without_credentials_it_is_said_that_nothing_was_built_again(launchpad: Launchpad) -> None:
    launchpad.begin()
    launchpad.look()
    launchpad.taken("Failed to build", log=FAILED)
    launchpad.look()
    without = replace(launchpad.settings.launchpad, credentials_file="")
    launchpad.settings = replace(launchpad.settings, launchpad=without)

    report = launchpad.look()

    assert report.outcome == "error"
    assert "no credentials" in report.reason


def test_an_upload_that_is_never_taken_and_a_build_that_never_ends_are_given_up(launchpad: Launchpad) -> None:
    launchpad.begin()
    launchpad.look()
    build, order = launchpad.order()
    directory = places_of(launchpad.settings).build(build.id)
    assert order.on_launchpad is not None

    def later(seconds: float) -> BuildReport:
        (directory / "report.json").unlink(missing_ok=True)
        assert order.on_launchpad is not None
        return build_on_launchpad(
            order, order.on_launchpad, directory, launchpad.settings, clock=lambda: time.time() + seconds
        )

    never = later(TAKEN_LIMIT_S + 60)
    launchpad.taken("Currently building")
    long = later(BUILT_LIMIT_S + 60)

    assert never.reason == f"ppa:{PPA} has not taken {VERSION} in 2 hours"
    assert "by mail" in never.details
    assert long.reason == f"ppa:{PPA} has not built it in 24 hours: Currently building"


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 503}, {"kind": "garbage"}])
def test_a_launchpad_in_trouble_is_asked_again_later(launchpad: Launchpad, fault: dict[str, object]) -> None:
    night = launchpad.begin()
    launchpad.look()
    launchpad.taken("Successfully built")
    launchpad.double.fault(**fault, times=0)  # type: ignore[arg-type]

    assert LOOK_AGAIN_S in launchpad.look().facts

    launchpad.double.clear_faults()
    launchpad.look()
    assert launchpad.farm.verdicts(night) == {"steady": "still passing"}


def test_a_launchpad_that_is_gone_ends_as_trouble(launchpad: Launchpad) -> None:
    night = launchpad.begin()
    launchpad.settings = replace(
        launchpad.settings,
        launchpad=replace(launchpad.settings.launchpad, instance="http://127.0.0.1:9/", upload_port=9),
    )

    for _ in range(4):
        assert "127.0.0.1:9 cannot be reached" in launchpad.look().reason

    assert launchpad.farm.verdicts(night) == {"steady": "infrastructure"}


def test_what_was_asked_of_launchpad_goes_when_its_night_is_long_over(launchpad: Launchpad) -> None:
    launchpad.begin()
    launchpad.look()
    asked = places_of(launchpad.settings).asked_of_launchpad

    tidy(launchpad.settings, launchpad.farm.nights, time.time())
    assert list(asked.glob("*.json"))
    tidy(launchpad.settings, launchpad.farm.nights, time.time() + ASKED_S + 60)
    assert not list(asked.glob("*.json"))


def test_an_upload_that_was_cut_off_is_done_again(launchpad: Launchpad) -> None:
    launchpad.begin()
    good = launchpad.settings
    launchpad.settings = replace(good, launchpad=replace(good.launchpad, upload_port=9))
    assert "cannot be reached" in launchpad.look().reason
    launchpad.settings = good

    assert launchpad.look().reason == f"{VERSION} is uploaded to ppa:{PPA}"
    assert "has not taken" in launchpad.look().reason
    assert len(launchpad.uploads()) == 1


def test_a_cancelled_night_is_not_looked_at_again(launchpad: Launchpad) -> None:
    night = launchpad.begin()
    launchpad.look()
    build, order = launchpad.order()
    launchpad.farm.nights.cancel(night)

    report = carry_out(order, places_of(launchpad.settings).build(build.id), launchpad.settings)
    launchpad.farm.nights.end(build, report, "signer")

    assert not launchpad.farm.nights.due("farm")
    assert launchpad.farm.nights.build(build.id).state == "done"  # type: ignore[union-attr]
