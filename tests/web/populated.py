"""A record of nights as a farm has it after some weeks, made by the record's own methods; some of it hostile."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from buildfarm.build.manifest import EnvironmentPackage, Manifest
from buildfarm.regress.model import BuildReport, Culprit, RebuildJob, Subject, Suspect, TestCounts
from buildfarm.regress.nights import Build, Night, NightRules, Nights, Rebuild, open_nights
from buildfarm.regress.places import Places, places_of
from buildfarm.settings import Settings

DAY_S = 86400.0
BEGIN = 1_764_374_400.0  # 2025-11-29 00:00 UTC
HOSTILE = "<script>alert(1)</script>"
HOSTILE_LINE = f'34: main.c:12: {HOSTILE} " onload="x" \x1b[31mred\x1b[0m \u202egnp.exe \x00 &amp; {{{{ 7 * 7 }}}}'
TINY_LOG = "dh_auto_build\nmain.c:12: undefined reference to `foo_open'\nE: build failed\n"


@dataclass
class Population:
    """A farm's record and its files, filled night by night with a clock of its own."""

    root: Path
    home: str = "home"
    now: float = BEGIN
    worker: str = "worker-1"
    nights: Nights = field(init=False)

    def __post_init__(self) -> None:
        self.settings.home.mkdir(parents=True, exist_ok=True)
        self.nights = open_nights(self.settings.regression_file, lambda: self.now)

    @property
    def settings(self) -> Settings:
        return Settings(root=self.root, home=self.root / self.home, recipes=self.root / "recipes")

    @property
    def places(self) -> Places:
        return places_of(self.settings)

    # Nights

    def begin(self, *packages: str, of: str = "founding", version: str = "1.2-1", **rules: Any) -> Night:
        self.now = BEGIN + DAY_S * (self._last() + 1)
        jobs = [job(name, of=of, version=version) for name in packages]
        how: dict[str, Any] = {
            "driver": "farm",
            "reason": "its time has come",
            "left_out": rules.pop("left_out", ()),
        }
        return self.nights.open_night(of, jobs, **how, rules=NightRules(**rules))

    def _last(self) -> int:
        recent = self.nights.recent_nights(1)
        return recent[0].number if recent else 0

    def night(
        self,
        *packages: str,
        fails: dict[str, BuildReport] | None = None,
        passes: BuildReport | None = None,
        of: str = "founding",
        version: str = "1.2-1",
    ) -> Night:
        """A whole night; ``fails`` are what failing packages' builds say."""
        self.begin(*packages, of=of, version=version)
        while found := self.due():
            self.do(*found[0], fails or {}, passes)
        (ended,) = self.nights.end_nights()
        return ended

    def due(self) -> tuple[tuple[Night, Rebuild, Build], ...]:
        if not (found := self.nights.due("farm")) and (at := self.nights.next_due_at("farm")) is not None:
            self.now = at
            found = self.nights.due("farm")
        return found

    def do(
        self,
        night: Night,
        rebuild: Rebuild,
        build: Build,
        fails: dict[str, BuildReport],
        passes: BuildReport | None = None,
    ) -> Build:
        """Do a build as it is told, with its files."""
        name = rebuild.job.package
        told = passed(night.number, name) if passes is None else passes
        if build.kind == "culprit":
            told = replace(told, culprit=culprit(name))
        elif name in fails and build.kind != "control":
            told = fails[name]
        started = self.start(build)
        self.now += told.total_s
        self.nights.end(started, told, self.worker)
        self.leave(build, told)
        return build

    def start(self, build: Build) -> Build:
        self.now += 2
        started = self.nights.start(build, build.wanted_worker or self.worker)
        self.nights.note_worker(started, self.worker, f"http://127.0.0.1:8010/#/builders/7/builds/{build.id}")
        return started

    def leave(self, build: Build, told: BuildReport, log: str = TINY_LOG) -> Path:
        """The directory that a build left."""
        directory = self.places.build(build.id)
        directory.mkdir(parents=True, exist_ok=True)
        with gzip.open(directory / "build.log.gz", "wb") as file:
            file.write(log.encode("utf-8", "surrogateescape"))
        for name in told.artifacts:
            if "/" not in name:
                (directory / name).write_text(f"Format: 1.0\nSource: {build.job.package}\n")
        (directory / "report.json").write_text(json.dumps(told.to_json()))
        return directory

    def environment(self, **versions: str) -> str:
        """Keep an environment of these packages."""
        packages = (
            EnvironmentPackage("base-files", "12.4", "amd64", sha256="a"),
            *(
                EnvironmentPackage(
                    name.replace("_", "-"),
                    version,
                    "amd64",
                    source=f"src-{name.split('_')[0]}",
                    sha256=f"{name}{version}",
                )
                for name, version in versions.items()
            ),
        )
        manifest = Manifest("bookworm", "amd64", packages)
        path = self.places.manifest_path(manifest.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        manifest.write(path)
        return manifest.id


def job(package: str, *, of: str = "founding", version: str = "1.2-1", architecture: str = "amd64") -> RebuildJob:
    return RebuildJob(of, package, version, "bookworm", architecture, ())


def subject(package: str) -> Subject:
    return Subject(package, "bookworm", "amd64")


def passed(night: int, package: str, environment: str = "e1") -> BuildReport:
    weight = 1 + len(package) % 5
    return BuildReport(
        "pass",
        "built",
        environment=environment,
        tests=TestCounts(40 * weight + night % 7, 0, weight),
        prepare_s=12.0 + night % 3,
        build_s=60.0 * weight + (night * 37) % 11,
        total_s=75.0 * weight + (night * 37) % 11 + night % 3,
        disk_bytes=123_456_789 * weight,
        log="build.log.gz",
        artifacts=(f"{package}_1.2-1_amd64.buildinfo", f"{package}_1.2-1_amd64.changes"),
    )


def failed(fingerprint: str = "f00dfeed00000001", **those: Any) -> BuildReport:
    told: dict[str, Any] = {
        "environment": "e2",
        "stage": "build",
        "first_error": (
            "10  cc -o main main.o -lfoo",
            "11  /usr/bin/ld: main.o: in function `main':",
            "12: main.c:12: undefined reference to `foo_open'",
            "13  collect2: error: ld returned 1 exit status",
            "14  make[1]: *** [Makefile:7: main] Error 1",
        ),
        "failing_tests": ("t/open.t", "t/close.t"),
        "tests": TestCounts(118, 2, 3),
        "fingerprint": fingerprint,
        "cause": "undefined reference to foo_open",
        "prepare_s": 14.0,
        "build_s": 41.0,
        "total_s": 57.5,
        "disk_bytes": 98_765_432,
        "log": "build.log.gz",
    }
    return BuildReport("fail", "undefined reference to `foo_open'", **told | those)


def culprit(package: str) -> Culprit:
    return Culprit(
        words=f"{package} fails since 2025-12-09 because of src-libfoo 1.2 to 1.3",
        suspects=(Suspect("src-libfoo", "1.2", "1.3", ("libfoo1", "libfoo-dev")),),
        confirmed=True,
        changed=37,
        builds=9,
        duration_s=1830.0,
    )
