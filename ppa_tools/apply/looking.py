"""Asking archives for what planning needs, in as few requests as it can be done with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ppa_tools.archives.door import Archive
from ppa_tools.parallel import in_parallel
from ppa_tools.plan.choosing import Pick
from ppa_tools.plan.copying import to_be_asked
from ppa_tools.plan.facts import Facts, Question, Shelf, Terms, questions, twins
from ppa_tools.publication import Build, Publication, Side


def both_sides(
    source: Archive, destination: Archive, *, names: Collection[str] = (), source_past: bool = False
) -> tuple[Side, Side]:
    """What both hold, asked at the same time; the destination with its past, where file names stand for ever.

    ``source_past`` is needed for versions that may have ended. Raises as ``Archive.side``.
    """
    if source is destination:
        side = source.side(with_past=True, names=names)
        return side, side
    mine, theirs = in_parallel(
        [
            lambda: source.side(with_past=source_past, names=names),
            lambda: destination.side(with_past=True, names=names),
        ]
    )
    return mine, theirs


def gather(
    picks: Sequence[Pick],
    source: Archive,
    destination: Archive,
    sides: tuple[Side, Side],
    terms: Terms,
    *,
    move: bool = False,
) -> tuple[Facts, Side]:
    """The facts about what may be copied, and the source's side with what of its past was needed for them.

    What is there already is compared where that costs little, and before a ``move`` deletes the other one.
    """
    mine, theirs = sides
    shelf, there = Shelf(mine), Shelf(theirs)
    wanted = to_be_asked(picks, shelf, there, terms)
    question = questions(wanted, shelf, there, terms)
    if question.there_source_files and not mine.with_past:
        names = {one.source for one in question.there_source_files}
        mine = _with_more(mine, source.publications(names=names))
        question = questions(wanted, Shelf(mine), there, terms)
    if source is not destination and (move or (source.is_immediate and destination.is_immediate)):
        question = question.with_twins(twins(picks, there))
    return ask(question, source, destination), mine


def ask(question: Question, source: Archive, destination: Archive) -> Facts:
    """Ask both archives at the same time, each for all of its own at once."""
    if source is destination:
        return _merged(_ask_source(question, source), _ask_destination(question, destination))
    return _merged(
        *in_parallel([lambda: _ask_source(question, source), lambda: _ask_destination(question, destination)])
    )


def _ask_source(question: Question, source: Archive) -> Facts:
    return Facts(
        builds=_builds(source, question.builds),
        source_files=source.source_files(question.source_files) if question.source_files else {},
        binary_files=source.binary_files(question.binary_files) if question.binary_files else {},
    )


def _ask_destination(question: Question, destination: Archive) -> Facts:
    sources, binaries = question.there_source_files, question.there_binary_files
    return Facts(
        there_source_files=destination.source_files(sources) if sources else {},
        there_binary_files=destination.binary_files(binaries) if binaries else {},
    )


def _merged(mine: Facts, theirs: Facts) -> Facts:
    there = (theirs.there_source_files, theirs.there_binary_files)
    return Facts(mine.builds, mine.source_files, mine.binary_files, *there)


def _builds(source: Archive, publications: Sequence[Publication]) -> Mapping[str, tuple[Build, ...]]:
    """What the archive says; of a publication that it says nothing of, that there are none."""
    if not publications:
        return {}
    told = source.builds(publications)
    return {one.key: told.get(one.key, ()) for one in publications}


def _with_more(side: Side, publications: Sequence[Publication]) -> Side:
    known = {one.key for one in publications}
    rest = tuple(one for one in side.publications if one.key not in known)
    return replace(side, publications=(*publications, *rest))
