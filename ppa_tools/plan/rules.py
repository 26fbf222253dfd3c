"""Why a copy would be refused: Launchpad's rules, which the embedded archive follows, in words people need.

The rules are those of Launchpad's copy checker; each refusal says what to do instead where there is something.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ppa_tools.debversion import version_key
from ppa_tools.plan.choosing import Pick
from ppa_tools.plan.facts import Facts, Shelf, Terms, rivals, twins
from ppa_tools.publication import Build, BuildState, File, Publication, Side


def why_not(pick: Pick, source: Shelf, destination: Shelf, facts: Facts, terms: Terms) -> str:
    """Why a publication cannot be copied as it is wanted; "" where nothing is in the way.

    That the same version is active there already is no reason: nothing is asked for then.
    """
    active = destination.in_place(pick.to_series, pick.publication.source)
    return (
        why_not_there(pick.to_series, source.side, destination.side, terms)
        or why_too_low(pick.publication.version, active)
        or why_files_are_gone(pick.publication, facts, terms)
        or _why_files_differ(pick.publication, source, destination, facts, terms)
        or (why_not_built(pick.publication, facts, terms) if terms.with_binaries else "")
    )


def why_not_the_same(pick: Pick, source: Shelf, destination: Shelf, facts: Facts) -> str:
    """How the source that is active there at the same version differs, as far as its files are known; "" for not.

    The .dsc does not count: the same source may have been signed by another.
    """
    if source.side.address == destination.side.address:
        return ""
    for one, row in twins([pick], destination):
        mine = {(file.name, file.sha256) for file in _but_dsc(facts.source_files.get(one.key, ()))}
        theirs = {(file.name, file.sha256) for file in _but_dsc(facts.there_source_files.get(row.key, ()))}
        if mine and theirs and mine != theirs:
            name = min(mine ^ theirs)[0]
            return (
                f"another source of the same version is there ({name} is not the same); "
                "upload it with a version of its own"
            )
    return ""


def why_not_there(series: str, source: Side, destination: Side, terms: Terms) -> str:
    """Why nothing at all can be copied from one archive to a series of another; "" where it can."""
    known = destination.series.get(series)
    if known is None:
        usable = [name for name, one in sorted(destination.series.items()) if not one.obsolete]
        return f"{destination.address} has no series {series}" + (f", only {', '.join(usable)}" if usable else "")
    if known.obsolete:
        return f"{series} is obsolete: nothing is copied to it any more"
    if source.private and not destination.private and not terms.unembargo:
        return (
            f"{source.address} is private and {destination.address} is public: "
            "only --unembargo lets everybody see it"
        )
    if (source.address.backend, destination.address.backend) == ("local", "ppa") and terms.with_binaries:
        return "Launchpad takes no binaries from outside: --rebuild uploads the source, and builds it there"
    return ""


def why_too_low(version: str, active: Sequence[Publication]) -> str:
    """Why a version cannot come to a series beside what is active there; "" where it can."""
    newer = [one.version for one in active if version_key(one.version) > version_key(version)]
    return f"{max(newer, key=version_key)} is there, which is newer" if newer else ""


def why_not_built(one: Publication, facts: Facts, terms: Terms) -> str:
    """Why a source cannot be copied with binaries; "" where all of its builds have succeeded and are published.

    A copy made earlier succeeds, and has the destination build what is missing once more.
    """
    builds = facts.builds.get(one.key)
    if builds is None:
        return ""
    if not any(build.state is BuildState.BUILT for build in builds):
        waiting = any(build.state.is_under_way for build in builds) or not builds
        return "it has no binaries yet; wait for its builds, or --rebuild" if waiting else _failed(builds, one)
    if under_way := [build for build in builds if build.state.is_under_way]:
        return f"it is not built yet on {_architectures(under_way)}; wait (ppa-wait), or --rebuild"
    late = [build for build in builds if build.state is BuildState.BUILT and not build.published]
    if one.is_active and late:
        return f"its binaries for {_architectures(late)} are not published yet; wait (ppa-wait)"
    failed = any(build.state is not BuildState.BUILT for build in builds)
    return _failed(builds, one) if failed and not terms.incomplete else ""


def why_contents_differ(mine: Iterable[File], theirs: Iterable[File]) -> str:
    """The first file name that stands for other contents there, in words; "" for none."""
    known = {file.name: file.sha256 for file in theirs}
    differ = [file.name for file in mine if known.get(file.name, file.sha256) != file.sha256]
    if not differ:
        return ""
    if dsc := [name for name in differ if name.endswith(".dsc")]:
        return (
            f"another source of the same version is or was there ({dsc[0]} has other contents); "
            "upload it with a version of its own"
        )
    return (
        f"{differ[0]} is or was there with other contents, and a file name stands for the same for ever; "
        "upload it with a version of its own"
    )


def why_files_are_gone(one: Publication, facts: Facts, terms: Terms) -> str:
    """Why a publication has nothing to copy any more; "" where it has, or nobody asked."""
    gone = facts.source_files.get(one.key) == ()
    gone = gone or (terms.with_binaries and facts.binary_files.get(one.key) == () and not one.is_active)
    return "its files are no longer kept" if gone else ""


def _why_files_differ(one: Publication, source: Shelf, destination: Shelf, facts: Facts, terms: Terms) -> str:
    same, upstream = rivals(one, source, destination)
    if not terms.with_binaries and any(facts.there_binary_files.get(row.key) for row in same):
        return (
            f"{one.version} has, or had, binaries there, and building it again would give their names other "
            "contents; copy it with its binaries, or upload a version of its own"
        )
    if source.side.address == destination.side.address:
        return ""
    theirs = [file for row in (*same, *upstream) for file in facts.there_source_files.get(row.key, ())]
    if words := why_contents_differ(facts.source_files.get(one.key, ()), theirs):
        return words
    theirs = [file for row in same for file in facts.there_binary_files.get(row.key, ())]
    return why_contents_differ(facts.binary_files.get(one.key, ()), theirs)


def _but_dsc(files: Iterable[File]) -> Iterable[File]:
    return (file for file in files if not file.name.endswith(".dsc"))


def _failed(builds: Sequence[Build], one: Publication) -> str:
    failed = [build for build in builds if build.state is not BuildState.BUILT]
    words = ", ".join(f"{build.architecture} ({build.state.lower()})" for build in failed)
    some = len(failed) < len(builds)
    way_out = "--incomplete copies what there is" if some else f"{one.source} has no binaries to copy"
    return f"its builds did not succeed on {words}; {way_out}"


def _architectures(builds: Iterable[Build]) -> str:
    return ", ".join(build.architecture for build in builds)
