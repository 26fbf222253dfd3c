"""Packages that this project did not write, taken from Debian as source packages, go all the way."""

import io
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

from buildfarm.build.installing import clean_root, install_from
from buildfarm.recipe.host import host_architecture
from buildfarm.verdict import Verdict

PROJECT = Path(__file__).parents[2]
PACKAGES = {"hello": "git", "tinycdb": "bzr"}


def import_source(package, repository, tmp_path):
    """The unpacked source package as the trunk's only commit, as the tutorial does it."""
    subprocess.run([PROJECT / "scripts" / "fetch-source.sh", package, tmp_path], check=True, timeout=300)
    shutil.copytree(tmp_path / package, repository.work, symlinks=True, dirs_exist_ok=True)
    if repository.vcs == "git":
        repository.call("git", "add", "--all", "--force")
    return repository.commit({}, f"Import {package} from Debian")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_hello_in_git_and_tinycdb_in_bazaar_end_as_packages_that_stock_apt_installs(farm, host_series, tmp_path):
    commits = {}
    for package, vcs in PACKAGES.items():
        farm.recipe(package, vcs)
    trunks = {package: farm.trunk(package, vcs) for package, vcs in PACKAGES.items()}
    farm.up()
    for package, trunk in trunks.items():
        commits[package] = import_source(package, trunk, tmp_path)
    for package, revision in commits.items():
        run = farm.await_run(package, revision)
        assert run.verdict is Verdict.PASS, farm.stages(run)
    url = f"{farm.settings.archive_url}/test/trunk/trunk-{host_series}.sources"
    with urllib.request.urlopen(url, timeout=30) as answer:
        sources = answer.read().decode()
    with clean_root(farm.settings, host_series, host_architecture(), io.BytesIO()) as root:
        install_from(root, sources, list(PACKAGES))
        assert "Hello, world!" in root.run("hello")
        root.run(
            "sh", "-c", "printf '+3,5:one->Hello\\n\\n' | cdb -c /tmp/x && test \"$(cdb -q /tmp/x one)\" = Hello"
        )
        for package in PACKAGES:
            version = root.run("dpkg-query", "--show", "--showformat=${Version}", package)
            assert f"+{PACKAGES[package]}1" in version
