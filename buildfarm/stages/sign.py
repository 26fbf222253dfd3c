"""The sign stage: check that a source package is what the source stage made of this job, then sign it.

It runs on the signing worker, which has the key and runs nothing else.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from buildfarm.errors import FarmTrouble
from buildfarm.keys import algorithm_for, signing_key
from buildfarm.source import VERSION_FILE, read_version
from buildfarm.source.check import Expected, check_package, sign_package, take_copies
from buildfarm.source.package import installed_tools
from buildfarm.stages.runner import StageContext
from buildfarm.verdict import Outcome, StageResult, Verdict
from ppa_tools.openpgp import clearsign

# What the master heard from the source stage over its own channel; the workspace may have other writers.
EXPECTED_CHANGES = "BUILDFARM_EXPECT_CHANGES_SHA256"


def run(context: StageContext) -> Outcome:
    """Copy, check, sign; the package leaves its private directory only when all of it is signed."""
    made = _source_result(context)
    expected = _expect(context, os.environ.get(EXPECTED_CHANGES, ""))
    directory = context.workspace.directory("source", context.series)
    with tempfile.TemporaryDirectory(prefix=".unsigned-", dir=context.out) as name:
        copies = Path(name)
        names = take_copies(directory, made.outputs, ("result.json", "log"), copies)
        package = check_package(copies, names, expected)
        with signing_key(context.settings, algorithm_for(context.job.archive)) as key:
            sign_package(package, lambda text: clearsign(context.settings.keys, [key.fingerprint], text))
        for file in package.files:
            (copies / file).rename(context.out / file)
    return Outcome(
        Verdict.PASS,
        f"{expected.source} {expected.version} signed by {key.fingerprint}",
        inputs=(VERSION_FILE, *(ref.path for ref in made.outputs)),
        outputs=tuple(context.workspace.relative(context.out / file) for file in package.files),
        tools=installed_tools("gpg", "gpg-agent").versions,
        assumed=() if expected.changes_sha256 else ("nobody but the workspace vouches for the .changes file",),
        facts={
            "fingerprint": key.fingerprint,
            "changes": context.workspace.relative(context.out / package.changes),
            "version": expected.version,
            "source": expected.source,
        },
    )


def _source_result(context: StageContext) -> StageResult:
    result = context.workspace.read_result("source", context.series)
    if result is None or result.verdict is not Verdict.PASS:
        raise FarmTrouble(
            f"not signed: the source stage has not passed for {context.series}",
            where=f"source/{context.series}/result.json",
            resolution="Run the source stage in this workspace first.",
        )
    return result


def _expect(context: StageContext, changes_sha256: str) -> Expected:
    info = read_version(context.workspace)
    if context.series not in context.job.series or context.series not in info.versions:
        raise FarmTrouble(f"not signed: the job is not for {context.series}", where="job.json")
    return Expected(info.source, info.versions[context.series], context.series, changes_sha256)
