"""The sample programs: their tests pass, their recipes load, their packaging says what it should."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from buildfarm.recipe import load_recipes

SAMPLES = {"hello-farm": "3.0 (quilt)", "motd-bazaar": "3.0 (native)"}


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_samples_own_tests_pass(root: Path, sample: str) -> None:
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-B", "-m", "unittest", "discover", "-v"],
        cwd=root / "samples" / sample,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "\nOK\n" in done.stderr


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_samples_packaging_is_of_its_kind(root: Path, sample: str) -> None:
    tree = root / "samples" / sample
    assert (tree / "debian/source/format").read_text().strip() == SAMPLES[sample]
    changelog = ["dpkg-parsechangelog", "-l", str(tree / "debian/changelog"), "-S"]
    source = subprocess.run([*changelog, "Source"], capture_output=True, text=True, check=True).stdout.strip()
    version = subprocess.run([*changelog, "Version"], capture_output=True, text=True, check=True).stdout.strip()
    assert source == sample
    assert ("-" in version) == ("quilt" in SAMPLES[sample])


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_samples_program_runs_from_the_tree(root: Path, sample: str) -> None:
    program = root / "samples" / sample / "bin" / sample
    said = subprocess.run(["python3", "-B", program], capture_output=True, text=True, check=True, cwd="/")
    assert said.stdout.strip()


def test_the_samples_recipes_load(root: Path, tmp_path: Path) -> None:
    recipes = tmp_path / "recipes"
    shutil.copytree(root / "samples" / "recipes", recipes)
    shutil.copytree(root / "recipes" / "templates", recipes / "templates")
    book = load_recipes(recipes, ("bookworm",), ("amd64",))
    assert not book.problems
    assert set(book.recipes) == set(SAMPLES)
    for recipe in book.recipes.values():
        assert Path(recipe.trunk.location).parent == tmp_path / "trunks"
        assert recipe.publish == "local:demo/trunk"
