"""The directory of one run: where each stage finds what came before and leaves what it made.

job.json                          what was asked
tree/                             the trunk's content at the revision, without version control's own files
checkout/revision.json            who, when, which number: see ``RevisionInfo`` in buildfarm.trunk
lint/  unittest/                  reports
tarball/version.json              the versions, see ``VersionInfo`` in buildfarm.source
tarball/NAME_UPSTREAM.orig.tar.xz
source/SERIES/                    .dsc, tarballs, _source.buildinfo, _source.changes, unsigned
signed/SERIES/                    the same, signed
upload/SERIES/                    receipt.json
build/SERIES-ARCH/                .deb, .buildinfo, .changes, build.log
publish/SERIES-ARCH/              receipt.json
<stage>[/<target>]/result.json    the stage's verdict
<stage>[/<target>]/log            what it printed
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import FarmTrouble
from buildfarm.files import read_json, write_json
from buildfarm.job import Job
from buildfarm.secrets_store import ensure_secret
from buildfarm.verdict import StageResult

RUNS_MARK_VARIABLE = "BUILDFARM_RUNS_MARK"
RUNS_MARK = ".mark"


def ensure_runs_mark(runs: Path) -> str:
    """What tells this farm's ``runs/`` from any other: a worker that sees another one does not share it."""
    runs.mkdir(parents=True, exist_ok=True)
    return ensure_secret(runs / RUNS_MARK)


def check_runs_mark(runs: Path, wanted: str) -> None:
    """Raise FarmTrouble where ``runs/`` is not the one that the master uses."""
    try:
        found = (runs / RUNS_MARK).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        found = ""
    if found != wanted:
        raise FarmTrouble(
            "this machine does not share the farm's runs/",
            where=str(runs),
            resolution="Mount the master's there, for the same user; see docs/how-to/latent-workers.md.",
        )


@dataclass(frozen=True)
class Workspace:
    """One run's directory."""

    path: Path

    @property
    def tree(self) -> Path:
        """The trunk's content."""
        return self.path / "tree"

    def directory(self, stage: str, target: str = "") -> Path:
        """Where a stage leaves what it makes; ``target`` is "" or a series or SERIES-ARCH."""
        name = "signed" if stage == "sign" else stage
        return self.path / name / target if target else self.path / name

    def relative(self, path: Path) -> str:
        """A path below the workspace, relative to it."""
        return path.relative_to(self.path).as_posix()

    def read_job(self) -> Job:
        """The job; raises FileNotFoundError or ValueError."""
        return Job.from_json(read_json(self.path / "job.json"))

    def write_job(self, job: Job) -> None:
        """Keep the job in the workspace."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "job.json", job.to_json())

    def read_result(self, stage: str, target: str = "") -> StageResult | None:
        """The stage's result, or None when it has not ended (or left nothing readable)."""
        try:
            return StageResult.from_json(read_json(self.directory(stage, target) / "result.json"))
        except (FileNotFoundError, KeyError, ValueError, TypeError):
            return None
