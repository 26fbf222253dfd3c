"""What several archives do not agree about, as people and programs read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ppa_tools.commands.output import Column, Table, counted, note, print_json, print_rows

if TYPE_CHECKING:
    from ppa_tools.apt.conflicting import Found, Offer
    from ppa_tools.apt.installable import Broken, Verdict
    from ppa_tools.apt.ownership import Clash, Ownership

MOST_PATHS_SHOWN = 3


@dataclass(frozen=True)
class Findings:
    """All that was found; ``verdicts`` of the solver, and what files are ``owned`` twice, are by series."""

    conflicts: Found | None = None
    verdicts: tuple[tuple[str, Verdict], ...] = ()
    owned: tuple[tuple[str, Ownership], ...] = ()

    def with_conflicts(self, found: Found) -> Findings:
        """The same, with the versions that differ."""
        return replace(self, conflicts=found)

    @property
    def anything(self) -> bool:
        """Whether the archives do not fit together in some way; what was broken before does not count."""
        versions = self.conflicts is not None and (self.conflicts.conflicts or self.conflicts.twins)
        return bool(versions or self.clashes) or any(verdict.by_merge for _, verdict in self.verdicts)

    @property
    def clashes(self) -> list[tuple[str, Clash]]:
        """The files that packages of two archives own, by series."""
        of_all = ((series, one) for series, ownership in self.owned for one in ownership.clashes)
        return [(series, one) for series, one in of_all if not one.is_within_one]


def show(findings: Findings, how: str) -> None:
    """Print what was found; csv and lines have the versions that differ."""
    if how == "json":
        print_json(
            {
                "conflicts": _conflicts(findings).values(),
                "twins": _twins(findings).values(),
                "broken": _broken(findings, before=False).values(),
                "broken_before": _broken(findings, before=True).values(),
                "files": _files(findings).values(),
            }
        )
        return
    print_rows(_conflicts(findings), how)
    if how != "table":
        return
    _show_more(_twins(findings), "The same version with other contents; apt takes the first:")
    _show_more(_broken(findings, before=False), "What cannot be installed or built once all are used together:")
    _show_more(_broken(findings, before=True), "What could not before, either:")
    _show_more(_files(findings), "Files that two packages own; dpkg refuses the second:")
    _sum_up(findings)


def _show_more(table: Table, heading: str) -> None:
    if table.rows:
        print(f"\n{heading}")
        print_rows(table, "table")


def _sum_up(findings: Findings) -> None:
    assert findings.conflicts is not None
    for address, conflicts in findings.conflicts.displaced_by_ppa().items():
        packages = counted(len({one.package for one in conflicts}), "package")
        note(f"{address} would run against other versions of {packages} than it was developed with")
    for series, verdict in findings.verdicts:
        broken = counted(len(verdict.by_merge), "package")
        tested = f"{verdict.tested:,} tested on {verdict.architecture}"
        note(f"{series}: {broken} broken by putting them together, of {tested}")
    for series, ownership in findings.owned:
        if unseen := ownership.unseen:
            owner, why = unseen[0]
            note(f"{series}: the files of {counted(len(unseen), 'package')} are not known, as {owner}: {why}")
    note(counted(len(findings.conflicts.conflicts), "conflict"))


def _conflicts(findings: Findings) -> Table:
    columns = (
        Column("series", "SERIES"),
        Column("package", "PACKAGE"),
        Column("architectures", "ARCH", tell=list),
        Column("chosen", "APT TAKES", say=_offer_text),
        Column("displaced", "INSTEAD OF", say=lambda offers: ", ".join(map(_offer_text, offers)) or "-"),
    )
    found = findings.conflicts.conflicts if findings.conflicts else ()
    rows = tuple(
        (one.series, one.package, one.architectures, _offer(one.chosen), [_offer(each) for each in one.displaced])
        for one in found
    )
    return Table(columns, rows)


def _twins(findings: Findings) -> Table:
    columns = (
        Column("series", "SERIES"),
        Column("package", "PACKAGE"),
        Column("version", "VERSION"),
        Column("architecture", "ARCH"),
        Column("archives", "PPAS"),
    )
    found = findings.conflicts.twins if findings.conflicts else ()
    rows = ((one.series, one.package, one.version, one.architecture, _texts(one.addresses)) for one in found)
    return Table(columns, tuple(rows))


def _broken(findings: Findings, *, before: bool) -> Table:
    columns = (
        Column("series", "SERIES"),
        Column("package", "PACKAGE"),
        Column("version", "VERSION"),
        Column("architecture", "ARCH"),
        Column("archive", "PPA"),
        Column("is_source", "CANNOT BE", say=lambda is_source: "built" if is_source else "installed"),
        Column("fine_in", "FINE WITH"),
        Column("why", "WHY"),
    )
    rows = tuple(
        (series, *_broken_row(one))
        for series, verdict in findings.verdicts
        for one in (verdict.before if before else verdict.by_merge)
    )
    return Table(columns, rows)


def _files(findings: Findings) -> Table:
    columns = (
        Column("series", "SERIES"),
        Column("one", "PACKAGE"),
        Column("other", "AND"),
        Column("may_divert", "MAY DIVERT"),
        Column("paths", "FILES", say=_paths_text),
    )
    rows = (
        (series, str(one.one), str(one.other), [*one.may_divert, *one.unread], list(one.paths))
        for series, one in findings.clashes
    )
    return Table(columns, tuple(rows))


def _paths_text(paths: Sequence[str]) -> str:
    more = len(paths) - MOST_PATHS_SHOWN
    return " ".join(paths[:MOST_PATHS_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _broken_row(one: Broken) -> tuple[Any, ...]:
    why = "; ".join(map(str, one.reasons)) or one.errors
    fine = list(one.fine_in)
    return (one.name, one.version, one.architecture, one.repository, one.is_source, fine, why)


def _offer(offer: Offer | None) -> dict[str, Any] | None:
    if offer is None:
        return None
    return {"archive": str(offer.address), "version": offer.version, "priority": offer.priority}


def _offer_text(offer: dict[str, Any] | None) -> str:
    return "none: pins forbid all" if offer is None else f"{offer['version']} of {offer['archive']}"


def _texts(values: Sequence[object]) -> list[str]:
    return [str(one) for one in values]
