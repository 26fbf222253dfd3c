"""The search for the smallest set of changes that turns a build's result, by building with parts of them taken
back.

It is deterministic and knows no builder: it asks a ``Probe`` for the result with a set of suspects at their
earlier versions, and asks nothing that it was told. Sets that it asks for keep all ties. It relies on little:

1. With nothing taken back the build fails (that is why anybody asks). With everything taken back it passes: asked
   first, since otherwise the environment explains nothing.
2. Between a set that fails and a larger one that passes there is a *hinge*: a step that turns the result. Halving
   finds one in log2(n) builds, whatever else is the matter.
3. From the hinge it grows both ways: what else must be taken back until the build passes (where several changes
   break it, each of them), and what else must be new until it fails (where several break it only together).
4. What was found is confirmed by builds of its own, both ways, and nothing in it can be left out.

A build that ends in neither result, as parts do not go together after all, is *unresolved*: other halves are
tried, then ever smaller parts, as in delta debugging. A result that comes out otherwise a second time ends the
search: then chance decides, not the environment.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from buildfarm.regress.culprit_words import Ending, Findings, Tale, tell
from buildfarm.regress.mixing import Ties
from buildfarm.regress.model import Culprit, Suspect
from buildfarm.regress.probing import Earlier, Flips, LimitReached, Memory, Probe, Probed, Result, SearchLimits

NO_TIES = Ties()
USUAL_LIMITS = SearchLimits()
RECHECKS_AT_MOST = 2


@dataclass(frozen=True)
class Case:
    """A failure to be explained: who fails since when, where it last passed, and what changed since.

    ``since`` and ``passed`` are dates as people read them ("11-20"), "" for unknown.
    """

    package: str
    suspects: tuple[Suspect, ...]
    ties: Ties = NO_TIES
    since: str = ""
    passed: str = ""


def builds_for_one(suspects: int) -> int:
    """How many builds a search takes at most when one change among so many is the cause and all builds say so."""
    return math.ceil(math.log2(max(suspects, 1))) + 4


def builds_for_two(suspects: int) -> int:
    """How many it takes at most when two changes are, needed both, or each enough."""
    return 2 * math.ceil(math.log2(max(suspects, 1))) + 8


def find_culprit(
    case: Case,
    probe: Probe,
    *,
    known: Sequence[Probed] = (),
    limits: SearchLimits = USUAL_LIMITS,
    clock: Callable[[], float],
) -> Culprit:
    """What the failure comes from, or in words why that cannot be told.

    ``known`` are the builds of this search that are done already, in their order: with them it goes on where it
    was interrupted. ``probe`` answers "fail" only for the failure in question; one that fails in another way is
    "unresolved". ``clock`` counts seconds. Whatever ``probe`` raises ends the search and comes through.
    """
    return _Search(case, probe, known, limits, clock).run()


def next_build(case: Case, known: Sequence[Probed], limits: SearchLimits = USUAL_LIMITS) -> Earlier | Culprit:
    """The next set to build with, or what the search came to: for who cannot wait for a build in a function.

    ``limits.duration_s`` counts the known builds' durations alone.
    """

    def ask(earlier: Earlier) -> Result:
        raise _Asked(earlier)

    try:
        return find_culprit(case, ask, known=known, limits=limits, clock=lambda: 0.0)
    except _Asked as asked:
        return asked.earlier


class _Asked(Exception):
    def __init__(self, earlier: Earlier) -> None:
        super().__init__()
        self.earlier = earlier


class _Search:
    def __init__(
        self,
        case: Case,
        probe: Probe,
        known: Sequence[Probed],
        limits: SearchLimits,
        clock: Callable[[], float],
    ) -> None:
        self.case = case
        self.memory = Memory(probe, known, limits, clock)
        self.all: Earlier = frozenset(one.source for one in case.suspects)
        self.units = self._units()
        self.confirmed: set[Earlier] = set()
        self.rechecks = 0
        self.inseparable: set[Earlier] = set()
        self.parts: list[Earlier] = []  # hinges found, each of what could not be told apart
        self.candidates: Earlier = self.all  # where the next hinge is

    def run(self) -> Culprit:
        try:
            tale = self.search()
        except LimitReached as reached:
            tale = Tale("limited", Findings(tuple(dict.fromkeys(self.parts)), self.candidates), note=str(reached))
        except Flips as flips:
            tale = Tale("flips", Findings(rest=flips.earlier), note=self.counted(flips.earlier))
        return tell(
            tale,
            package=self.case.package,
            since=self.case.since,
            passed=self.case.passed,
            suspects=self.case.suspects,
            builds=self.memory.builds,
            duration_s=self.memory.duration_s,
        )

    def counted(self, earlier: Earlier) -> str:
        told = self.memory.told[earlier]
        fails = told.count("fail") + (0 if earlier else 1)
        return f"{told.count('pass')} of {told.count('pass') + fails} builds passed"

    def search(self) -> Tale:
        if not self.all:
            return Tale("unchanged")
        match self.ask_firmly(self.all):
            case "fail":
                return Tale("unexplained")
            case "unresolved":
                return Tale("unbuildable")
        lo, hinge = self.narrow(frozenset(), self.all)
        hi = lo | hinge
        back = self.grow_taken_back(hinge, hi)
        new = self.grow_new(hinge, lo)
        both = list(dict.fromkeys([*back, *new]))
        for parts in (both, back, new):
            if self.turns(parts):
                tale = self.least(parts, back, new)
                self.confirm_once_more(tale.findings.parts)
                return tale
        return Tale("one way", self.findings(back))

    # Growing

    def grow_taken_back(self, hinge: Earlier, hi: Earlier) -> list[Earlier]:
        """Hinges that, taken back, let the build pass, the first among them; ``hi`` has it and passes."""
        parts = [hinge]
        while True:
            base = self.taking_back(parts, hi)
            if self.confirm(base) == "pass" or base == hi:
                return parts
            if len(parts) == 1:  # a chance failure here would send the search after the innocent
                self.memory.answer(base)
            lo, more = self.narrow(base, hi)
            hi = lo | more
            parts.append(more)

    def grow_new(self, hinge: Earlier, lo: Earlier) -> list[Earlier]:
        """Hinges that, at their later versions, let the build fail; without them ``lo`` fails as well."""
        parts = [hinge]
        while True:
            hi = self.leaving_new(parts, lo)
            if self.confirm(hi) == "fail" or hi == lo:
                return parts
            if len(parts) == 1:
                self.memory.answer(hi)
            lo, more = self.narrow(lo, hi)
            parts.append(more)

    def taking_back(self, parts: Iterable[Earlier], within: Earlier) -> Earlier:
        return self.case.ties.taking_back(frozenset().union(*parts), within)

    def leaving_new(self, parts: Iterable[Earlier], without: Earlier) -> Earlier:
        """All taken back but these, and what must stay with them; ``without`` leaves them new, too."""
        return self.all - self.case.ties.moving_on(frozenset().union(*parts), self.all - without)

    # Narrowing

    def narrow(self, lo: Earlier, hi: Earlier) -> tuple[Earlier, Earlier]:
        """A failing set, and the hinge that turns it to passing; ``lo`` does not pass, ``hi`` does."""
        divided, asked = True, 0
        while divided:
            divided, asked = False, 0
            self.candidates = hi - lo
            for middle in self.divisions(lo, hi):
                asked += 1
                result = self.ask(middle)
                if result != "unresolved":
                    lo, hi = (lo, middle) if result == "pass" else (middle, hi)
                    divided = True
                    break
        self.parts.append(hi - lo)
        if not asked:  # no consistent mix lies between
            self.inseparable.add(hi - lo)
        self.candidates = frozenset()
        return lo, hi - lo

    def divisions(self, lo: Earlier, hi: Earlier) -> Iterator[Earlier]:
        """Sets between two others: a half first; where that came to nothing other halves, then smaller parts."""
        units = [unit & hi - lo for unit in self.units if unit & hi - lo]
        middle, bits = len(units) // 2, range(len(units).bit_length())
        by_bits = [[unit for at, unit in enumerate(units) if not at >> bit & 1] for bit in reversed(bits)]
        mixed = [unit for at, unit in enumerate(units) if at.bit_count() % 2]
        tried = {lo, hi}
        # Two that cannot be parted differ in the place that some of these halves go by, and not in all of them.
        for some in (units[:middle], *by_bits, mixed, *([unit] for unit in units)):
            between = self.case.ties.taking_back(lo.union(*some), hi)
            if between not in tried:
                tried.add(between)
                yield between
        for unit in units:
            between = self.all - self.case.ties.moving_on((self.all - hi) | unit, self.all - lo)
            if between not in tried and lo < between:
                tried.add(between)
                yield between

    def _units(self) -> list[Earlier]:
        """What can only move together, in an order whose beginnings keep the ties."""
        taken = {one: self.case.ties.taking_back({one}, self.all) for one in self.all}
        together: dict[Earlier, set[str]] = defaultdict(set)
        for one, those in taken.items():
            together[those].add(one)
        order = sorted(together, key=lambda those: (len(those), sorted(those)))
        return [frozenset(together[those]) for those in order]

    # Confirming

    def turns(self, parts: Sequence[Earlier]) -> bool:
        """Whether they alone, taken back, let the build pass, and they alone, new, let it fail."""
        back, kept = self.both_ways(parts)
        return self.ask(back) == "pass" and self.ask(kept) == "fail"

    def confirm_once_more(self, parts: Sequence[Earlier]) -> None:
        """They alone break it: shown twice, as the failure itself was, before anything is blamed."""
        _, kept = self.both_ways(parts)
        if kept:
            self.memory.answer(kept)

    def both_ways(self, parts: Sequence[Earlier]) -> tuple[Earlier, Earlier]:
        return self.taking_back(parts, self.all), self.leaving_new(parts, frozenset())

    def least(self, parts: Sequence[Earlier], back: Sequence[Earlier], new: Sequence[Earlier]) -> Tale:
        """They without what can be left out; ``back`` and ``new`` tell where to look first."""
        kept, unsure = list(parts), any(not self.is_unit(part) for part in parts)
        again = len(kept) > 1
        while again:
            again = False
            for part in list(kept):
                fewer = [one for one in kept if one != part]
                if not fewer:
                    break
                verdict = self.is_needless(fewer, new_first=len(new) >= len(back))
                if verdict is None:
                    unsure = True
                elif verdict:
                    kept, again = fewer, True
        return Tale(self.ending(kept, back, new) if not unsure else "undivided", self.findings(kept))

    def ending(self, kept: Sequence[Earlier], back: Sequence[Earlier], new: Sequence[Earlier]) -> Ending:
        if len(kept) == 1:
            return "found"
        if len(back) == 1 and kept == list(new):
            return "together"
        return "each" if len(new) == 1 and kept == list(back) else "several"

    def is_needless(self, fewer: Sequence[Earlier], *, new_first: bool) -> bool | None:
        """Whether fewer turn the result as well; None where that cannot be told."""
        back, kept = self.both_ways(fewer)
        questions: list[tuple[Earlier, Result]] = [(back, "pass"), (kept, "fail")]
        if new_first:
            questions.reverse()
        questions.sort(key=lambda question: self.memory.result(question[0]) is None)
        answers = []
        for earlier, wanted in questions:
            answer = self.ask(earlier)
            if answer != "unresolved" and answer != wanted:
                return False
            answers.append(answer)
        return None if "unresolved" in answers else True

    def is_unit(self, part: Earlier) -> bool:
        return part in self.inseparable or any(part <= unit for unit in self.units)

    def findings(self, parts: Sequence[Earlier]) -> Findings:
        back, kept = self.both_ways(parts)
        found: Earlier = frozenset().union(*parts)
        return Findings(tuple(parts), tied=(back | (self.all - kept)) - found)

    # Asking

    def ask(self, earlier: Earlier) -> Result:
        """The result with a set; what was told once is not asked again."""
        if not earlier:
            return "fail"
        if (told := self.memory.result(earlier)) is not None:
            return told
        result = self.memory.answer(earlier)
        self.recheck(earlier, result)
        return result

    def ask_firmly(self, earlier: Earlier) -> Result:
        """As ``ask``, once more where the answer was no result."""
        if self.ask(earlier) == "unresolved":
            self.memory.answer(earlier)
        return self.ask(earlier)

    def confirm(self, earlier: Earlier) -> Result:
        """The result of a build made for this: what the search relied on is built a second time."""
        if earlier and earlier not in self.confirmed and self.memory.result(earlier) is not None:
            self.memory.answer(earlier)
        self.confirmed.add(earlier)
        return self.ask(earlier)

    def recheck(self, earlier: Earlier, result: Result) -> None:
        """Where more taken back fails and less passes, chance may be at work: both are built again."""
        for other in list(self.memory.told):
            told = self.memory.result(other)
            less_passes = result == "fail" and told == "pass" and other < earlier
            more_fails = result == "pass" and told == "fail" and earlier < other
            if (less_passes or more_fails) and self.rechecks < RECHECKS_AT_MOST:
                self.rechecks += 1
                self.memory.answer(other)
                self.memory.answer(earlier)
