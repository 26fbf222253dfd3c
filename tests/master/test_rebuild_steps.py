"""What the master allows a build of a night."""

from __future__ import annotations

from dataclasses import replace

from buildfarm.build.limits import BuildLimits
from buildfarm.master.rebuild_steps import build_limit_s
from buildfarm.regress.orders import BuildOrder, CulpritOrder
from tests.regress.rounds import job

HOUR_S = 3600


def test_a_build_that_is_done_once_more_on_disk_ends_before_the_master_ends_it() -> None:
    hello = replace(job("hello"), limits=BuildLimits(timeout_s=4 * HOUR_S))
    culprit = CulpritOrder("e1", "1-1", "11-19", "11-20", "f", 24, 2.0 * HOUR_S)

    assert build_limit_s(BuildOrder(hello)) == (2 * 4 + 1) * HOUR_S
    assert build_limit_s(BuildOrder(hello, culprit=culprit)) == (2 + 2 * 4 + 1) * HOUR_S
