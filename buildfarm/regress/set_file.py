"""What may be written in regression.yaml, with its limits and its words for people."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from buildfarm.build.apt_sources import parse_deb822
from buildfarm.build.limits import BuildLimits
from buildfarm.recipe import rules
from buildfarm.recipe.model import (
    Architecture,
    Frozen,
    Packages,
    Series,
    as_custom,
    as_switch,
    or_empty,
    told,
    unique,
)
from buildfarm.recipe.problem import RuleError, suggest
from buildfarm.regress.package_set import AD_HOC, PATTERN, PackageSet
from buildfarm.regress.units import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    TIME_PATTERN,
    check_time_of_day,
    parse_duration,
    parse_size,
)

DAY_S = 86400
OPTION_PATTERN = r"[a-z][a-z0-9-]*(=[A-Za-z0-9,.+_-]+)?"
EXTRA_FIELDS = ("types", "uris", "suites", "components", "architectures", "enabled")
CULPRIT = PackageSet("", (), ())


def _as_text(value: Any) -> Any:
    """YAML reads 3600 as a number, which has no unit: it goes the way of the texts, to be told so."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _between(parse: Callable[[str], int], least: str, most: str) -> AfterValidator:
    def check(text: str) -> str:
        if not parse(least) <= parse(text) <= parse(most):
            raise RuleError(f"{text} is out of bounds", f"From {least} to {most} is possible.")
        return text

    return AfterValidator(told(check))


def _matching(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$"})


def check_pattern(text: str) -> str:
    """The name of a source package, or a glob; raises RuleError."""
    if not PATTERN.fullmatch(text):
        hint = "Source packages have lower case letters, digits, + . and -; a pattern has * ? [...] too."
        if text.startswith(("!", "-", "~")):
            hint = f"What is left out stands under exclude: [{text[1:]}]"
        raise RuleError(f"{text[:80]!r} is no name of a source package, and no pattern", hint)
    return text


def check_set_name(text: str) -> str:
    """The name of a set; raises RuleError."""
    if len(text) > rules.NAME_LIMIT or not re.fullmatch(rules.NAME_PATTERN, text):
        raise RuleError(
            f"{text[:80]!r} cannot name a set",
            f"Lower case letters, digits, + . and -, at most {rules.NAME_LIMIT}: for example founding.",
        )
    if text == AD_HOC:
        raise RuleError(f"{AD_HOC!r} is what packages of a command line are called", "Give the set another name.")
    return text


def check_option(text: str) -> str:
    """A word of DEB_BUILD_OPTIONS; raises RuleError."""
    if not re.fullmatch(OPTION_PATTERN, text):
        raise RuleError(f"{text[:80]!r} is no word of DEB_BUILD_OPTIONS", "For example [parallel=4, noopt].")
    return text


def check_zone(name: str) -> str:
    """The name of a time zone; raises RuleError with the nearest that there are."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise RuleError(
            f"no time zone is named {name[:80]!r}", suggest(name, available_timezones(), "time zones")
        ) from error
    return name


def check_extra_sources(text: str) -> str:
    """deb822 text that names repositories whose keys stand apart; raises RuleError."""
    stanzas = [{name.lower(): value for name, value in one.items()} for one in parse_deb822(text)]
    example = "Write a block (|) with the lines Types: deb, URIs: https://..., Suites: ... and Components: main."
    if not stanzas:
        raise RuleError("it names no repository", example)
    for one in stanzas:
        if missing := next((name for name in ("types", "uris", "suites") if not one.get(name)), None):
            raise RuleError(f"a repository has no {missing.replace('uris', 'URIs').capitalize()}", example)
        if {"signed-by", "trusted"} & one.keys():
            raise RuleError(
                "the fields Signed-By and Trusted are not taken here", "Name the file of keys beside it, as key:."
            )
        if strange := next((name for name in one if name not in EXTRA_FIELDS), None):
            raise RuleError(f"the field {strange!r} is not taken here", suggest(strange, EXTRA_FIELDS, "fields"))
        for uri in one["uris"].split():
            if not uri.startswith(("http://", "https://")) or "@" in uri.partition("//")[2].partition("/")[0]:
                raise RuleError(
                    f"{uri[:80]!r} is no address for builds", "http:// or https:// without a password."
                )
    return text


AS_TEXT = BeforeValidator(_as_text)
BuildTime = Annotated[str, AS_TEXT, _between(parse_duration, "1s", "7d"), _matching(DURATION_PATTERN)]
SearchTime = Annotated[str, AS_TEXT, _between(parse_duration, "1min", "7d"), _matching(DURATION_PATTERN)]
Interval = Annotated[str, AS_TEXT, _between(parse_duration, "5min", "90d"), _matching(DURATION_PATTERN)]
TimeOfDay = Annotated[str, AS_TEXT, AfterValidator(told(check_time_of_day)), _matching(TIME_PATTERN)]
RoomSize = Annotated[str, AS_TEXT, _between(parse_size, "64 MiB", "64 TiB"), _matching(SIZE_PATTERN)]
LogSize = Annotated[str, AS_TEXT, _between(parse_size, "1 MiB", "100 GiB"), _matching(SIZE_PATTERN)]
Pattern = Annotated[str, AfterValidator(told(check_pattern)), _matching(PATTERN.pattern)]
Patterns = Annotated[tuple[Pattern, ...], AfterValidator(told(unique))]
Option = Annotated[str, AfterValidator(told(check_option)), _matching(OPTION_PATTERN)]
Options = Annotated[tuple[Option, ...], Field(max_length=32), AfterValidator(told(unique))]
Archive = Annotated[str, AfterValidator(or_empty(rules.check_archive)), _matching("(ppa|local):[^/]+/[^/]+")]


class Limits(Frozen):
    """What one build may use before it is stopped."""

    timeout: BuildTime = Field(default="4h", examples=["4h"])
    """Time in all."""
    silence: BuildTime = Field(default="1h", examples=["1h"])
    """Time without a word in its log."""
    memory: RoomSize | None = Field(default=None, examples=["8 GiB"])
    """Memory of all its processes together; left out, what the machine can spare."""
    disk: RoomSize | None = Field(default=None, examples=["20 GiB"])
    """Disk of all its files together; left out, what the machine can spare."""
    log: LogSize = Field(default="500 MiB", examples=["100 MiB"])
    """Its log."""
    processes: int = Field(default=BuildLimits.processes, ge=16, le=4_000_000, examples=[4096])
    """How many processes it has at once."""

    def resolved(self) -> BuildLimits:
        """The limits as a build takes them."""
        return BuildLimits(
            parse_duration(self.timeout),
            parse_duration(self.silence),
            parse_size(self.memory) if self.memory else 0,
            parse_size(self.disk) if self.disk else 0,
            parse_size(self.log),
            self.processes,
        )


class CulpritSearch(Frozen):
    """How much the search for a new failure's cause may cost."""

    builds: int = Field(default=CULPRIT.culprit_builds, ge=1, le=1000, examples=[24])
    """Builds, at most."""
    time: SearchTime = Field(default="4h", examples=["4h"])
    """Time, at most."""


class ExtraRepository(Frozen):
    """A repository that build-dependencies may come from, too."""

    sources: Annotated[str, AfterValidator(told(check_extra_sources))] = Field(
        examples=["Types: deb\nURIs: https://example.org/debian\nSuites: bookworm\nComponents: main\n"]
    )
    """Its deb822 text, as in a file below /etc/apt/sources.list.d, without Signed-By."""
    key: str = Field(min_length=1, examples=["keys/example.asc"])
    """The file with the keys that vouch for it, in ASCII armour; a relative path counts from regression.yaml's
    directory."""


class SetEntry(Frozen):
    """One set. What packages, reverse_build_depends_of and ppa name adds up; one of them must be there."""

    packages: Patterns = Field(default=(), examples=[["openldap", "lib*-perl"]])
    """Source packages, by name or by pattern (* ? [...]); a pattern that begins with * stands in quotes."""
    exclude: Patterns = Field(default=(), examples=[["libreoffice"]])
    """Source packages, by name or by pattern, that are left out."""
    reverse_build_depends_of: Packages = Field(default=(), examples=[["openssl"]])
    """All that build-depends on these (Build-Depends, -Arch, -Indep). A source package stands for every binary
    package that it builds; another name for the binary package of that name."""
    ppa: Archive = Field(default="", examples=["local:demo/trunk"])
    """All packages of a PPA, which build-dependencies may come from then, too."""
    series: Annotated[tuple[Series, ...], Field(min_length=1), AfterValidator(told(unique))] = Field(
        default=(), examples=[["bookworm"]]
    )
    """Codenames of the series; left out, the series of the farm's host."""
    architectures: Annotated[tuple[Architecture, ...], Field(min_length=1), AfterValidator(told(unique))] = Field(
        default=(), examples=[["amd64"]]
    )
    """Debian architectures; the first also builds Architecture: all. Left out, the host's architecture."""
    at: TimeOfDay = Field(default="", examples=["02:30"])
    """The time of day at which it is rebuilt, in the file's time zone."""
    every: Interval = Field(default="", examples=["12h"])
    """Or the time from one start to the next. With neither it runs only by hand."""
    priority: int = Field(default=0, ge=-100, le=100, examples=[10])
    """Of two sets that wait for workers, the one with the greater number comes first."""
    publish: Archive = Field(default="", examples=["local:autotest/regression-test"])
    """The archive that takes the results; left out, none does. On Launchpad the sources are uploaded as
    VERSION~regressionDATE, and built there."""
    limits: Limits = Field(default=Limits(), examples=[{"timeout": "2h", "memory": "4 GiB"}])
    """What one build may use."""
    options: Options = Field(default=(), examples=[["parallel=2"]])
    """Words of DEB_BUILD_OPTIONS."""
    control: Annotated[str, AfterValidator(or_empty(rules.check_package))] = Field(default="", examples=["hello"])
    """The package that is built to see whether a worker is sound; left out, the quickest that passed."""
    confirm: bool = Field(default=True, examples=[False])
    """Whether a new failure is built again, alone, and a control package after it, before anyone hears of it."""
    culprit: Annotated[
        CulpritSearch | None,
        BeforeValidator(as_switch, json_schema_input_type=CulpritSearch | bool | None),
    ] = Field(default=CulpritSearch(), examples=[{"builds": 24, "time": "4h"}])
    """How far the cause of a new failure is searched for; false: not at all."""
    tell: bool = Field(default=True, examples=[False])
    """Whether its digest is sent by mail and webhook."""
    watch_tests: bool = Field(default=True, examples=[False])
    """Whether a test that fails, and failed in no pass before, is a failure although the package's rules forgive
    it."""
    extra: tuple[ExtraRepository, ...] = Field(default=(), max_length=16)
    """More repositories that build-dependencies may come from."""

    @field_validator("every")
    @classmethod
    def _check_every(cls, every: str, info: ValidationInfo) -> str:
        if every and info.data.get("at"):
            raise as_custom(RuleError("a set has at or every, not both", "Remove one of the two."))
        return every

    @field_validator("publish")
    @classmethod
    def _check_publish(cls, publish: str, info: ValidationInfo) -> str:
        if publish and publish == info.data.get("ppa"):
            raise as_custom(
                RuleError(
                    f"{publish} is what the set rebuilds: its results would be rebuilt next time",
                    "Name another archive, for example local:autotest/regression-test.",
                )
            )
        return publish


class RegressionFile(Frozen):
    """recipes/regression.yaml as it is written."""

    zone: Annotated[str, AfterValidator(or_empty(check_zone))] = Field(default="", examples=["Europe/Zurich"])
    """The time zone of every at:, by its name in the tz database; left out, that of the farm's host."""
    sets: Mapping[str, SetEntry] = Field(default={}, examples=[{"founding": {"packages": ["openldap"]}}])
    """The sets, by name: lower case letters, digits, + . and -."""
