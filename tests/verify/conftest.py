"""A tiny package with tests of its own, published in an archive that is served, and the stage run on it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from buildfarm.files import write_json
from buildfarm.job import AutopkgtestJob, Branch, Job
from buildfarm.settings import ArchiveSettings, Settings
from buildfarm.stages.runner import run_stage
from buildfarm.verdict import StageResult, Verdict
from buildfarm.workspace import Workspace
from ppa_tools.archives.local import LocalArchive
from tests.archive.conftest import PPA, Server, Signer, architecture, changes_text, server, signer

__all__ = ["server", "signer"]

CHANGELOG = (
    "{name} ({version}) unstable; urgency=medium\n\n  * A change.\n\n -- A Tester <a@example.org>  {date}\n"
)
MAINTAINER = "Maintainer: A Tester <a@example.org>\n"
DESCRIPTION = "Description: greets\n It does.\n"
DATE = "Mon, 02 Nov 2026 09:00:00 +0000"


@dataclass
class Bench:
    """A workspace as the publish stage leaves it."""

    workspace: Workspace
    settings: Settings
    archive: LocalArchive
    signer: Signer
    series: str
    architecture: str = field(default_factory=architecture)

    @property
    def out(self) -> Path:
        return self.workspace.directory("autopkgtest", self.target)

    @property
    def target(self) -> str:
        return f"{self.series}-{self.architecture}"

    def log(self) -> str:
        return (self.out / "log").read_text(errors="replace")

    def publish(
        self,
        tests: dict[str, str] | None,
        *,
        name: str = "greet",
        version: str = "1.0",
        depends: str = "",
        script: str = "echo hello",
        postinst: str = "",
        paragraph: str = "",
        beside: bool = False,
    ) -> None:
        """Publish a native package whose program is ``script``, with these files in debian/tests.

        One that is published ``beside`` is not what the stage is run on.
        """
        kept = self.workspace
        if beside:
            self.workspace = Workspace(kept.path.parent / f"run-{name}-{version}")
        try:
            self._publish(tests, name, version, depends, script, postinst, paragraph)
        finally:
            self.workspace = kept

    def _publish(
        self,
        tests: dict[str, str] | None,
        name: str,
        version: str,
        depends: str,
        script: str,
        postinst: str,
        paragraph: str,
    ) -> None:
        into = self.workspace.directory("source", self.series)
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(parents=True)
        dsc = make_source(into, name, version, tests, paragraph)
        dsc.write_bytes(self.signer.sign(dsc.read_text()))
        noepoch = version.partition(":")[2] or version
        changes = into / f"{name}_{noepoch}_source.changes"
        names = sorted(path.name for path in into.iterdir())
        signed = changes_text(into, names, source=name, version=version, series=self.series)
        changes.write_bytes(self.signer.sign(signed))
        self.archive.accept_source(PPA, self.series, into, changes.name)
        build = self.workspace.directory("build", self.target)
        shutil.rmtree(build, ignore_errors=True)
        build.mkdir(parents=True)
        deb = make_deb(build, name, version, depends, script, postinst)
        changes = build / f"{name}_{noepoch}_all.changes"
        changes.write_text(
            changes_text(build, [deb.name], source=name, version=version, series=self.series, architectures="all")
        )
        self.archive.accept_binaries(PPA, self.series, self.architecture, build, changes.name, "worker-1")
        self.archive.publish(PPA)
        facts = {"source": name, "version": version, "packages": {name: version}}
        result = StageResult("publish", self.target, Verdict.PASS, "published", 1.0, 2.0, facts=facts)
        publish = self.workspace.directory("publish", self.target)
        publish.mkdir(parents=True, exist_ok=True)
        write_json(publish / "result.json", result.to_json())

    def write_job(self, **rules: Any) -> None:
        job = Job(
            run_id="1",
            recipe="greet",
            trunk=Branch("git", "/nowhere"),
            revision="0" * 40,
            archive=str(PPA),
            series=(self.series,),
            architectures=(self.architecture,),
            autopkgtest=replace(AutopkgtestJob(), **rules),
        )
        self.workspace.write_job(job)

    def run(self, **rules: Any) -> StageResult:
        self.write_job(**rules)
        return run_stage(
            "autopkgtest", self.workspace, self.settings, series=self.series, architecture=self.architecture
        )


def make_source(into: Path, name: str, version: str, tests: dict[str, str] | None, paragraph: str) -> Path:
    """A native source package, by dpkg-source."""
    tree = into.parent / f"tree-{name}"
    files = {
        "debian/changelog": CHANGELOG.format(name=name, version=version, date=DATE),
        "debian/control": f"Source: {name}\nSection: misc\nPriority: optional\n{MAINTAINER}"
        f"Standards-Version: 4.6.2\n\nPackage: {name}\nArchitecture: all\n{DESCRIPTION}{paragraph}",
        "debian/rules": "#!/usr/bin/make -f\n%:\n\ttrue\n",
        "debian/source/format": "3.0 (native)\n",
        **{f"debian/tests/{path}": text for path, text in (tests or {}).items()},
    }
    shutil.rmtree(tree, ignore_errors=True)
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            (tree / path).symlink_to(text[3:])
        else:
            (tree / path).write_text(text)
    subprocess.run(["dpkg-source", "-b", str(tree)], cwd=into, check=True, capture_output=True)
    (dsc,) = into.glob("*.dsc")
    return dsc


def make_deb(into: Path, name: str, version: str, depends: str, script: str, postinst: str) -> Path:
    """A binary package with one program in it."""
    root = into / ".tree"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "usr/bin").mkdir(parents=True)
    program = root / "usr/bin" / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    if postinst:
        (root / "DEBIAN/postinst").write_text(f"#!/bin/sh\nset -e\n{postinst}\n")
        (root / "DEBIAN/postinst").chmod(0o755)
    (root / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\n"
        + (f"Depends: {depends}\n" if depends else "")
        + f"{MAINTAINER}Section: misc\nPriority: optional\n{DESCRIPTION}"
    )
    deb = into / f"{name}_{version.partition(':')[2] or version}_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(root), str(deb)],
        check=True,
        capture_output=True,
    )
    shutil.rmtree(root)
    return deb


@pytest.fixture
def bench(
    tmp_path: Path, farm_settings: Settings, host_series: str, signer: Signer, server: Server
) -> Iterator[Bench]:
    archive = LocalArchive(server.home / "archive", url=server.url)
    settings = replace(farm_settings, archive=ArchiveSettings(port=server.port))
    yield Bench(Workspace(tmp_path / "run"), settings, archive, signer, host_series)
    archive.close()
