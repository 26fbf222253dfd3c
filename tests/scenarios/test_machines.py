"""A commit's package in a machine of its own: what works is promoted, what breaks at its installation is not."""

import gzip
import urllib.error
import urllib.request

from running_farm import RULES, tiny_package

from buildfarm.recipe.host import host_architecture
from buildfarm.verdict import Verdict

BROKEN = RULES.replace(
    "\tdpkg-gencontrol",
    "\tprintf '#!/bin/sh\\necho no such luck >&2\\nexit 7\\n' >debian/tmp/DEBIAN/postinst\n"
    "\tchmod 755 debian/tmp/DEBIAN/postinst\n\tdpkg-gencontrol",
)


def in_stable(farm, series):
    index = f"dists/{series}/main/binary-{host_architecture()}/Packages.gz"
    try:
        with urllib.request.urlopen(f"{farm.settings.archive_url}/test/stable/{index}", timeout=30) as answer:
            return gzip.decompress(answer.read()).decode()
    except urllib.error.HTTPError:
        return ""


def test_what_installs_in_a_machine_is_promoted_and_what_breaks_there_is_not(farm, host_series):
    farm.recipe("tiny", boot={"commands": ["tiny"]}, promote="local:test/stable")
    trunk = farm.trunk("tiny")
    farm.up()
    run = farm.await_run("tiny", trunk.commit(tiny_package(), "Works"))
    assert run.verdict is Verdict.PASS, farm.stages(run)
    result = farm.history.stage_result(run, "boot", f"{host_series}-{host_architecture()}")
    assert list(result.facts["phases"]) == ["booted", "installed", "tested"]
    promoted = in_stable(farm, host_series)
    assert f"Version: {result.facts['version']}\n" in promoted

    broken = farm.await_run(
        "tiny", trunk.commit({"debian/rules": BROKEN.format(name="tiny")}, "Breaks when it is installed")
    )
    assert broken.verdict is Verdict.FAIL, farm.stages(broken)
    verdict, reason = farm.stages(broken)[f"boot {host_series}-{host_architecture()}"]
    assert verdict == "fail"
    assert "install: tiny cannot be installed: tiny: its post-installation script" in reason
    assert "no such luck" in farm.history.stage_result(broken, "boot", result.target).details
    assert not [stage for stage in farm.stages(broken) if stage.startswith("promote")]
    assert in_stable(farm, host_series) == promoted
