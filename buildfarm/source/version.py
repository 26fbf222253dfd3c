"""Versions: what a template's variables mean, and one version for each series from one revision. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from buildfarm.source import SourceFormat
from buildfarm.source.series import Series
from buildfarm.trunk.model import RevisionInfo

SHORT_COMMIT = 7
VERSION_LIMIT = 128  # characters; file names are made of versions
LATEST_TIME = 253_402_300_799  # the last second that a year of four digits names


def commit_time(revision: RevisionInfo) -> int:
    """When the commit was made, in seconds since the epoch, between 1970 and 9999: git takes any number."""
    return min(max(revision.committed_at, 0), LATEST_TIME)


@dataclass(frozen=True)
class DebianVersion:
    """A version in its three parts (Debian policy 5.6.12); ``epoch`` and ``revision`` are "" when absent."""

    epoch: str
    upstream: str
    revision: str

    def __str__(self) -> str:
        epoch = f"{self.epoch}:" if self.epoch else ""
        return f"{epoch}{self.without_epoch}"

    @property
    def without_epoch(self) -> str:
        """The version as file names have it."""
        return f"{self.upstream}-{self.revision}" if self.revision else self.upstream


_VERSION = re.compile(
    r"(?:(?P<epoch>[0-9]{1,9}):)?(?P<upstream>[0-9][A-Za-z0-9.+~-]*?)(?:-(?P<revision>[A-Za-z0-9+.~]+)|(?<!-))"
)


def parse_version(text: str) -> DebianVersion:
    """The version that ``text`` spells; raises ValueError saying what is wrong (Debian policy 5.6.12)."""
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no Debian version: {_what_is_wrong(text)}")
    if len(text) > VERSION_LIMIT:
        raise ValueError(f"{text[:40]!r}… is no usable version: it has more than {VERSION_LIMIT} characters")
    return DebianVersion(match["epoch"] or "", match["upstream"], match["revision"] or "")


def _what_is_wrong(text: str) -> str:
    epoch, colon, rest = text.rpartition(":")
    if illegal := re.search(r"[^A-Za-z0-9.+~-]", rest):
        return f"{illegal[0]!r} may not stand in it"
    if colon and not re.fullmatch(r"[0-9]{1,9}", epoch):
        return f"the epoch {epoch!r} is no number"
    if not re.match(r"[0-9]", rest):
        return "it must begin with a digit"
    return "the revision after its last - is empty"


@dataclass(frozen=True)
class Ingredients:
    """All that a version is made from.

    ``revisions`` and ``changelogs`` (the version of each branch's newest changelog entry) have the trunk as ""
    and the other branches by name; a branch without a changelog is not in ``changelogs``.
    """

    revisions: Mapping[str, RevisionInfo]
    changelogs: Mapping[str, DebianVersion]
    series: Series


@dataclass(frozen=True)
class Variable:
    """One variable of a template: how it is worked out for a branch ("" is the trunk).

    ``minimum_format`` is Launchpad's recipe format that brought it, "" for one of ours.
    """

    name: str
    work_out: Callable[[Ingredients, str], str]
    minimum_format: str
    of_a_branch: bool = True


class TemplateError(ValueError):
    """A template that cannot be followed; the message says what would be right."""


def _revision_time(form: str) -> Callable[[Ingredients, str], str]:
    return lambda given, branch: time.strftime(form, time.gmtime(commit_time(given.revisions[branch])))


def _revno(given: Ingredients, branch: str) -> str:
    return str(given.revisions[branch].revno)


def _changelog(given: Ingredients, branch: str) -> DebianVersion:
    if branch not in given.changelogs:
        raise TemplateError(
            f"the branch {branch or 'of the trunk'} has no debian/changelog to take a version from"
        )
    return given.changelogs[branch]


def _debupstream(given: Ingredients, branch: str) -> str:
    return _changelog(given, branch).upstream


def _debversion(given: Ingredients, branch: str) -> str:
    return str(_changelog(given, branch))


def _debupstream_base(given: Ingredients, branch: str) -> str:
    """Without dfsg and snapshot suffixes, ending in + or ~, as bzr-builder and git-build-recipe have it."""
    base = re.sub(r"[+.]*dfsg[.]*[0-9]+", "", _debupstream(given, branch))
    base = re.sub(r"([~+])(svn[0-9]+|bzr[0-9]+|git[0-9a-f]+)", r"\1", base)
    return base if base.endswith(("+", "~")) else f"{base}+"


def _git_commit(given: Ingredients, branch: str) -> str:
    if given.revisions[branch].vcs != "git":
        raise TemplateError(f"{{git-commit}}: {branch or 'the trunk'} is no git branch")
    return given.revisions[branch].revision[:SHORT_COMMIT]


def _latest_tag(given: Ingredients, branch: str) -> str:
    if not (tag := given.revisions[branch].latest_tag):
        raise TemplateError(f"{{latest-tag}}: {branch or 'the trunk'} has no tag on its main line")
    return tag


def _svn_revno(given: Ingredients, branch: str) -> str:
    """Bazaar keeps what it imported from Subversion as ``svn-v4:UUID:PATH:NUMBER``."""
    match = re.fullmatch(r"svn-v[0-9]+:.*:([0-9]+)", given.revisions[branch].revision)
    if match is None:
        raise TemplateError(f"{{svn-revno}}: {branch or 'the trunk'} was not imported from Subversion")
    return match[1]


def _epoch(given: Ingredients, branch: str) -> str:
    epoch = _changelog(given, branch).epoch
    return f"{epoch}:" if epoch else ""


def _snapshot(given: Ingredients, branch: str) -> str:
    """``git12.gabcdef1`` or ``bzr12``: sorted by the number, unique by the commit."""
    revision = given.revisions[branch]
    commit = f".g{revision.revision[:SHORT_COMMIT]}" if revision.vcs == "git" else ""
    return f"{revision.vcs}{revision.revno}{commit}"


VARIABLES = {
    variable.name: variable
    for variable in (
        # Launchpad means the time of building here; one commit is one version only with the commit's own.
        Variable("time", _revision_time("%Y%m%d%H%M"), "0.1", of_a_branch=False),
        Variable("date", _revision_time("%Y%m%d"), "0.1", of_a_branch=False),
        Variable("revno", _revno, "0.1"),
        Variable("debupstream", _debupstream, "0.1"),
        Variable("debversion", _debversion, "0.3"),
        Variable("debupstream-base", _debupstream_base, "0.3"),
        Variable("revtime", _revision_time("%Y%m%d%H%M"), "0.4"),
        Variable("revdate", _revision_time("%Y%m%d"), "0.4"),
        Variable("git-commit", _git_commit, "0.4"),
        Variable("latest-tag", _latest_tag, "0.4"),
        Variable("svn-revno", _svn_revno, "0.4"),
        Variable("epoch", _epoch, ""),
        Variable("snapshot", _snapshot, ""),
        Variable("series", lambda given, _branch: given.series.label, "", of_a_branch=False),
    )
}
_REFERENCE = re.compile(r"\{([^{}:]*)(:[^{}]*)?\}")


def default_template(source_format: SourceFormat, parts: Sequence[str]) -> str:
    """The template of a recipe that gives none.

    Every branch's snapshot is in the upstream part, since every branch may change the upstream tarball.
    """
    revision = "-0" if source_format == "quilt" else ""
    return f"{{epoch}}{{debupstream}}{_snapshots(parts)}{revision}~{{series}}.1"


def _snapshots(parts: Iterable[str]) -> str:
    return "".join(f"+{{snapshot{f':{name}' if name else ''}}}" for name in ("", *parts))


def expand(template: str, given: Ingredients) -> str:
    """The template with its variables replaced; raises TemplateError."""

    def value_of(match: re.Match[str]) -> str:
        variable, branch = VARIABLES.get(match[1]), (match[2] or "")[1:]
        if variable is None or (match[2] and not variable.of_a_branch):
            raise TemplateError(f"{match[0]} is no variable of a version")
        if branch not in given.revisions:
            raise TemplateError(f"{match[0]} names a branch that the recipe does not have")
        return variable.work_out(given, branch)

    expanded = _REFERENCE.sub(value_of, template)
    if left := re.search(r"[{}]", expanded):
        raise TemplateError(f"a {left[0]!r} has no partner in the version template {template!r}")
    return expanded


@dataclass(frozen=True)
class Versions:
    """One version for each series; ``upstream`` is the part they share. ``assumed`` is what nobody said."""

    upstream: str
    by_series: Mapping[str, str]
    assumed: tuple[str, ...]


def make_versions(
    template: str,
    source_format: SourceFormat,
    revisions: Mapping[str, RevisionInfo],
    changelogs: Mapping[str, DebianVersion],
    series: Sequence[Series],
) -> Versions:
    """A version for each series from one revision; raises TemplateError or ValueError saying what is wrong.

    What a template leaves out is filled in, and told in ``assumed``: the series at the end (an archive takes one
    upload per series); in the quilt format a revision, and an upstream part that tells one commit from the next.
    """
    assumed = []
    if not template:
        template = default_template(source_format, [name for name in revisions if name])
        assumed.append(f"no version template was given: {template}")
    if re.search(r"\{(time|date)\}", template):
        assumed.append("{time} and {date} are the commit's, so that one commit has one version")
    first = Ingredients(revisions, changelogs, series[0])
    if source_format == "quilt" and not parse_version(expand(template, first)).revision:
        template = f"{template}-0"
        assumed.append("the version template has no revision, which the quilt format needs: -0 was added")
    if "{series}" not in template:
        template = f"{template}~{{series}}.1"
        assumed.append("the version template does not name the series: ~{series}.1 was added")
    versions = {
        one.codename: parse_version(expand(template, Ingredients(revisions, changelogs, one))) for one in series
    }
    if source_format == "quilt" and not _tells_commits_apart(template, first):
        snapshots = _snapshots(name for name in revisions if name)
        added = expand(snapshots, first)
        versions = {
            name: parse_version(str(replace(version, upstream=version.upstream + added)))
            for name, version in versions.items()
        }
        assumed.append(
            "the version template gives several commits one upstream version, and an archive takes one tarball of "
            f"a name: {snapshots} was added to the upstream part"
        )
    _check_versions(versions, source_format)
    epoch = changelogs[""].epoch if "" in changelogs else ""
    if epoch and any(version.epoch != epoch for version in versions.values()):
        assumed.append(f"the version template leaves out the changelog's epoch {epoch}")
    upstream = next(iter(versions.values())).upstream
    return Versions(upstream, {name: str(version) for name, version in versions.items()}, tuple(assumed))


def _tells_commits_apart(template: str, given: Ingredients) -> bool:
    """Whether the upstream part, which names the upstream tarball, is another for the trunk's next commit."""
    trunk = given.revisions[""]
    if trunk.vcs == "git":
        other = ("1" if trunk.revision.startswith("0") else "0") + trunk.revision[1:]
    else:
        other = f"{trunk.revision}1"
    following = replace(trunk, revno=trunk.revno + 1, revision=other)
    next_given = replace(given, revisions={**given.revisions, "": following})
    here, there = (parse_version(expand(template, one)).upstream for one in (given, next_given))
    return here != there


def _check_versions(versions: Mapping[str, DebianVersion], source_format: SourceFormat) -> None:
    first = next(iter(versions.values()))
    if source_format == "native":
        if first.revision:
            raise ValueError(
                f"{first} has a revision, which a native package may not have: "
                f"leave out what follows the - in the version template"
            )
    elif len({version.upstream for version in versions.values()}) > 1:
        raise ValueError(
            f"the upstream part ({first.upstream!r}) differs between series, which share one tarball: "
            "{series} belongs after the - in the version template"
        )
