"""scripts/install.sh: what it finds missing, what it leaves alone, and the id ranges it chooses."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

ETC = (Path("/etc/subuid"), Path("/etc/subgid"), Path("/var/lib/dpkg/status"))
SUBID_RANGE = 65536


def install(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["scripts/install.sh", *arguments],
        cwd=checkout,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
    )


def contents(paths: tuple[Path, ...]) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.exists() else None for path in paths}


def test_done_again_it_changes_nothing(root: Path) -> None:
    stamp = root / ".venv" / "installed-from"
    if not stamp.is_file():
        pytest.skip("this environment was not made by scripts/install.sh")
    before = contents((*ETC, stamp)), stamp.stat().st_mtime_ns
    done = install(root)
    assert done.returncode == 0, done.stdout
    assert "..." not in done.stdout  # what it does, it announces with dots
    assert "       current\n" in done.stdout
    assert (contents((*ETC, stamp)), stamp.stat().st_mtime_ns) == before


def test_a_check_names_what_is_missing_and_touches_nothing(bare_copy: Path) -> None:
    before = contents(ETC)
    with (bare_copy / "scripts" / "system-packages.txt").open("a") as file:
        file.write("no-such-package-anywhere\nno-such-thing-either optional\n")
    done = install(bare_copy, "--check")
    assert done.returncode == 1
    assert re.search(r"missing: .*\bno-such-package-anywhere$", done.stdout, re.MULTILINE), done.stdout
    assert "no-such-thing-either: this release of the distribution has none" in done.stdout
    assert "missing: .venv" in done.stdout
    assert not (bare_copy / ".venv").exists()
    assert contents(ETC) == before


def test_packages_for_the_tests_alone_are_not_asked_of_others(bare_copy: Path) -> None:
    with (bare_copy / "scripts" / "system-packages.txt").open("a") as file:
        file.write("no-such-test-package tests\n")
    assert "no-such-test-package" not in install(bare_copy, "--check").stdout
    assert "no-such-test-package" in install(bare_copy, "--check", "--tests").stdout


@pytest.mark.parametrize("argument", ["--upgrade", "extra", "--for=nobody-of-that-name"])
def test_an_argument_it_does_not_know_is_refused(root: Path, argument: str) -> None:
    done = install(root, argument)
    assert done.returncode == 1
    assert done.stdout.startswith("install: ")


@pytest.mark.slow
def test_a_clean_copy_is_installed_and_works(bare_copy: Path) -> None:
    first = install(bare_copy)
    assert first.returncode == 0, first.stdout
    assert [line[:5] for line in first.stdout.splitlines() if line[:1] == "["] == [
        "[1/4]",
        "[2/4]",
        "[3/4]",
        "[4/4]",
    ]
    version = subprocess.run(
        [bare_copy / ".venv" / "bin" / "buildfarm", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith("buildfarm ")
    second = install(bare_copy)
    assert second.returncode == 0
    assert "..." not in second.stdout


@pytest.mark.slow
def test_a_distributions_source_is_fetched_without_touching_its_configuration(root: Path, tmp_path: Path) -> None:
    lists = sorted(Path("/var/lib/apt/lists").iterdir()), sorted(Path("/etc/apt").rglob("*"))
    script = [str(root / "scripts" / "fetch-source.sh"), "hello", str(tmp_path / "to here")]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"hello \S+ in .*/to here/hello\n", done.stdout)
    assert (tmp_path / "to here" / "hello" / "debian" / "control").is_file()
    assert lists == (sorted(Path("/var/lib/apt/lists").iterdir()), sorted(Path("/etc/apt").rglob("*")))
    again = subprocess.run(script, capture_output=True, text=True, check=True)
    assert "is there already" in again.stdout


ranges = st.lists(
    st.tuples(st.sampled_from(["root", "ann", "1000"]), st.integers(0, 2**30), st.integers(1, 2**20)), max_size=8
)


@given(subuid=ranges, subgid=ranges)
def test_a_new_id_range_touches_no_other(
    root: Path,
    subuid: list[tuple[str, int, int]],
    subgid: list[tuple[str, int, int]],
) -> None:
    lines = [f"{name}:{first}:{length}\n" for name, first, length in subuid + subgid]
    said = subprocess.run(
        ["awk", "-f", root / "scripts" / "next-subid.awk"],
        input="".join(lines),
        capture_output=True,
        text=True,
        check=True,
    )
    chosen = range(int(said.stdout), int(said.stdout) + SUBID_RANGE)
    assert chosen.start >= 100000
    for _, first, length in subuid + subgid:
        assert chosen.start >= first + length or chosen.stop <= first


def test_every_dependency_is_locked_by_its_hash_and_no_index_is_named(root: Path) -> None:
    lock = (root / "requirements.lock").read_text()
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    locked = {}
    for entry in re.split(r"\n(?=[a-z0-9])", lock):
        if named := re.match(r"([A-Za-z0-9._-]+)==\S+", entry):
            locked[named[1]] = entry.count("--hash=sha256:")
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=[]", text)[0].replace(".", "-") for text in wanted}
    assert names <= locked.keys()
    assert min(locked.values()) > 0
    assert not re.search(r"^--?(index|extra|find|trusted)|://", lock, re.MULTILINE)


def test_continuous_integration_passes_the_exit_status_on(bare_copy: Path) -> None:
    (bare_copy / "Makefile").write_text("lint:\ntest:\n\t@[ \"$$CI\" = true ]; cat; echo '1 failed'; exit 7\n")
    done = subprocess.run(
        ["bash", ".ci/run"], cwd=bare_copy, capture_output=True, text=True, check=False, env=os.environ, timeout=60
    )
    assert done.returncode == 2  # make's word for a recipe that failed
    assert done.stdout.endswith("1 failed\n")
