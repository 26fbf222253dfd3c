"""Running stages as ``buildfarm stage`` does, on the sample package."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from buildfarm.build.environments import use_layers
from buildfarm.build.roots import get_root, native_architecture, spec_for
from buildfarm.job import Branch, Job
from buildfarm.settings import Settings
from buildfarm.stages.runner import run_stage
from buildfarm.verdict import StageResult
from buildfarm.workspace import Workspace


def _load_samples() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_samples", Path(__file__).with_name("samples.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    return _load_samples()


class Bench:
    """A workspace with the sample package, and stages run in it."""

    def __init__(self, workspace: Workspace, settings: Settings, series: str, samples: ModuleType) -> None:
        self.workspace = workspace
        self.settings = settings
        self.series = series
        self.architecture = native_architecture()
        self.samples = samples
        self.job = Job(
            run_id="1",
            recipe="tally",
            trunk=Branch("git", "/nowhere"),
            revision="0" * 40,
            archive="ppa:demo/trunk",
            series=(series,),
            architectures=(self.architecture,),
        )

    @property
    def tree(self) -> Path:
        return self.workspace.tree

    def write(self, **changes: str | None) -> None:
        self.samples.write_tree(self.tree, **changes)

    def stage(self, name: str, **job: Any) -> StageResult:
        self.workspace.write_job(replace(self.job, **job))
        return run_stage(name, self.workspace, self.settings)

    def build(self, **job: Any) -> StageResult:
        self.workspace.write_job(replace(self.job, **job))
        self.samples.make_source_package(self.tree, self.workspace.directory("source", self.series))
        return run_stage(
            "build", self.workspace, self.settings, series=self.series, architecture=self.architecture
        )

    def log(self, stage: str, target: str = "") -> str:
        return (self.workspace.directory(stage, target) / "log").read_text(errors="replace")


@pytest.fixture
def bench(tmp_path: Path, farm_settings: Settings, host_series: str, samples: ModuleType) -> Bench:
    made = Bench(Workspace(tmp_path / "run"), farm_settings, host_series, samples)
    made.write()
    return made


@pytest.fixture
def sandbox(farm_settings: Settings, host_series: str, tmp_path: Path) -> Callable[..., Any]:
    """Run a shell script or an argument list in a sandbox on the plain root."""
    from buildfarm.build.sandbox import Limits, run_in_sandbox

    root = get_root(spec_for(farm_settings, host_series, native_architecture()), farm_settings.cache, io.BytesIO())
    tree = tmp_path / "tree"
    tree.mkdir()

    def run(script: str, *, limits: Limits | None = None, **more: Any) -> Any:
        with use_layers(root, (), farm_settings.cache, io.BytesIO()) as use:
            return run_in_sandbox(use.directories, tree, ["sh", "-c", script], limits=limits or Limits(60), **more)

    return run
