"""Packages of the same archive that depend on what is tested: their tests, now and with the version before."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from buildfarm.errors import FarmTrouble
from buildfarm.verdict import Verdict
from buildfarm.verify.autopkgtest import Judgement, RunEnd, TestEnd
from buildfarm.verify.autopkgtest_bench import PROXY, Bench, overlay
from buildfarm.verify.autopkgtest_run import Tested, run_autopkgtest
from ppa_tools.apt.fetching import Fetcher
from ppa_tools.apt.indexes import Reader
from ppa_tools.apt.relations import parse_relations
from ppa_tools.apt.repositories import Repository
from ppa_tools.apt.stanzas import BinaryPackage, IndexDamaged, scan_packages
from ppa_tools.archives.door import DoorError
from ppa_tools.debversion import version_key

DEPENDENTS_LIMIT = 20
API_TIMEOUT_S = 30
API_LIMIT_BYTES = 4 << 20
FAILED = (4, 6, 12, 14)
NOTHING = 8


@dataclass(frozen=True)
class Dependent:
    """Another source, and what its tests say: ``broken`` by this change, or failing ``already`` without it."""

    source: str
    verdict: str
    told: str


def find_dependents(packages: Iterable[BinaryPackage], source: str, tested: Iterable[str]) -> tuple[str, ...]:
    """The other sources a binary of which depends on one of the ``tested``, by name; first alternatives count."""
    wanted = set(tested)
    found = set()
    for one in packages:
        clauses = (*parse_relations(one.pre_depends), *parse_relations(one.depends))
        if one.source != source and any(clause[0].name in wanted for clause in clauses):
            found.add(one.source)
    return tuple(sorted(found))


def find_before(publications: Sequence[Any], version: str, architecture: str) -> dict[str, str]:
    """The binaries of the version published before ``version``, name to version; {} when there was none."""
    older = [
        one
        for one in publications
        if isinstance(one, dict) and one.get("published_at") and version_key(one["version"]) < version_key(version)
    ]
    if not older:
        return {}
    last = max(older, key=lambda one: version_key(one["version"]))
    return {
        binary["package"]: binary["version"]
        for binary in last["binaries"]
        if binary["index"] == architecture and "-dbgsym" not in binary["package"]
    }


def run_dependents(bench: Bench, layers: Sequence[Path], archive: str) -> list[Dependent]:
    """Run the tests of what depends on the tested source; ``archive`` is the archive's URL as the farm reaches it.

    Only overlays are used: tests that need a machine are passed over. Raises NotThere and FarmTrouble.
    """
    packages = _read_packages(bench, archive)
    names = find_dependents(packages, bench.tested.name, bench.tested.packages)
    if len(names) > DEPENDENTS_LIMIT:
        bench.assumed.append(
            f"{len(names) - DEPENDENTS_LIMIT} more sources depend on this one and were not tested"
        )
    chosen = names[:DEPENDENTS_LIMIT]
    if not chosen:
        return []
    ends = _run_tests(bench, layers, bench.tested, chosen, "dependents")
    failed = [name for name in chosen if ends[name].status in FAILED or ends[name].stopped]
    before = _tested_before(bench, archive, packages) if failed else None
    baseline = _run_tests(bench, layers, before, failed, "dependents-before") if before else {}
    return [_compare(name, ends[name], baseline.get(name)) for name in chosen]


def with_dependents(judgement: Judgement, dependents: Sequence[Dependent]) -> Judgement:
    """The verdict with that of what depends on it: only what this change broke counts."""
    broken = [one for one in dependents if one.verdict == "broken"]
    if not dependents:
        return judgement
    if broken and judgement.verdict is not Verdict.FAIL:
        named = "; ".join(f"{one.source}: {one.told}" for one in broken[:3])
        return Judgement(Verdict.FAIL, f"it breaks the tests of {len(broken)} that depend on it: {named}")
    counts = Counter(one.verdict for one in dependents)
    words = {
        "pass": "pass",
        "broken": "broken by it",
        "already": "fail already",
        "error": "not told",
    }
    told = ", ".join(f"{counts[name]} {word}" for name, word in words.items() if counts[name])
    verdict = Verdict.PASS if judgement.verdict is Verdict.SKIPPED and counts["pass"] else judgement.verdict
    return Judgement(verdict, f"{judgement.reason}; of those that depend on it: {told or 'none has tests'}")


def _compare(name: str, end: RunEnd, before: RunEnd | None) -> Dependent:
    if end.status == NOTHING:
        return Dependent(name, "skipped", "no tests")
    if not end.stopped and end.status in (0, 2):
        return Dependent(name, "pass", f"{sum(test.result == 'pass' for test in end.tests)} passed")
    if not end.stopped and end.status not in FAILED:
        return Dependent(name, "error", end.message or f"autopkgtest exited {end.status}")
    failed = [test for test in end.tests if test.result == "fail"]
    told = "; ".join(f"{test.name}: {test.reason}" for test in failed[:3]) or end.message or "stopped"
    if before is None:
        return Dependent(name, "already", f"{told}; there is no version before to compare with")
    if broken := newly_failed(end.tests, before):
        return Dependent(name, "broken", "; ".join(f"{test.name}: {test.reason}" for test in broken[:3]))
    return Dependent(name, "already", f"{told}; fails already without this change")


def newly_failed(tests: Sequence[TestEnd], before: RunEnd) -> list[TestEnd]:
    """The failed tests that passed with the version before."""
    passed = {test.name for test in before.tests if test.result == "pass"}
    return [test for test in tests if test.result == "fail" and test.name in passed]


def _run_tests(
    bench: Bench, layers: Sequence[Path], tested: Tested, names: Sequence[str], out: str
) -> dict[str, RunEnd]:
    ends = {}
    with overlay(bench, tested) as testbed:
        for name in names:
            bench.say(f"the tests of {name}, which depends on {tested.name} {tested.version}")
            testbed.broken = ""
            order = replace(bench.order(PROXY, f"{out}/{name}"), dependent=name)
            order.out.parent.mkdir(parents=True, exist_ok=True)
            ends[name] = run_autopkgtest(tested, testbed, layers, order)
    return ends


def _read_packages(bench: Bench, archive: str) -> list[BinaryPackage]:
    reader = Reader(Fetcher(bench.cache / "indexes"))
    try:
        release = reader.read_release(Repository(archive, bench.series))
        path = f"main/binary-{bench.architecture}/Packages"
        return scan_packages(reader.read_text(release, path), path)
    except (DoorError, IndexDamaged) as error:
        raise FarmTrouble(
            f"the archive's index cannot be read: {error}", resolution="It is tried again."
        ) from error


def _tested_before(bench: Bench, archive: str, packages: Sequence[BinaryPackage]) -> Tested | None:
    """The version before, as something to test with: its files are still in the pool beside ours."""
    tested = bench.tested
    base, owner, name = archive.rsplit("/", 2)
    query = urllib.parse.urlencode({"source": tested.name, "series": bench.series})
    before = find_before(
        _ask(f"{base}/api/{owner}/{name}/publications?{query}"), tested.version, bench.architecture
    )
    pools = {one.package: one for one in packages if one.source == tested.name}
    public = re.search(r"^URIs: (\S+)", tested.sources, re.MULTILINE)
    if not before or public is None or not before.keys() <= pools.keys():
        return None
    urls = []
    for package, version in before.items():
        one = pools[package]
        file = f"{package}_{version.partition(':')[2] or version}_{one.architecture}.deb"
        urls.append(f"{public[1].rstrip('/')}/{one.file_name.rpartition('/')[0]}/{file}")
    return replace(tested, version=next(iter(before.values())), packages=before, before=tuple(urls))


def _ask(url: str) -> list[Any]:
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=API_TIMEOUT_S) as reply:
            found = json.loads(reply.read(API_LIMIT_BYTES))["publications"]
    except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
        raise FarmTrouble(f"{url} cannot be read: {error}", resolution="It is tried again.") from error
    return list(found)
