"""The test archive is one that stock tools take, and its packages do what they are for."""

from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildfarm.build.apt_sources import AptSources
from buildfarm.regress.fetching import fetch_source
from buildfarm.regress.source_index import read_sources, repositories_of
from ppa_tools.apt.fetching import Fetcher
from ppa_tools.apt.indexes import Reader
from tests.archive.conftest import Apt
from tests.regress.yard import LIBRARIES, SOURCES, Yard


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    with Yard(tmp_path_factory.mktemp("yard")).served() as one:
        yield one


def test_stock_apt_sees_each_state_as_it_is_published(yard: Yard, tmp_path: Path) -> None:
    apt = Apt(tmp_path / "apt", yard.apt_sources)
    for state, new in (("before", set()), ("after", set(LIBRARIES)), ({"libd17": "1.1"}, {"libd17"})):
        yard.state(state)
        apt.run("update")
        simulated = apt.run("--simulate", "install", *LIBRARIES)
        for name in LIBRARIES:
            assert f"Inst {name} ({'1.1' if name in new else '1.0'} " in simulated


def test_the_farm_reads_its_sources_and_vouches_for_their_files(yard: Yard, tmp_path: Path) -> None:
    yard.state("before")
    (repository,) = repositories_of(AptSources(yard.apt_sources))
    found = read_sources(Reader(Fetcher(tmp_path / "cache")), repository)
    assert {one.source.source for one in found} == set(SOURCES)
    for name in SOURCES:
        dsc = fetch_source(yard.job(name), tmp_path / name, tmp_path / "cache")
        subprocess.run(
            ["dpkg-source", "-x", str(dsc), str(tmp_path / f"{name}-tree")], check=True, capture_output=True
        )


def test_the_farm_s_settings_name_it_beside_the_host_s_mirror(yard: Yard) -> None:
    text = tomllib.loads(yard.farm_toml())["series"][yard.series]["apt_sources"]
    assert text.endswith(yard.apt_sources)
    assert len(repositories_of(AptSources(text))) > 1


@pytest.mark.parametrize(
    ("name", "new", "passes"),
    [
        ("victim", (), True),
        ("victim", ("libd17",), False),
        ("victim", tuple(set(LIBRARIES) - {"libd17"}), True),
        ("victim-pair", ("libd09",), True),
        ("victim-pair", ("libd31",), True),
        ("victim-pair", ("libd09", "libd31"), False),
        ("victim-either", ("libd05",), False),
        ("victim-either", ("libd22",), False),
        ("victim-either", ("libd09",), True),
        ("steady", LIBRARIES, True),
        ("taptest", (), False),
    ],
)
def test_what_its_victims_fail_by(
    yard: Yard, tmp_path: Path, name: str, new: tuple[str, ...], passes: bool
) -> None:
    for library in LIBRARIES:
        deb = yard.deb(library, "1.1" if library in new else "1.0")
        subprocess.run(["dpkg-deb", "-x", str(deb), str(tmp_path / "root")], check=True)
    dsc = fetch_source(yard.job(name), tmp_path, tmp_path / "cache")
    subprocess.run(["dpkg-source", "-x", str(dsc), "tree"], cwd=tmp_path, check=True, capture_output=True)
    environment = os.environ | {"YARD_ROOT": str(tmp_path / "root")}
    done = subprocess.run(
        ["debian/rules", "build"], cwd=tmp_path / "tree", env=environment, capture_output=True, text=True
    )
    assert (done.returncode == 0) == passes, done.stdout + done.stderr
    if passes:
        subprocess.run(["debian/rules", "binary"], cwd=tmp_path / "tree", check=True, capture_output=True)
        assert list(tmp_path.glob(f"{name}_1.0_*.deb"))


def test_its_ties_are_dependencies(tmp_path: Path) -> None:
    yard = Yard(tmp_path / "yard", needs={"libd03": "libd04"})
    try:
        yard.state("after")
        depends = {one.name: one.depends for one in yard.packages() if one.depends}
        assert depends == {"libd03": "libd04 (>= 1.1)"}
        yard.state("before")
        assert not any(one.depends for one in yard.packages())
    finally:
        yard.close()
