"""What a search for a culprit came to, in words for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from buildfarm.regress.environment_diff import suspect_text
from buildfarm.regress.model import Culprit, Suspect

NAMED_AT_MOST = 8

Ending = Literal[
    "found",
    "together",  # several, as fewer of them do not break it
    "each",  # several, as it takes all of them back to mend it
    "several",  # several, in part the one and in part the other
    "undivided",  # the change is among them, and builds with fewer of them gave no result
    "one way",  # taken back they let the build pass, but they alone do not break it
    "limited",
    "flips",
    "unchanged",
    "unexplained",
    "unbuildable",
]

CONFIRMED: tuple[Ending, ...] = ("found", "together", "each", "several")


@dataclass(frozen=True)
class Findings:
    """``parts`` turn the result; ``rest`` is where more was looked for; ``tied`` can only move along with them."""

    parts: tuple[frozenset[str], ...] = ()
    rest: frozenset[str] = frozenset()
    tied: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Tale:
    """How a search ended, with what, and a remark that belongs to the ending."""

    ending: Ending
    findings: Findings = Findings()
    note: str = ""


def tell(
    tale: Tale,
    *,
    package: str,
    since: str,
    passed: str,
    suspects: Sequence[Suspect],
    builds: int,
    duration_s: float,
) -> Culprit:
    """The result of a search; raises nothing."""
    named = frozenset().union(*tale.findings.parts)
    if tale.ending == "limited" and not named:
        named = tale.findings.rest
    by_source = {one.source: one for one in suspects}
    fails = f"{package} fails since {since}" if since else f"{package} fails"
    head, tail = _words(tale, by_source, f"the environment of {passed}" if passed else "the earlier environment")
    return Culprit(
        words=f"{fails}{head}{tail}",
        suspects=tuple(one for one in suspects if one.source in named),
        confirmed=tale.ending in CONFIRMED,
        changed=len(suspects),
        builds=builds,
        duration_s=duration_s,
    )


def _words(tale: Tale, by_source: dict[str, Suspect], earlier: str) -> tuple[str, str]:
    findings = tale.findings
    parts = [_part(part, by_source) for part in findings.parts]
    tied = _list((suspect_text(by_source[one]) for one in sorted(findings.tied)), "and")
    tail = f" (in every build {tied} had to move along)" if tied else ""
    match tale.ending:
        case "found":
            return f" because of {parts[0]}", tail
        case "each":
            return f" because of {_list(parts, 'and')}; taking back only some of them is not enough", tail
        case "several":
            return f" because of {_list(parts, 'and')}, none of which can be left out", tail
        case "together":
            return f" because of {_list(parts, 'and')} together", tail
        case "undivided":
            return (
                f" because of {_list(parts, 'and')}",
                f"; builds with fewer of these changes gave no result{tail}",
            )
        case "one way":
            return (
                f"; it passes with {_list(parts, 'and')} taken back, but these alone do not break it",
                f": it depends on what else changed{tail}",
            )
        case "limited":
            return _limited(parts, findings, by_source, tale.note), ""
        case "flips":
            back = _list((suspect_text(by_source[one]) for one in sorted(findings.rest)), "and")
            what = "with everything taken back" if len(findings.rest) == len(by_source) else f"without {back}"
            return "; the environment does not explain it: ", f"{what}, {tale.note}: the result is left to chance"
        case "unchanged":
            return (
                f"; the environment does not explain it: it is the same as {earlier}",
                ": time, machine or chance",
            )
        case "unexplained":
            return (
                f"; the environment does not explain it: it fails in {earlier} too",
                ": time, machine or chance",
            )
        case "unbuildable":
            return f"; what changed cannot be searched: in {earlier} no build comes to a result any more", ""


def _limited(parts: list[str], findings: Findings, by_source: dict[str, Suspect], note: str) -> str:
    rest = findings.rest
    among = _list((suspect_text(by_source[one]) for one in sorted(rest)), "and")
    if not parts:
        if len(rest) == 1:
            return f", it seems because of {among} (not confirmed: {note})"
        return f" because of one of these {len(rest)} ({note}): {among}"
    found = _list(parts, "and")
    if not rest:
        return f", it seems because of {found} (not confirmed: {note})"
    return f" because of {found}, maybe with one of these {len(rest)} ({note}): {among}"


def _part(part: frozenset[str], by_source: dict[str, Suspect]) -> str:
    texts = [suspect_text(by_source[one]) for one in sorted(part)]
    if len(texts) == 1:
        return texts[0]
    return f"one or more of {_list(texts, 'and')}, which were only moved at once"


def _list(texts: Iterable[str], last: str) -> str:
    those = list(texts)
    if len(those) > NAMED_AT_MOST + 1:
        those = [*those[:NAMED_AT_MOST], f"{len(those) - NAMED_AT_MOST} others"]
    if len(those) < 2:
        return "".join(those)
    return f"{', '.join(those[:-1])} {last} {those[-1]}"
