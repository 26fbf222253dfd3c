"""A recipes/ directory to write into and load from."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from buildfarm.recipe import Problem, Recipe, RecipeBook, load_recipes

GOOD = """\
trunk: {vcs: git, location: https://example.org/hello.git, branch: main}
publish: local:demo/trunk
"""

EVERYTHING = """\
name: greeter
trunk: {vcs: bzr, location: "bzr+ssh://bazaar.example.org/hello/trunk", poll_interval_s: 30}
packaging: {vcs: git, location: git@example.org:hello-packaging.git, branch: debian/sid, into: debian}
parts:
  - {kind: nest-part, name: po, vcs: git, location: https://example.org/po.git, subdir: out/po, revision: v1.2}
lint: {targets: [hello, ./setup.py], threshold: 9, packages: [python3-requests], timeout_s: 60}
unittest:
  command: python3 -m pytest -k 'not slow'
  junit: out/junit.xml
  coverage: {floor: 80, sources: [hello]}
  packages: [python3-pytest]
  environment: {LANG: C.UTF-8, SPACED: "a b"}
  timeout_s: 600
version: {template: "{debupstream}+r{revno}-p{revno:packaging}"}
series: [bookworm, trixie]
architectures: [arm64, amd64]
publish: ppa:someone/hello-daily
build: {timeout_s: 3600, lintian_fail_on: error}
machine:
  memory_mib: 1024
  cpus: 2
  disk_gib: 16
  screen: true
  start: cold
  allow: [PyPI.org:443, "[2001:db8::1]:8080", files.example.org]
  image: cloud
boot:
  packages: [greeter]
  commands: [[greeter, --version], greeter --greet 'the world']
  script: ./debian/tests/machine
  services: [greeter@one.service, greeter.timer]
  reboot: true
  upgrade: false
  purge: false
  boot_timeout_s: 60
  install_timeout_s: 120
  test_timeout_s: 240
autopkgtest: {timeout_s: 900, test_timeout_s: 300, reverse_dependencies: true}
suite:
  script: tests/integration/run
  provision: tests/integration/provision
  results: [/var/lib/greeter/results.xml, /var/lib/greeter/results.subunit]
  logs: [/var/log/greeter/]
  machines: 2
  packages: [greeter, greeter-plugins]
  timeout_s: 3600
firstboot:
  script: debian/tests/make-image
  packages: [greeter]
  memory_mib: 384
  timeout_s: 1800
  build_timeout_s: 900
promote: ppa:someone/hello-stable
maintainer: Jane Doe <jane@example.org>
"""

SOURCE = """\
publish: local:demo/hello
trunk: {poll_interval_s: 30}
source: |
  # git-build-recipe format 0.4 deb-version {debupstream}-0~{revno}+{revno:packaging}
  lp:hello main
  nest packaging lp:~jane/hello debian master
    merge fixes https://example.org/fixes 0123456789abcdef0123456789abcdef01234567
    nest-part po https://example.org/po out/po
"""


@dataclass(frozen=True)
class Shelf:
    """A directory of recipes."""

    path: Path

    def write(self, name: str, text: str) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return file

    def load(self) -> RecipeBook:
        return load_recipes(self.path, ("bookworm",), ("amd64",))

    def recipes(self, text: str, name: str = "hello.yaml") -> dict[str, Recipe]:
        """What the text comes to, all being well."""
        self.write(name, text)
        book = self.load()
        assert book.problems == ()
        return dict(book.recipes)

    def recipe(self, text: str) -> Recipe:
        (recipe,) = self.recipes(text).values()
        return recipe

    def problems(self, text: str, name: str = "bad.yaml") -> tuple[Problem, ...]:
        """What is wrong with the text, something being wrong, and nobody else being hurt."""
        self.write(name, text)
        self.write("zz-good.yaml", GOOD)
        book = self.load()
        assert list(book.recipes) == ["zz-good"]
        assert book.problems
        return book.problems


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    path = tmp_path / "recipes"
    path.mkdir()
    return Shelf(path)
