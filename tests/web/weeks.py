"""Some weeks of nights, and the pages of them over HTTP: the real resource in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from buildfarm.regress.model import BuildReport, Culprit, Suspect
from tests.web.populated import HOSTILE, HOSTILE_LINE, Population, failed, passed

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Web:
    """A reader of the pages."""

    url: str

    def get(self, path: str = "", status: int = 200, **headers: str) -> requests.Response:
        answer = requests.get(
            self.url + path,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            timeout=60,
            allow_redirects=False,
        )
        assert answer.status_code == status, f"{path}: {answer.status_code}\n{answer.text[:2000]}"
        return answer


@contextmanager
def serving(population: Population, below: str = "") -> Iterator[Web]:
    """The pages of a population; ``below`` is a path that they stand under."""
    words = [sys.executable, "-m", "tests.web.server", str(population.root), below]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            yield Web(f"http://127.0.0.1:{port}/{below}rebuilds/")
        finally:
            server.terminate()


@dataclass
class Weeks:
    """What the record has, by the names that tests call it."""

    population: Population
    broken: int  # the build that libvirt's new failure was settled with
    passing: int  # the pass before it
    hostile: int  # a failed build of a package that means harm
    flaky: int


def fill(population: Population) -> Weeks:
    """Seventeen nights: libvirt and curl break with libfoo 1.3, grep is fixed, vim waits, one means harm."""
    before = population.environment(libfoo1="1.2", gcc="12.2", zlib="1.2.13")
    after = population.environment(libfoo1="1.3", gcc="12.3", zlib="1.2.13", libbar="3.0")
    names = ("hello", "libvirt", "curl", "grep", "vim", "nano", HOSTILE)
    hostile = failed(
        "bad0bad0bad0bad0",
        environment=after,
        stage=f"build{HOSTILE}",
        first_error=(HOSTILE_LINE,),
        failing_tests=(f"t/{HOSTILE}.t",),
        cause=f"{HOSTILE} {{{{ 7 * 7 }}}}",
        details=HOSTILE_LINE,
        assumed=(HOSTILE,),
        facts={HOSTILE: HOSTILE_LINE},
        culprit=Culprit(HOSTILE, (Suspect(HOSTILE, HOSTILE, HOSTILE),)),
    )
    for number in range(1, 18):
        environment = before if number < 10 else after
        fails: dict[str, BuildReport] = {}
        if number >= 10:
            fails |= {name: failed(environment=after) for name in ("libvirt", "curl")}
        if number in (15, 16):
            fails["grep"] = failed("9ee9ee9ee9ee9ee9", environment=environment, cause="big-match fails")
        if number in (16, 17):
            fails[HOSTILE] = hostile
        if number == 17:
            fails["vim"] = BuildReport(
                "dependency-wait", "libgpm-dev (>= 1.21) is not installable", "", "install-deps"
            )
        version = "1.2-2" if number == 17 else "1.2-1"
        population.night(*names, fails=fails, passes=passed(number, "hello", environment), version=version)
        if number == 12:  # one that fails the first time, and passes the second
            population.begin("valgrind", of="tools")
            first = population.due()[0]
            population.do(*first, {"valgrind": failed("f1a4f1a4f1a4f1a4", environment=environment)})
            while found := population.due():
                population.do(*found[0], {}, passed(number, "valgrind", environment))
            population.nights.end_nights()
    population.nights.set_label("f00dfeed00000001", "libfoo dropped foo_open", "https://bugs.example.org/1")
    population.nights.set_label("bad0bad0bad0bad0", HOSTILE, "https://bugs.example.org/?q=<script>")
    population.nights.take_out("worker-2", f"the control package failed on it: {HOSTILE}")
    nights = population.nights

    def decided(package: str, verdict: str) -> int:
        found = (
            one.decided_by
            for night in nights.recent_nights(30)
            for one in nights.rebuilds(night)
            if one.job.package == package and one.verdict == verdict
        )
        return next(one for one in found if one is not None)

    return Weeks(
        population,
        broken=decided("libvirt", "new failure"),
        passing=decided("libvirt", "still passing"),
        hostile=decided(HOSTILE, "still failing"),
        flaky=decided("valgrind", "flaky"),
    )
