"""The promote stage, run as the farm runs it, between PPAs of a served archive, and on Launchpad."""

from __future__ import annotations

import dataclasses
import gzip
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildfarm.files import write_json
from buildfarm.job import AutopkgtestJob, BootJob, Branch, Job
from buildfarm.settings import Settings, load_settings
from buildfarm.stages.promote import EXPECTED_SOURCE
from buildfarm.stages.runner import run_stage
from buildfarm.verdict import StageResult, Verdict
from buildfarm.workspace import Workspace
from ppa_tools.archives.local import LocalArchive
from tests.archive.conftest import PPA, SERIES, Server, Signer, architecture, make_binaries, make_source
from tests.archive.shelf import STABLE
from tests.doubles.launchpad import LaunchpadDouble

TARGET = f"{SERIES}-{architecture()}"


@dataclasses.dataclass(frozen=True)
class Farm:
    """A served archive with a PPA to publish to and one to promote to, and runs that have been verified."""

    server: Server
    signer: Signer
    path: Path
    settings: Settings

    def verified(self, version: str = "1.0-1", *, content: bytes = b"hello\n", **those: object) -> Workspace:
        """A run that has been uploaded, published and verified."""
        one = Workspace(self.path / f"run-{version}-{len(list(self.path.iterdir()))}")
        values = {"boot": BootJob(), "autopkgtest": AutopkgtestJob(), "promote": str(STABLE)} | those
        job = Job("hello-7", "hello", Branch("git", "/nowhere"), "0" * 40, str(PPA), (SERIES,), (architecture(),))
        one.write_job(dataclasses.replace(job, **values))  # type: ignore[arg-type]
        make_source(one.directory("sign", SERIES), self.signer, version=version, content=content)
        make_binaries(one.directory("build", TARGET), version=version)
        assert run_stage("upload", one, self.settings, series=SERIES).verdict is Verdict.PASS
        published = run_stage("publish", one, self.settings, series=SERIES, architecture=architecture())
        assert published.verdict is Verdict.PASS
        came_to(one, "boot", Verdict.PASS)
        came_to(one, "autopkgtest", Verdict.SKIPPED)
        return one

    def promote(self, one: Workspace) -> StageResult:
        return run_stage("promote", one, self.settings, series=SERIES)

    def held(self) -> dict[str, list[str]]:
        """What is published in the PPA promoted to: the versions of each source, and why they are there."""
        return {
            one.version: [one.span.status, one.span.why]
            for one in self.archive(lambda archive: archive.sources(STABLE, active=True))
        }

    def archive(self, look: Callable[[LocalArchive], object]) -> object:
        archive = LocalArchive(self.server.home / "archive", url=self.server.url)
        try:
            return look(archive)
        finally:
            archive.close()

    def index(self) -> str:
        """What apt reads of the PPA promoted to."""
        directory = self.server.home / f"archive/public/demo/stable/dists/{SERIES}"
        return gzip.decompress((directory / f"main/binary-{architecture()}/Packages.gz").read_bytes()).decode()


def came_to(one: Workspace, stage: str, verdict: Verdict, reason: str = "so it was") -> None:
    directory = one.directory(stage, TARGET)
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "result.json", StageResult(stage, TARGET, verdict, reason, 1.0, 2.0).to_json())


def test_what_every_machine_skipped_is_not_verified(farm: Farm) -> None:
    one = farm.verified()
    came_to(one, "boot", Verdict.SKIPPED, "the PPA is private")
    result = farm.promote(one)
    assert result.verdict is Verdict.SKIPPED
    assert result.reason == "not promoted: nothing of it was verified: boot was skipped, the PPA is private"
    assert farm.held() == {}


def forget(one: Workspace) -> None:
    """As if the farm was killed before the stage's result was written."""
    shutil.rmtree(one.directory("promote", SERIES))


@pytest.fixture
def farm(server: Server, signer: Signer, tmp_path: Path) -> Iterator[Farm]:
    archive = LocalArchive(server.home / "archive", url=server.url)
    archive.ensure_ppa(STABLE, series=[SERIES], architectures=[architecture()], uploaders=[signer.public])
    (tmp_path / "runs").mkdir()
    yield Farm(server, signer, tmp_path / "runs", load_settings(environ={"BUILDFARM_HOME": str(server.home)}))
    archive.stop_agents()
    archive.close()


def test_what_was_verified_is_copied_with_its_binaries(farm: Farm) -> None:
    result = farm.promote(farm.verified())
    assert (result.verdict, result.reason) == (
        Verdict.PASS,
        f"hello 1.0-1 copied from local:demo/trunk to local:demo/stable, {SERIES}",
    )
    assert result.facts == {
        "archive": "local:demo/stable",
        "source": "hello",
        "version": "1.0-1",
        "packages": {"hello": "1.0-1"},
        "from": "local:demo/trunk",
    }
    assert farm.held() == {
        "1.0-1": ["Published", f"copied from local:demo/trunk {SERIES}: verified by run hello-7"]
    }
    assert "Package: hello\n" in farm.index()


def test_what_is_there_already_is_not_copied_twice(farm: Farm) -> None:
    one = farm.verified()
    farm.promote(one)
    forget(one)
    again = farm.promote(one)
    assert (again.verdict, again.reason) == (
        Verdict.PASS,
        f"hello 1.0-1 already in local:demo/stable, {SERIES}",
    )
    assert "from an earlier attempt" in again.assumed[0]
    assert again.facts["packages"] == {"hello": "1.0-1"}
    assert len(farm.held()) == 1


@pytest.mark.parametrize("moment", ["copy", "publish", "asked"])
def test_killed_at_any_moment_it_is_done_once_by_the_next_attempt(farm: Farm, moment: str) -> None:
    one = farm.verified()
    script = textwrap.dedent(f"""
        import os, signal, sys
        from pathlib import Path
        from buildfarm.settings import load_settings
        from buildfarm.stages.runner import run_stage
        from buildfarm.workspace import Workspace
        from ppa_tools.archives import local
        from ppa_tools.apply import journal

        def die(*_args, **_words):
            os.kill(os.getpid(), signal.SIGKILL)

        moment = {moment!r}
        if moment == "copy":
            local.LocalArchive.copy = die
        elif moment == "publish":
            local.LocalArchive.publish = die
        else:
            note = journal.Journal.note
            journal.Journal.note = lambda self, state, *words: (
                die() if state is journal.State.ASKED else note(self, state, *words)
            )
        settings = load_settings(environ={{"BUILDFARM_HOME": {str(farm.server.home)!r}}})
        run_stage("promote", Workspace(Path({str(one.path)!r})), settings, series={SERIES!r})
    """)
    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    result = farm.promote(one)
    assert result.verdict is Verdict.PASS, result
    assert ("already" in result.reason) == (moment != "copy")
    assert [status for status, _ in farm.held().values()] == ["Published"]
    assert "Package: hello\n" in farm.index()


def test_a_newer_version_there_is_left_alone(farm: Farm) -> None:
    older = farm.verified("1.0-1")
    farm.promote(farm.verified("1.1-1"))
    result = farm.promote(older)
    assert (result.verdict, result.reason) == (
        Verdict.SKIPPED,
        "local:demo/stable has a newer version: 1.1-1 is there, which is newer",
    )
    assert list(farm.held()) == ["1.1-1"]


def test_a_version_that_another_commit_superseded_is_promoted_all_the_same(farm: Farm) -> None:
    older = farm.verified("1.0-1")
    farm.verified("1.1-1")
    assert farm.promote(older).verdict is Verdict.PASS
    assert list(farm.held()) == ["1.0-1"]


def test_the_same_version_with_other_contents_is_the_packages_fault(farm: Farm) -> None:
    one = farm.verified()
    other = make_source(farm.path / "other", farm.signer, content=b"something else\n")
    farm.archive(lambda archive: archive.accept_source(STABLE, SERIES, other.parent, other.name))
    result = farm.promote(one)
    assert result.verdict is Verdict.FAIL
    assert "another source of the same version is there" in result.reason
    assert "a version of its own" in result.reason


def test_a_series_that_is_not_there_is_the_farms_trouble(farm: Farm) -> None:
    farm.archive(lambda archive: archive.ensure_ppa(other, series=["trixie"], architectures=[architecture()]))
    result = farm.promote(farm.verified(promote=str(other)))
    assert (result.verdict, "has no series bookworm, only trixie" in result.reason) == (Verdict.ERROR, True)


other = dataclasses.replace(STABLE, name="other")


def test_a_ppa_that_is_not_there_is_the_farms_trouble(farm: Farm) -> None:
    result = farm.promote(farm.verified(promote="local:demo/nowhere"))
    assert (result.verdict, "local:demo/nowhere" in result.reason) == (Verdict.ERROR, True)


@pytest.mark.parametrize("stage", ["boot", "autopkgtest", "publish"])
def test_nothing_is_promoted_that_did_not_pass(farm: Farm, stage: str) -> None:
    one = farm.verified()
    came_to(one, stage, Verdict.FAIL, "it would not install")
    result = farm.promote(one)
    assert (result.verdict, result.reason) == (
        Verdict.SKIPPED,
        f"not promoted: {stage} {TARGET} failed: it would not install",
    )
    came_to(one, stage, Verdict.ERROR)
    assert farm.promote(one).verdict is Verdict.ERROR
    (one.directory(stage, TARGET) / "result.json").unlink()
    result = farm.promote(one)
    assert (result.verdict, result.reason) == (Verdict.ERROR, f"not promoted: {stage} {TARGET} has not passed")
    assert farm.held() == {}


def test_every_architecture_must_have_passed(farm: Farm) -> None:
    one = farm.verified()
    one.write_job(dataclasses.replace(one.read_job(), architectures=(architecture(), "riscv64")))
    result = farm.promote(one)
    assert (result.verdict, result.reason) == (
        Verdict.ERROR,
        f"not promoted: publish {SERIES}-riscv64 has not passed",
    )


def test_where_nothing_is_to_be_verified_what_was_built_is_promoted(farm: Farm) -> None:
    one = farm.verified(boot=None, autopkgtest=None)
    for stage in ("boot", "autopkgtest"):
        shutil.rmtree(one.directory(stage))
    assert farm.promote(one).verdict is Verdict.PASS
    assert farm.held()["1.0-1"][1].endswith("built by run hello-7")


def test_where_nothing_was_built_nothing_is_promoted(farm: Farm) -> None:
    one = farm.verified()
    came_to(one, "publish", Verdict.SKIPPED)
    result = farm.promote(one)
    assert (result.verdict, result.reason) == (Verdict.SKIPPED, "not promoted: nothing was built")


def test_an_architecture_of_the_archive_that_the_recipe_does_not_build_for_is_told(farm: Farm) -> None:
    one = farm.verified()
    farm.archive(lambda archive: archive.ensure_ppa(PPA, series=[SERIES], architectures=["riscv64"]))
    result = farm.promote(one)
    assert result.verdict is Verdict.FAIL
    assert "not built yet on riscv64" in result.reason
    assert "list them under architectures:" in result.resolution


def test_what_the_signer_did_not_upload_is_not_promoted(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    one = farm.verified()
    monkeypatch.setenv(EXPECTED_SOURCE, "hello=0.9-1")
    result = farm.promote(one)
    assert (result.verdict, "hello=0.9-1 was uploaded" in result.reason) == (Verdict.ERROR, True)
    monkeypatch.setenv(EXPECTED_SOURCE, "hello=1.0-1")
    assert farm.promote(one).verdict is Verdict.PASS


def test_a_run_that_promotes_nothing_says_so(farm: Farm) -> None:
    result = farm.promote(farm.verified(promote=""))
    assert (result.verdict, "names no archive" in result.reason) == (Verdict.SKIPPED, True)


def test_another_that_changes_the_archive_is_waited_for(farm: Farm) -> None:
    from ppa_tools.apply.journal import open_journal

    one = farm.verified()
    where = {"XDG_STATE_HOME": str(farm.server.home / "promote")}
    with open_journal(STABLE, str((farm.server.home / "archive").resolve()), environment=where):
        result = farm.promote(one)
    assert (result.verdict, "another run is changing" in result.reason) == (Verdict.ERROR, True)
    assert farm.promote(one).verdict is Verdict.PASS


@pytest.fixture
def launchpad(tmp_path: Path) -> Iterator[LaunchpadDouble]:
    """Launchpad with two PPAs, and a farm where ``me`` is logged in."""
    with LaunchpadDouble(copy_delay_s=0.2, publish_delay_s=0.2) as double:
        double.add_ppa("me/trunk")
        double.add_ppa("me/stable")
        credentials = double.token("me").save(tmp_path / "credentials")
        (tmp_path / "home").mkdir()
        (tmp_path / "home/farm.toml").write_text(
            f'[launchpad]\ninstance = "{double.url}"\ncredentials_file = "{credentials}"\n'
        )
        yield double


@pytest.fixture
def uploaded(launchpad: LaunchpadDouble, signer: Signer, tmp_path: Path) -> Workspace:
    """A run that was uploaded to Launchpad, which builds by itself; nothing could be verified here."""
    one = Workspace(tmp_path / "run")
    job = Job("hello-7", "hello", Branch("git", "/x"), "0" * 40, "ppa:me/trunk", ("noble",), ("amd64",))
    one.write_job(dataclasses.replace(job, promote="ppa:me/stable"))
    make_source(one.directory("sign", "noble"), signer, series="noble")
    directory = one.directory("publish", "noble-amd64")
    directory.mkdir(parents=True)
    skipped = StageResult("publish", "noble-amd64", Verdict.SKIPPED, "Launchpad builds", 1.0, 2.0)
    write_json(directory / "result.json", skipped.to_json())
    return one


def promote_on_launchpad(one: Workspace, home: Path) -> StageResult:
    return run_stage("promote", one, load_settings(environ={"BUILDFARM_HOME": str(home)}), series="noble")


def test_on_launchpad_it_is_copied_once_by_the_same_plan(
    launchpad: LaunchpadDouble, uploaded: Workspace, tmp_path: Path
) -> None:
    launchpad.add_package("me/trunk", "hello", "1.0-1", series="noble")
    result = promote_on_launchpad(uploaded, tmp_path / "home")
    assert (result.verdict, result.reason) == (
        Verdict.PASS,
        "hello 1.0-1 copied from ppa:me/trunk to ppa:me/stable, noble",
    )
    shutil.rmtree(uploaded.directory("promote", "noble"))
    again = promote_on_launchpad(uploaded, tmp_path / "home")
    assert (again.verdict, "already in ppa:me/stable" in again.reason) == (Verdict.PASS, True)
    assert len(launchpad.copies()) == 1


def test_what_launchpad_has_not_built_yet_is_tried_again(
    launchpad: LaunchpadDouble, uploaded: Workspace, tmp_path: Path
) -> None:
    launchpad.add_package("me/trunk", "hello", "1.0-1", series="noble", builds={"amd64": "Needs building"})
    result = promote_on_launchpad(uploaded, tmp_path / "home")
    assert (result.verdict, "it has no binaries yet" in result.reason) == (Verdict.ERROR, True)
    launchpad.set_build("me/trunk", "hello", "1.0-1", "amd64", "Failed to build", series="noble")
    result = promote_on_launchpad(uploaded, tmp_path / "home")
    assert (result.verdict, "did not succeed on amd64" in result.reason) == (Verdict.FAIL, True)
    assert launchpad.copies() == []


def test_without_credentials_launchpad_is_the_farms_trouble(
    launchpad: LaunchpadDouble, uploaded: Workspace, tmp_path: Path
) -> None:
    launchpad.add_package("me/trunk", "hello", "1.0-1", series="noble")
    (tmp_path / "credentials").unlink()
    result = promote_on_launchpad(uploaded, tmp_path / "home")
    assert (result.verdict, "signing worker" in result.resolution) == (Verdict.ERROR, True), result
    assert "\n" not in result.reason
