"""The main job: a commit on a trunk ends as a package that stock apt installs, or says why not."""

import gzip
import io
import urllib.request
from pathlib import Path

import pytest

from buildfarm.build.installing import clean_root, install_from
from buildfarm.recipe.host import host_architecture
from buildfarm.verdict import Verdict
from tests.scenarios.running_farm import UNITTEST, tiny_package

SAMPLES = Path(__file__).parents[2] / "samples"


def sample(name):
    root = SAMPLES / name
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def sources_of(farm, series):
    url = f"{farm.settings.archive_url}/test/trunk/trunk-{series}.sources"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def test_commits_in_git_and_bazaar_end_as_packages_that_stock_apt_installs(farm, host_series):
    unittest = {"command": ["python3", "-m", "unittest", "discover", "-v"], "coverage": {"floor": 50}}
    trunks = {"hello-farm": "git", "motd-bazaar": "bzr"}
    for name, vcs in trunks.items():
        farm.recipe(name, vcs, unittest=unittest, lint={"targets": [name.replace("-", "_")], "threshold": 8})
    git, bzr = (farm.trunk(name, vcs) for name, vcs in trunks.items())
    farm.up()
    commits = {
        "hello-farm": git.commit(sample("hello-farm"), "Say hello"),
        "motd-bazaar": bzr.commit(sample("motd-bazaar"), "Say something"),
    }
    for name, revision in commits.items():
        run = farm.await_run(name, revision)
        assert run.verdict is Verdict.PASS, farm.stages(run)
        stages = [stage.split()[0] for stage in farm.stages(run)]
        assert stages == [
            "checkout",
            "lint",
            "unittest",
            "tarball",
            "source",
            "sign",
            "upload",
            "build",
            "publish",
        ]
    with clean_root(farm.settings, host_series, host_architecture(), io.BytesIO()) as root:
        install_from(root, sources_of(farm, host_series), list(trunks))
        version = root.run("dpkg-query", "--show", "--showformat=${Version}", "hello-farm")
        assert "Hello, world!" in root.run("hello-farm")
        assert version in root.run("hello-farm", "--version")
        root.run("motd-bazaar")


def test_a_commit_whose_test_fails_is_explained_and_nothing_is_published_for_it(farm):
    farm.recipe("tiny", unittest=UNITTEST)
    trunk = farm.trunk("tiny")
    farm.up()
    revision = trunk.commit(
        tiny_package(**{"tiny.py": '"""A module."""\n\n\ndef answer():\n    """The answer."""\n    return 41\n'})
    )
    run = farm.await_run("tiny", revision)
    assert run.verdict is Verdict.FAIL
    assert farm.stages(run)["unittest"][0] == "fail"
    assert "tarball" not in farm.stages(run)
    assert not farm.publications()["publications"]
    shown = farm.cli("follow", run.run_id, check=False)
    assert shown.returncode == 1
    assert "unittest" in shown.stdout


@pytest.mark.parametrize("until", ["unittest", "source"])
def test_a_failure_is_reproduced_without_buildbot_by_the_command_its_page_gives(farm, until):
    farm.recipe("tiny", unittest=UNITTEST)
    trunk = farm.trunk("tiny", hook=False)
    revision = trunk.commit(tiny_package(**{"debian/changelog": "not a changelog\n"}))
    done = farm.cli("run", "tiny", "--revision", revision, "--until", until, check=False)
    if until == "unittest":
        assert done.returncode == 0, done.stdout + done.stderr
    else:
        assert done.returncode == 1
        assert "debian/changelog:1" in done.stdout
    assert "sign" not in done.stdout


def test_what_was_built_is_promoted_once_and_a_later_commit_takes_its_place(farm, host_series):
    farm.recipe("tiny", promote="local:test/stable")
    trunk = farm.trunk("tiny")
    farm.up()
    for summary in ("First", "Second"):
        run = farm.await_run("tiny", trunk.commit(tiny_package(), summary))
        assert run.verdict is Verdict.PASS, farm.stages(run)
        assert list(farm.stages(run))[-1] == f"promote {host_series}"
        result = farm.history.stage_result(run, "promote", host_series)
        index = f"dists/{host_series}/main/binary-{host_architecture()}/Packages.gz"
        with urllib.request.urlopen(f"{farm.settings.archive_url}/test/stable/{index}", timeout=30) as answer:
            packages = gzip.decompress(answer.read()).decode()
        assert packages.count("Package: tiny\n") == 1
        assert f"Version: {result.facts['packages']['tiny']}\n" in packages
        assert result.facts["from"] == "local:test/trunk"
