"""A real regression, found for real: a package of Debian 12 in the environment of Debian 13.

logtool calls a function that it does not declare. Since dpkg 1.22 its build flags make that an error, and gcc 14
does so by itself. Some hundred source packages differ between the two environments, tied to each other by their
relations.
"""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from buildfarm.build.apt_sources import read_host
from buildfarm.regress.bisecting import search
from buildfarm.regress.model import ExtraSources
from buildfarm.regress.one_build import run_build
from buildfarm.regress.orders import BuildOrder, CulpritOrder
from buildfarm.regress.sets import ad_hoc_set
from buildfarm.regress.sources import select
from tests.regress.conftest import Here

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
TRIXIE = "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: trixie\nComponents: main\n"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(read_host().codename != "bookworm", reason="the regression is between bookworm and trixie")
def test_the_update_that_broke_a_package_is_named_among_a_hundred(here: Here) -> None:
    keys = subprocess.run(
        ["gpg", "--no-default-keyring", "--keyring", KEYRING, "--armor", "--export"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    job = select(ad_hoc_set(["logtool"], ["bookworm"], ["amd64"]), here.settings).require_jobs()[0]
    later = replace(job, extra=(ExtraSources(TRIXIE, keys),))
    passed = run_build(BuildOrder(job), here.places.build(1), here.settings)
    failed = run_build(BuildOrder(later), here.places.build(2), here.settings)
    assert (passed.outcome, failed.outcome) == ("pass", "fail")
    assert "implicit declaration of function" in failed.reason

    wanted = CulpritOrder(
        before=passed.environment,
        passed_version=job.version,
        passed="2026-11-26",
        since="2026-11-27",
        fingerprint=failed.fingerprint,
        builds=24,
        duration_s=3000.0,
    )
    order = BuildOrder(job, failed.environment, culprit=wanted)
    found = search(order, wanted, here.places.build(3), here.settings).culprit

    assert found is not None
    assert found.changed > 80
    assert found.confirmed, found.words
    assert {"dpkg", "gcc-defaults"} & {one.source for one in found.suspects}, found.words
    assert len(found.suspects) <= 3
