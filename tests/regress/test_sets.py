"""Package sets: what regression.yaml may say, and what people are told of what it may not."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from buildfarm.build.limits import BuildLimits
from buildfarm.cli import main
from buildfarm.errors import UsageError
from buildfarm.recipe import load_recipes
from buildfarm.recipe.loading import Defaults
from buildfarm.recipe.problem import RuleError
from buildfarm.regress.model import ExtraSources
from buildfarm.regress.schedule import local_zone
from buildfarm.regress.set_schema import regression_schema, schema_text
from buildfarm.regress.sets import AD_HOC, PackageSet, SetBook, ad_hoc_set, load_sets
from buildfarm.regress.units import DURATION_PATTERN, parse_duration, parse_size

ROOT = Path(__file__).parents[2]
DEFAULTS = Defaults(("bookworm",), ("amd64",))
KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZw==\n-----END PGP PUBLIC KEY BLOCK-----\n"
DEB822 = "Types: deb\nURIs: https://example.org/debian\nSuites: bookworm\nComponents: main\n"
EVERYTHING = """\
zone: Europe/Zurich
sets:
  all-of-it:
    packages: [openldap, lib*-perl, "*-doc"]
    exclude: [libreoffice]
    reverse_build_depends_of: [openssl]
    ppa: local:demo/trunk
    series: [bookworm, trixie]
    architectures: [arm64, amd64]
    at: 02:30
    priority: -5
    publish: ppa:someone/rebuilds
    limits: {timeout: 1h 30min, silence: 20min, memory: 1.5 GiB, disk: 20GiB, log: 100 MiB, processes: 64}
    options: [parallel=2, nocheck]
    control: hello
    confirm: false
    culprit: {builds: 5, time: 90min}
    tell: false
    extra:
      - key: key.asc
        sources: |
          Types: deb
          URIs: https://example.org/debian
          Suites: bookworm
          Components: main
  bare: {packages: [hello]}
  often: {packages: [hello], every: 12h, culprit: false}
"""


def load(directory: Path, text: str) -> SetBook:
    (directory / "regression.yaml").write_text(text)
    return load_sets(directory / "regression.yaml", DEFAULTS)


def told(directory: Path, text: str) -> list[tuple[str, str]]:
    """Each problem's place and message, and its hint."""
    return [
        (f"{one.line}:{one.column}: {one.message}", one.hint)
        for one in load(directory, f"sets:\n  a: {{packages: [x1], {text}}}\n").problems
    ]


def test_everything_that_may_be_said_arrives(tmp_path: Path) -> None:
    (tmp_path / "key.asc").write_text(KEY)
    book = load(tmp_path, EVERYTHING)
    assert book.problems == ()
    assert str(book.zone) == "Europe/Zurich"
    assert list(book.sets) == ["all-of-it", "bare", "often"]
    assert book.find("all-of-it") == PackageSet(
        name="all-of-it",
        series=("bookworm", "trixie"),
        architectures=("arm64", "amd64"),
        packages=("openldap", "lib*-perl", "*-doc"),
        exclude=("libreoffice",),
        reverse_build_depends_of=("openssl",),
        ppa="local:demo/trunk",
        at="02:30",
        priority=-5,
        publish="ppa:someone/rebuilds",
        limits=BuildLimits(5400, 1200, 1536, 20480, 100, 64),
        options=("parallel=2", "nocheck"),
        control="hello",
        confirm=False,
        culprit_builds=5,
        culprit_s=5400,
        tell=False,
        extra=(ExtraSources(DEB822, KEY),),
    )
    assert book.find("bare") == PackageSet("bare", ("bookworm",), ("amd64",), packages=("hello",))
    assert (book.find("often").every_s, book.find("often").culprit) == (43200, False)


def test_the_shipped_file_loads_and_has_the_founding_five(tmp_path: Path) -> None:
    book = load_sets(ROOT / "recipes" / "regression.yaml", DEFAULTS)
    assert book.problems == ()
    founding = book.find("founding")
    assert set(founding.packages) >= {"libvirt", "postgresql-15", "mariadb", "openldap", "php8.2"}
    assert founding.control in founding.packages  # else nothing is known of it
    assert founding.when == "by hand"  # hours of work begin when somebody says so


def test_a_farm_without_the_file_has_no_sets_and_no_problems(tmp_path: Path) -> None:
    book = load_sets(tmp_path / "regression.yaml", DEFAULTS)
    assert (dict(book.sets), book.problems) == ({}, ())


def test_the_file_is_no_recipe(tmp_path: Path) -> None:
    load(tmp_path, EVERYTHING)
    assert load_recipes(tmp_path, ("bookworm",), ("amd64",)).problems == ()


def test_a_bad_set_stops_only_itself(tmp_path: Path) -> None:
    book = load(
        tmp_path,
        "sets:\n  good: {packages: [hello]}\n  bad: {packages: [Hello]}\n  worse: 3\n  fine: {ppa: local:a/b}\n",
    )
    assert list(book.sets) == ["fine", "good"]
    assert [(one.line, one.column) for one in book.problems] == [(3, 20), (4, 10)]
    with pytest.raises(UsageError) as caught:
        book.find("goood")
    assert "Did you mean 'good'?" in caught.value.resolution
    assert "packages[0]: 'Hello'" in caught.value.details


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("pakages: [y]", "2:23: unknown key 'pakages'", "Did you mean 'packages'?"),
        ("exclude: ['!y']", "2:33: exclude[0]: '!y' is no name", "exclude: [y]"),
        ("packages: [y]", "2:23: the key 'packages' appears twice", "keep one"),
        ("series: bookworm", "2:31: series: a list is wanted", "[bookworm]"),
        ("architectures: [x86_64]", "2:39: architectures[0]: debian has another name", "Write amd64."),
        ("at: 2:30", "2:27: at: '2:30' is no time of day", 'Write "02:30".'),
        ("at: 25:00", "2:27: at: '25:00' is no time of day", "02:30"),
        ("every: 12", "2:30: every: '12' is no duration", "12 s, 12 min, 12 h or 12 d"),
        ("every: 1 hour", "2:30: every: '1 hour' is no duration", "Write 1 h."),
        ("every: 3s", "2:30: every: 3s is out of bounds", "From 5min"),
        ("at: 02:30, every: 1h", "2:41: every: a set has at or every, not both", "Remove one"),
        ("limits: {memory: 8G}", "2:40: limits.memory: '8G' is no size", "Write 8 GiB."),
        ("limits: {memory: 8}", "2:40: limits.memory: '8' is no size", "8 MiB, 8 GiB or 8 TiB"),
        ("limits: {memory: []}", "2:40: limits.memory: text is wanted, not a list", "memory: 8 GiB"),
        ("limits: {processes: 1}", "2:43: limits.processes is the number 1", "processes: 4096"),
        ("culprit: {build: 3}", "2:33: unknown key 'culprit.build'", "Did you mean 'builds'?"),
        ("options: ['a b']", "2:33: options[0]: 'a b' is no word", "parallel=4"),
        ("publish: demo", "2:32: publish: 'demo' is no archive", "local:demo/trunk"),
        ("ppa: local:a/b, publish: local:a/b", "2:48: publish: local:a/b is what the set rebuilds", "another"),
        ("priority: high", "2:33: priority: a whole number is wanted", "priority: 10"),
        ("extra: [{sources: x, key: k}]", "2:41: extra[0].sources: a repository has no Types", "Types: deb"),
        ("extra: [{key: k}]", "2:31: extra[0].sources is missing", "Its deb822 text"),
    ],
)  # fmt: skip
def test_a_slip_is_told_with_its_place_and_what_would_be_right(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    found = told(tmp_path, text)
    assert len(found) == 1, found
    assert found[0][0].startswith(message)
    assert hint in found[0][1]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", (1, 1), "names no sets"),
        ("[]", (1, 1), "names no sets"),
        ("sets:\n", (1, 1), "sets: a mapping"),
        ("sets: {}\nset: {}\n", (2, 1), "unknown key 'set'"),
        ("zone: Europe/Zuric\nsets: {}\n", (1, 7), "no time zone is named 'Europe/Zuric'"),
        ("zone: ../../etc/passwd\nsets: {}\n", (1, 7), "no time zone is named"),
        ("sets: {Big: {packages: [x1]}}\n", (1, 8), "'Big' cannot name a set"),
        (f"sets: {{{AD_HOC}: {{packages: [x1]}}}}\n", (1, 8), "what packages of a command line are called"),
        ("sets: {a: {series: [sid]}}\n", (1, 8), "names no packages"),
        ("sets: {a: {packages: [*-perl]}}\n", (1, 23), "alias"),
        ("sets: {a: !!python/object:os.system {}}\n", (1, 11), "tag"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_says_where(
    tmp_path: Path, text: str, place: tuple[int, int], message: str
) -> None:
    book = load(tmp_path, text)
    assert not book.sets
    (problem,) = book.problems
    assert (problem.line, problem.column) == place
    assert message in problem.message


def test_extra_repositories_bring_public_keys_and_no_others(tmp_path: Path) -> None:
    def problem(sources: str = DEB822, key: str = KEY) -> str:
        (tmp_path / "key.asc").write_text(key)
        text = f"sets:\n  a:\n    packages: [x1]\n    extra: [{{sources: {json.dumps(sources)}, key: key.asc}}]\n"
        return "".join(f"{one.line}: {one.message}" for one in load(tmp_path, text).problems)

    assert problem() == ""
    assert "secret key" in problem(key=KEY.replace("PUBLIC", "PRIVATE"))
    assert "no public key" in problem(key="hello")
    assert "larger than" in problem(key=KEY + "x" * (1 << 20))
    assert "fields Signed-By and Trusted are not taken" in problem(DEB822 + "Signed-By: /etc/shadow\n")
    assert "fields Signed-By and Trusted are not taken" in problem(DEB822 + "Trusted: yes\n")
    assert "no address for builds" in problem(DEB822.replace("https", "file"))
    assert "no address for builds" in problem(DEB822.replace("example", "me:secret@example"))
    (tmp_path / "key.asc").unlink()
    text = f"sets: {{a: {{packages: [x1], extra: [{{sources: {json.dumps(DEB822)}, key: key.asc}}]}}}}"
    assert "No such file" in load(tmp_path, text).problems[0].message


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["packages", "ppa", "at", "every", "limits", "culprit", "extra", "sources", "key"])
                | st.text(max_size=5),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_a_set_is_the_others_load_and_nothing_is_raised(tmp_path: Path, value: object) -> None:
    text = json.dumps({"sets": {"good": {"packages": ["hello"]}, "odd": value}}, ensure_ascii=True)
    book = load(tmp_path, text)
    assert "good" in book.sets or book.problems  # half a surrogate pair spoils the file as a whole
    assert ("odd" in book.sets) != bool(book.problems)


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("1h30min", 5400), ("1h 30min", 5400), ("0.5 h", 1800), ("2d", 172800)]
)
def test_durations_are_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@given(st.from_regex(DURATION_PATTERN, fullmatch=True) | st.text(max_size=50))
def test_a_duration_is_seconds_or_a_slip_with_a_hint(text: str) -> None:
    if re.fullmatch(DURATION_PATTERN, text, re.ASCII) and len(text) <= 40:
        assert parse_duration(text) >= 0
        return
    with pytest.raises(RuleError) as caught:
        parse_duration(text)
    assert caught.value.hint


@given(st.integers(1, 10**6), st.sampled_from(["", " "]), st.sampled_from([("MiB", 1), ("GiB", 1024)]))
def test_a_size_is_mebibytes(number: int, blank: str, unit: tuple[str, int]) -> None:
    assert parse_size(f"{number}{blank}{unit[0]}") == number * unit[1]


def test_packages_of_a_command_line_are_a_set_of_their_own() -> None:
    found = ad_hoc_set(["openldap", "lib*-perl", "openldap"], ["sid"], ["amd64"])
    assert (found.name, found.packages) == (AD_HOC, ("openldap", "lib*-perl"))
    assert (found.at, found.every_s) == ("", 0)
    with pytest.raises(UsageError, match="'--help' is no name of a source package"):
        ad_hoc_set(["--help"], ["sid"], ["amd64"])


def test_the_zone_of_this_machine_is_that_of_its_clock(tmp_path: Path) -> None:
    assert local_zone({"TZ": "Asia/Kathmandu"}) == ZoneInfo("Asia/Kathmandu")
    localtime = tmp_path / "localtime"
    localtime.write_bytes(Path("/usr/share/zoneinfo/Asia/Kathmandu").read_bytes())
    for environ in ({}, {"TZ": "No/Such"}):
        offset = local_zone(environ, localtime).utcoffset(datetime(2026, 11, 27))
        assert offset is not None
        assert offset.total_seconds() == 5.75 * 3600
    assert local_zone({}, tmp_path / "nothing") == ZoneInfo("UTC")


@pytest.fixture
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "recipes").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "recipes"


def test_check_covers_the_sets(farm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(farm, "sets:\n  a: {packages: [hello], at: 02:30, series: [sid]}\n  b: {packages: [hello]}\n")
    assert main(["check"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "a: rebuilt at 02:30 (sid)"
    load(farm, "sets:\n  a: {packages: [hello], att: 1}\n  b: {packages: [hello]}\n")
    assert main(["check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "recipes/regression.yaml:2:26: unknown key 'att'"
    assert lines[-1] == "1 problem in 1 file; 0 recipes, 1 package set well"
    assert main(["check", "--format", "json", "recipes/regression.yaml"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["sets"], told["problems"][0]["line"]) == (["b"], 2)


def test_check_names_series_and_architectures_that_there_are_not(
    farm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(
        farm,
        "sets:\n"
        "  a: {packages: [hello], series: [bookworm, bookwurm], architectures: [riscv64]}\n"
        "  b: {packages: [hello], architectures: [amd46, zz80]}\n"
        "  c: {packages: [hello]}\n",
    )
    assert main(["check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "recipes/regression.yaml:2:45: series[1]: no series is called 'bookwurm'"
    assert "bookworm" in lines[1]
    assert "[series.bookwurm]" in lines[1]
    assert lines[2] == "recipes/regression.yaml:3:42: architectures[0]: no architecture is called 'amd46'"
    assert "Did you mean 'amd64'?" in lines[3]
    assert lines[4] == "recipes/regression.yaml:3:49: architectures[1]: no architecture is called 'zz80'"
    assert lines[-1] == "3 problems in 1 file; 0 recipes, 1 package set well"


def test_a_series_that_the_settings_have_is_known(farm: Path) -> None:
    load(farm, "sets: {a: {packages: [hello], series: [ours]}}")
    assert main(["check"]) == 1
    (farm.parent / "farm.toml").write_text(
        "[series.ours]\napt_sources = 'deb https://example.org/debian ours main'\n"
    )
    assert main(["check"]) == 0


def test_a_farm_keeps_a_set_with_a_series_that_there_is_not(tmp_path: Path) -> None:
    book = load(tmp_path, "sets: {a: {packages: [hello], series: [bookworm, bookwurm]}}")
    assert book.find("a").series == ("bookworm", "bookwurm")


def test_check_of_one_recipe_says_nothing_of_the_sets(farm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(farm, "sets: 3\n")
    (farm / "a.yaml").write_text(
        "trunk: {vcs: git, location: https://example.org/a.git}\npublish: local:demo/trunk\n"
    )
    assert main(["check", "recipes/a.yaml"]) == 0
    assert main(["check", "recipes/regression.yaml"]) == 1


def test_the_published_schema_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    published = (ROOT / "docs" / "reference" / "regression.schema.json").read_text(encoding="utf-8")
    assert published == schema_text(), (
        "run: buildfarm check --schema regression > docs/reference/regression.schema.json"
    )
    assert main(["check", "--schema", "regression"]) == 0
    assert capsys.readouterr().out == published


def test_the_schema_takes_what_loads_and_refuses_what_an_editor_can_see() -> None:
    yaml = YAML(typ="safe", pure=True)
    jsonschema.Draft202012Validator.check_schema(regression_schema())
    for text in (EVERYTHING, (ROOT / "recipes" / "regression.yaml").read_text()):
        jsonschema.validate(yaml.load(text), regression_schema())
    for text in (
        "{packages: x}",
        "{at: 2:30}",
        "{every: 12}",
        "{limits: {memory: 8G}}",
        "{att: 1}",
        "{packages: [X]}",
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.load(f"sets: {{a: {text}}}"), regression_schema())


def test_the_reference_describes_every_key() -> None:
    reference = (ROOT / "docs" / "reference" / "regression.md").read_text(encoding="utf-8")
    keys = set(regression_schema()["properties"])
    for definition in regression_schema()["$defs"].values():
        keys |= set(definition["properties"])
    assert [key for key in sorted(keys) if f"`{key}`" not in reference] == []
