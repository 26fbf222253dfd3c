"""Opening a night of a set: what it comes to today, put on record.

As a program (``python -m buildfarm.regress.opening SET REASON``) it opens one for the farm, and prints what came
of it as JSON: reading the indexes of a series keeps a processor busy for seconds, which the master cannot spare.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from buildfarm.build.apt_sources import read_host
from buildfarm.build.bootstrap import native_architecture
from buildfarm.errors import FarmError
from buildfarm.recipe.loading import SETS_FILE, Defaults
from buildfarm.regress.nights import Nights, open_nights
from buildfarm.regress.package_set import PackageSet
from buildfarm.regress.records import Driver, Night, NightRules
from buildfarm.regress.sets import SetBook, load_sets
from buildfarm.regress.sources import Selection, select
from buildfarm.settings import Settings, load_settings

NAMED_AT_MOST = 20


def load_farm_sets(settings: Settings) -> SetBook:
    """The sets of a farm's regression.yaml; what they leave out is as the farm's host is."""
    defaults = Defaults((read_host().codename,), (native_architecture(),))
    return load_sets(settings.recipes / SETS_FILE, defaults)


def rules_of_set(wanted: PackageSet) -> NightRules:
    """How the nights of a set go."""
    return NightRules(
        control=wanted.control,
        confirm=wanted.confirm,
        culprit=wanted.culprit,
        culprit_builds=wanted.culprit_builds,
        culprit_s=wanted.culprit_s,
        priority=wanted.priority,
        tell=wanted.tell,
        watch_tests=wanted.watch_tests,
    )


def open_selected(
    wanted: PackageSet, selection: Selection, nights: Nights, *, driver: Driver, reason: str
) -> Night:
    """Open a night of what a set came to; raises UsageError for nothing, or while one of the set goes on."""
    return nights.open_night(
        wanted.name,
        selection.require_jobs(),
        driver=driver,
        reason=reason,
        rules=rules_of_set(wanted),
        left_out=selection.left_out,
    )


def main(set_name: str, reason: str) -> dict[str, Any]:
    """Open a night of the farm's; returns what came of it, in plain values."""
    settings = load_settings()
    try:
        wanted = load_farm_sets(settings).find(set_name)
        nights = open_nights(settings.regression_file)
        selection = select(wanted, settings)
        night = open_selected(wanted, selection, nights, driver="farm", reason=reason)
    except FarmError as error:
        return {"error": str(error)}
    named = [str(one) for one in selection.left_out[:NAMED_AT_MOST]]
    if len(selection.left_out) > NAMED_AT_MOST:
        named.append(f"and {len(selection.left_out) - NAMED_AT_MOST} more")
    return {"night": night.number, "rebuilds": len(nights.rebuilds(night)), "left_out": named}


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout)
