"""The verbs of the pipeline, one module each, in the order they run.

A stage module has ``run(context: StageContext) -> Outcome``. It raises PackageFault for what the package did
wrong and FarmTrouble for what the farm could not do; everything else that escapes is the farm's own trouble.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from buildfarm.job import Job


@dataclass(frozen=True)
class Stage:
    """A stage's name, what it is run for (once, per series, per series and architecture), and its work.

    ``reads_tree``: it works on the trunk's content itself, and has to run again when that was edited.
    """

    name: str
    per: Literal["run", "series", "build"]
    summary: str
    reads_tree: bool = False


STAGES = (
    Stage("checkout", "run", "take the trunk's content at the revision"),
    Stage("lint", "run", "pylint over the recipe's targets", reads_tree=True),
    Stage("unittest", "run", "the unit tests, with coverage where asked", reads_tree=True),
    Stage("tarball", "run", "the version, and the upstream tarball all series share", reads_tree=True),
    Stage("source", "series", "the Debian source package", reads_tree=True),
    Stage("sign", "series", "check and sign the source package"),
    Stage("upload", "series", "send the source package to the archive"),
    Stage("build", "build", "binaries in a clean environment"),
    Stage("publish", "build", "hand the binaries to the archive"),
    Stage("boot", "build", "install the packages in a machine of their own"),
    Stage("autopkgtest", "build", "the source's own tests of the installed packages"),
    Stage("suite", "build", "the recipe's test suite, in provisioned machines", reads_tree=True),
    Stage("firstboot", "build", "let the packages make a machine image, and boot it", reads_tree=True),
    Stage("promote", "series", "copy what was verified to the next archive"),
)

BY_NAME = {stage.name: stage for stage in STAGES}

VERIFYING = ("boot", "autopkgtest", "suite", "firstboot")


def is_asked_for(job: Job, stage: str) -> bool:
    """Whether the job has the stage at all; those that every run has say themselves what they skip."""
    asked = {
        "boot": job.boot is not None,
        "autopkgtest": job.autopkgtest is not None,
        "suite": job.suite is not None,
        "firstboot": job.firstboot is not None,
        "promote": bool(job.promote),
    }
    return asked.get(stage, True)
