"""Good recipes: what they come to, as recipes and as jobs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from buildfarm.job import (
    AutopkgtestJob,
    BootJob,
    Branch,
    BuildRules,
    CoverageJob,
    FirstbootJob,
    Job,
    LintJob,
    MachineRules,
    SourcePart,
    SuiteJob,
    UnitTestJob,
)
from buildfarm.recipe import branch_of, job_for, load_recipes
from tests.recipe.conftest import EVERYTHING, GOOD, Shelf


def test_a_small_recipe_is_filled_with_defaults(shelf: Shelf) -> None:
    recipe = shelf.recipe(GOOD)
    assert recipe.name == "hello"
    assert recipe.trunk.poll_interval_s == 60
    assert (recipe.series, recipe.architectures) == (("bookworm",), ("amd64",))
    assert job_for(recipe, "a" * 40, "run-1") == Job(
        run_id="run-1",
        recipe="hello",
        trunk=Branch("git", "https://example.org/hello.git", "main"),
        revision="a" * 40,
        archive="local:demo/trunk",
        series=("bookworm",),
        architectures=("amd64",),
        boot=BootJob(),
        autopkgtest=AutopkgtestJob(),
    )


def test_every_key_reaches_the_job(shelf: Shelf) -> None:
    recipe = shelf.recipe(EVERYTHING)
    job = job_for(recipe, "rev-1", "run-1")
    assert job == Job(
        run_id="run-1",
        recipe="greeter",
        trunk=Branch("bzr", "bzr+ssh://bazaar.example.org/hello/trunk"),
        revision="rev-1",
        archive="ppa:someone/hello-daily",
        series=("bookworm", "trixie"),
        architectures=("arm64", "amd64"),
        parts=(
            SourcePart("nest-part", "po", Branch("git", "https://example.org/po.git"), "po", "out/po", "v1.2"),
            SourcePart(
                "nest", "packaging", Branch("git", "git@example.org:hello-packaging.git", "debian/sid"), "debian"
            ),
        ),
        version_template="{debupstream}+r{revno}-p{revno:packaging}",
        maintainer="Jane Doe <jane@example.org>",
        lint=LintJob(("hello", "setup.py"), 9.0, ("python3-requests",), 60),
        unittest=UnitTestJob(
            ("python3", "-m", "pytest", "-k", "not slow"),
            "out/junit.xml",
            CoverageJob(80.0, ("hello",)),
            ("python3-pytest",),
            {"LANG": "C.UTF-8", "SPACED": "a b"},
            600,
        ),
        build=BuildRules(3600, "error"),
        machine=MachineRules(
            memory_mib=1024,
            cpus=2,
            disk_gib=16,
            screen=True,
            start="cold",
            allow=(
                "pypi.org:443",
                "[2001:db8::1]:8080",
                "files.example.org:80",
                "files.example.org:443",
            ),
            image="cloud",
        ),
        boot=BootJob(
            packages=("greeter",),
            commands=(("greeter", "--version"), ("greeter", "--greet", "the world")),
            script="debian/tests/machine",
            services=("greeter@one.service", "greeter.timer"),
            reboot=True,
            upgrade=False,
            purge=False,
            boot_timeout_s=60,
            install_timeout_s=120,
            test_timeout_s=240,
        ),
        autopkgtest=AutopkgtestJob(timeout_s=900, test_timeout_s=300, reverse_dependencies=True),
        suite=SuiteJob(
            script="tests/integration/run",
            provision="tests/integration/provision",
            results=("/var/lib/greeter/results.xml", "/var/lib/greeter/results.subunit"),
            logs=("/var/log/greeter",),
            machines=2,
            packages=("greeter", "greeter-plugins"),
            timeout_s=3600,
        ),
        firstboot=FirstbootJob(
            script="debian/tests/make-image",
            packages=("greeter",),
            memory_mib=384,
            timeout_s=1800,
            build_timeout_s=900,
        ),
        promote="ppa:someone/hello-stable",
    )
    assert recipe.trunk.poll_interval_s == 30
    assert branch_of(recipe) == job.trunk


def test_a_job_survives_its_file(shelf: Shelf) -> None:
    job = job_for(shelf.recipe(EVERYTHING), "rev-1", "run-1")
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_a_job_written_before_machines_were_known_asks_for_none(shelf: Shelf) -> None:
    later = ("machine", "boot", "autopkgtest", "suite", "firstboot", "promote")
    written = job_for(shelf.recipe(GOOD), "rev-1", "run-1").to_json()
    job = Job.from_json({key: value for key, value in written.items() if key not in later})
    assert (job.boot, job.autopkgtest, job.suite, job.firstboot, job.promote) == (None, None, None, None, "")


@pytest.mark.parametrize("off", ["null", "false", "~"])
def test_what_is_on_unless_said_otherwise_can_be_switched_off(shelf: Shelf, off: str) -> None:
    job = job_for(shelf.recipe(GOOD + f"boot: {off}\nautopkgtest: {off}\n"), "rev-1", "run-1")
    assert (job.boot, job.autopkgtest) == (None, None)


def test_a_recipe_may_switch_on_what_its_template_switched_off(shelf: Shelf) -> None:
    shelf.write("templates/bare.yaml", "boot: false\nautopkgtest: null\n")
    job = job_for(shelf.recipe(f"extends: bare\nboot: true\n{GOOD}"), "rev-1", "run-1")
    assert (job.boot, job.autopkgtest) == (BootJob(), None)


def test_a_resolved_recipe_does_not_change(shelf: Shelf) -> None:
    recipe = shelf.recipe(GOOD)
    with pytest.raises(ValidationError):
        recipe.publish = "local:else/where"


def test_a_relative_location_counts_from_the_recipe(shelf: Shelf) -> None:
    recipe = shelf.recipe("trunk: {vcs: git, location: ../my trunks/hello}\npublish: local:a/b\n")
    assert recipe.trunk.location == str(shelf.path.parent / "my trunks" / "hello")


def test_a_relative_location_does_not_depend_on_where_the_farm_runs(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.write("hello.yaml", "trunk: {vcs: bzr, location: ../hello}\npublish: local:a/b\n")
    monkeypatch.chdir(shelf.path.parent)
    book = load_recipes(Path("recipes"), ("bookworm",), ("amd64",))
    assert book.recipes["hello"].trunk.location == str(shelf.path.parent / "hello")


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("lp:hello", "https://git.launchpad.net/hello"),
        ("lp:~jane/hello", "https://git.launchpad.net/~jane/hello"),
        ("lp:~jane/hello/+git/other", "https://git.launchpad.net/~jane/hello/+git/other"),
        ("lp:ubuntu/+source/hello", "https://git.launchpad.net/ubuntu/+source/hello"),
    ],
)
def test_git_on_launchpad_is_reached_by_https(shelf: Shelf, written: str, address: str) -> None:
    recipe = shelf.recipe(f'trunk: {{vcs: git, location: "{written}"}}\npublish: local:a/b\n')
    assert recipe.trunk.location == address


def test_bazaar_resolves_launchpad_itself(shelf: Shelf) -> None:
    recipe = shelf.recipe('trunk: {vcs: bzr, location: "lp:~jane/hello/trunk"}\npublish: local:a/b\n')
    assert recipe.trunk.location == "lp:~jane/hello/trunk"


@pytest.mark.parametrize("stem", ["Hello_World", "hello world", "-hello-", "Hello.World"])
def test_a_file_name_is_made_a_valid_name(shelf: Shelf, stem: str) -> None:
    (name,) = shelf.recipes(GOOD, f"{stem}.yaml")
    assert name == stem.lower().replace("_", "-").replace(" ", "-").strip("-")


def test_a_path_that_looks_like_an_option_reaches_no_tool_as_one(shelf: Shelf) -> None:
    recipe = shelf.recipe(GOOD + "lint: {targets: [./--rcfile=x, ./a//b/./c/, .]}\n")
    assert recipe.lint is not None
    assert recipe.lint.targets == ("./--rcfile=x", "a/b/c", ".")


def test_a_template_may_use_the_farms_own_variables(shelf: Shelf) -> None:
    recipe = shelf.recipe(GOOD + 'version: {template: "{epoch}{debupstream}+{snapshot}-0~{series}.1"}\n')
    assert recipe.version.template == "{epoch}{debupstream}+{snapshot}-0~{series}.1"


def test_yes_no_and_versions_in_quotes_are_text(shelf: Shelf) -> None:
    recipe = shelf.recipe(GOOD + 'unittest: {command: [on, yes, "1.10", "null"]}\n')
    assert recipe.unittest is not None
    assert recipe.unittest.command == ("on", "yes", "1.10", "null")


def test_yml_counts_and_an_editors_files_do_not(shelf: Shelf) -> None:
    shelf.write("a.yml", GOOD)
    shelf.write(".b.yaml", "{")
    shelf.write("c.yaml~", "{")
    shelf.write("README.md", "{")
    assert list(shelf.recipes(GOOD, "d.yaml")) == ["a", "d"]


def test_the_shipped_recipes_and_templates_load() -> None:
    book = load_recipes(Path(__file__).parents[2] / "recipes", ("bookworm",), ("amd64",))
    assert book.problems == ()


@pytest.mark.parametrize(
    ("template", "command"),
    [
        ("python", ("python3", "-m", "pytest", "--junit-xml=junit.xml")),
        ("python-unittest", ("python3", "-m", "unittest", "discover")),
    ],
)
def test_the_shipped_templates_make_a_recipe(shelf: Shelf, template: str, command: tuple[str, ...]) -> None:
    shipped = Path(__file__).parents[2] / "recipes" / "templates"
    (shelf.path / "templates").symlink_to(shipped)
    recipe = shelf.recipe(GOOD + f"extends: {template}\nlint: {{targets: [hello]}}\n")
    assert recipe.unittest is not None
    assert recipe.unittest.command == command
    assert bool(recipe.unittest.junit) == (template == "python")
    assert recipe.lint is not None
    assert recipe.lint.threshold == 8.0
