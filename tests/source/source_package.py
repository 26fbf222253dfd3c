"""A small Debian package in a workspace of its own, and the stages to run there."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from buildfarm.job import Branch, Job
from buildfarm.settings import Settings
from buildfarm.stages.runner import run_stage
from buildfarm.trunk import REVISIONS_FILE, RevisionInfo
from buildfarm.verdict import StageResult
from buildfarm.workspace import Workspace

COMMIT = "abcdef1234" + "0" * 30
REVISION = RevisionInfo(
    vcs="git",
    location="/srv/hello.git",
    branch="main",
    revision=COMMIT,
    revno=12,
    committed_at=1_700_000_000,
    author="Ada Lövelace <ada@example.org>",
    summary="Greet more loudly",
)
CONTROL = """\
Source: hello
Section: devel
Priority: optional
Maintainer: Jane Doe <jane@example.org>
Standards-Version: 4.6.2

Package: hello
Architecture: all
Description: greets
 It says hello.
"""
RULES = "#!/bin/sh\ntouch /tmp/rules-were-run-$$ rules-were-run\n"
CHANGELOG = """\
hello (2.10-3) UNRELEASED; urgency=low

  * Greet.

 -- Jane Doe <jane@example.org>  Sat, 21 Oct 2023 09:00:00 +0000
"""


@dataclass
class Package:
    """One package in a workspace of its own; ``write`` changes its tree."""

    workspace: Workspace
    settings: Settings

    @property
    def tree(self) -> Path:
        return self.workspace.tree

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        file = self.tree / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        file.chmod(mode)

    def set_job(self, **changes: object) -> None:
        self.workspace.write_job(dataclasses.replace(self.workspace.read_job(), **changes))  # type: ignore[arg-type]

    def set_revisions(self, **revisions: RevisionInfo) -> None:
        """The trunk's revision as ``trunk``, other branches' by their names."""
        named = {"": revisions.pop("trunk", REVISION), **revisions}
        file = self.workspace.path / REVISIONS_FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([{"name": name} | dataclasses.asdict(one) for name, one in named.items()]))

    def run(self, stage: str, series: str = "") -> StageResult:
        return run_stage(stage, self.workspace, self.settings, series=series)

    def run_up_to(self, stage: str, series: str = "bookworm") -> StageResult:
        """The last stage's result; the stages before it must pass."""
        result = self.run("tarball")
        for name in ("source", "sign")[: ("tarball", "source", "sign").index(stage)]:
            assert result.verdict == "pass", result
            result = self.run(name, series)
        return result

    def only(self, stage: str, ending: str, series: str = "bookworm") -> Path:
        """The one file of a stage with that ending."""
        found = list(self.workspace.directory(stage, series).glob(f"*{ending}"))
        assert len(found) == 1, found
        return found[0]


def make_package(room: Path, home: Path) -> Package:
    """The package in ``room``, of a farm that keeps its state in ``home``."""
    package = Package(Workspace(room / "run"), Settings(room, home, room / "recipes"))
    package.set_revisions()
    package.workspace.write_job(
        Job(
            run_id="1",
            recipe="hello-daily",
            trunk=Branch("git", REVISION.location, "main"),
            revision=COMMIT,
            archive="local:demo/trunk",
            series=("bookworm", "noble"),
            architectures=("amd64",),
            maintainer="Build Farm <farm@example.org>",
        )
    )
    package.write("hello.sh", "#!/bin/sh\necho hello\n", 0o755)
    package.write("doc/README", "Hello.\n")
    package.write("debian/control", CONTROL)
    package.write("debian/rules", RULES, 0o755)
    package.write("debian/changelog", CHANGELOG)
    package.write("debian/source/format", "3.0 (quilt)\n")
    return package
