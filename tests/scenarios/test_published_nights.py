"""Nights on a whole farm that publish: workers build, the signer signs, and the PPA is made for it."""

import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from buildfarm.regress.model import RebuildVerdict
from buildfarm.regress.nights import open_nights
from buildfarm.regress.records import NightRules
from ppa_tools.address import parse_address
from ppa_tools.archives.upload_client import UploadClient
from tests.doubles.launchpad import LaunchpadDouble
from tests.regress.yard import Yard
from tests.scenarios.running_farm import make_farm

PPA = "local:autotest/regression-test"
NIGHT_LIMIT_S = 240
SETS = "sets:\n  yard: {packages: [hello], series: [SERIES], publish: PPA}\n"


@pytest.fixture
def farm(tmp_path, root_cache):
    running = make_farm(tmp_path, root_cache)
    yield running
    running.end()


def test_what_a_night_made_is_signed_by_the_signer_and_published(farm, tmp_path, host_series):
    sets = SETS.replace("SERIES", host_series).replace("PPA", PPA)
    (farm.root / "recipes" / "regression.yaml").write_text(sets)
    with Yard(tmp_path / "yard", host_series).served() as yard:
        yard.state("before")
        farm.up()
        nights = open_nights(farm.settings.regression_file)
        jobs = [replace(yard.job(name), publish=PPA) for name in ("steady", "taptest")]
        rules = NightRules(culprit=False)
        night = nights.open_night("yard", jobs, driver="farm", reason="a test", rules=rules)
        deadline = time.monotonic() + NIGHT_LIMIT_S
        while nights.night(night.number).ended_at is None:
            assert time.monotonic() < deadline, farm.evidence()
            time.sleep(0.2)

    found = {one.job.package: one for one in nights.rebuilds(night)}
    version = f"1.0~regression{datetime.fromtimestamp(night.started_at, UTC):%Y%m%d}"
    assert found["steady"].verdict is RebuildVerdict.STILL_PASSING
    assert found["steady"].reason.endswith(f"; published in {PPA} as {version}"), farm.evidence()
    workers = {build.kind: build.worker for build in nights.builds(found["steady"])}
    assert workers == {"first": "worker-1", "publish": "signer"}
    assert found["taptest"].verdict is RebuildVerdict.NEW_FAILURE
    assert "signer" not in {build.worker for build in nights.builds(found["taptest"])}
    client = UploadClient(farm.settings.archive_local_url)
    (row,) = client.publications(parse_address(PPA), host_series, "steady")
    assert (row["version"], row["built_on"]) == (version, [yard.architecture])


@pytest.mark.slow  # Launchpad is looked at once a minute
def test_a_night_that_launchpad_builds_ends_with_launchpads_word(farm, tmp_path, host_series):
    sets = SETS.replace("SERIES", "noble").replace("PPA", "ppa:me/regression")
    (farm.root / "recipes" / "regression.yaml").write_text(sets)
    argv = [sys.executable, "tests/archive/ftp_double.py", str(tmp_path / "ftp")]
    with (
        Yard(tmp_path / "yard", host_series).served() as yard,
        LaunchpadDouble() as launchpad,
        subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server,
    ):
        port = int(server.stdout.readline())
        with (farm.root / "farm.toml").open("a") as file:
            file.write(
                f'[launchpad]\ninstance = "{launchpad.url}/"\nupload_host = "127.0.0.1"\nupload_port = {port}\n'
            )
        launchpad.add_ppa("me/regression")
        farm.up()
        nights = open_nights(farm.settings.regression_file)
        job = replace(yard.job("steady"), series="noble", publish="ppa:me/regression")
        night = nights.open_night("yard", [job], driver="farm", reason="a test", rules=NightRules())
        taken = False
        deadline = time.monotonic() + NIGHT_LIMIT_S
        while nights.night(night.number).ended_at is None:
            assert time.monotonic() < deadline, farm.evidence()
            uploads = list((tmp_path / "ftp").glob("session-*/~me/ubuntu/regression/noble/*.changes"))
            if uploads and not taken:
                version = uploads[0].name.split("_")[1]
                launchpad.add_package("me/regression", "steady", version, series="noble")
                taken = True
            time.sleep(0.2)
        server.terminate()

    (rebuild,) = nights.rebuilds(night)
    (build,) = nights.builds(rebuild)
    assert rebuild.verdict is RebuildVerdict.STILL_PASSING
    assert (build.worker, build.attempts, build.report.facts["state"]) == ("signer", 2, "Successfully built")
    assert len(uploads) == 1
