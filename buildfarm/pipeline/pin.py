"""Fixing what a run is made of: the revisions of nested branches, when the run goes on record.

One commit, one version, the same bytes: what a stage done again later would find on a nested branch must not
differ from what the first attempt found.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from buildfarm.job import Job
from buildfarm.trunk import open_trunk


def pin_parts(job: Job, cache: Path) -> Job:
    """The job with every nested or merged branch at an exact revision; raises FarmTrouble for one out of reach."""
    parts = tuple(
        replace(part, revision=open_trunk(part.branch, cache).resolve(part.revision)) for part in job.parts
    )
    return replace(job, parts=parts)
