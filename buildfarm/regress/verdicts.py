"""The rules of nightly rebuilds: what is built next, or what a rebuild came to, out of the builds that it had.

Nothing here reads or writes. ``decide`` goes through these lines from above and takes the first that fits; what a
worker said that was taken out of service is left out before.

    last build               and                                     then
    ------------------------ --------------------------------------- ------------------------------------------
    none                                                             build: first
    control, passed                                                  new failure
    control, failed                                                  its worker is taken out; start again
    control, error           it was the third (each after its tries) start again
    control, error           no other is known                       new failure, by assumption
    control, error                                                   build: another control, there
    any that did not pass    its worker went out of service          start again
    dependency wait                                                  dependency wait
    error                    (after all its tries)                   infrastructure
    pass                     this input failed, now or before        flaky
    pass                     failing before                          fixed
    pass                                                             still passing
    fail                     failing before                          still failing; a cause not seen before is told
    fail, by broken tests    failing before, but not by all of these build: again, asked for the others alone
    pass, after such a one   the first build failed as before, too   still failing
    fail                     the set wants no confirmation           new failure, not confirmed
    fail                     the only one in its environment         build: again, there, alone
    fail, fail ...           could be the chance that is known       build: again; after four of them: flaky
    fail, fail ...           Launchpad's, or no control is known     new failure, by assumption
    fail, fail ...           a control passed there since            new failure
    fail, fail ...                                                   build: control, there

"Start again" is a first build on another worker; the third time it is infrastructure instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from buildfarm.regress.flaky import Rate, before_row, failure_rate, is_flaky, may_be_chance
from buildfarm.regress.model import BuildKind, Outcome, RebuildVerdict

RETRY_DELAYS_S = (10.0, 60.0, 300.0)
WORKER_LIMIT = 3
CONTROL_LIMIT = 3
TROUBLE_LIMIT, TROUBLE_WITHIN_S = 3, 86400.0
"""So many packages, built elsewhere after trouble on one worker that has built nothing else since, take it out."""
AGAIN_LIMIT = 4

FAILING = frozenset({RebuildVerdict.NEW_FAILURE, RebuildVerdict.STILL_FAILING})
PASSING = frozenset({RebuildVerdict.FIXED, RebuildVerdict.STILL_PASSING})
CONCLUSIVE = FAILING | PASSING | {RebuildVerdict.FLAKY}  # the others say nothing of the package
_STATES = (FAILING, PASSING)


@dataclass(frozen=True)
class Ran:
    """A build of the rebuild that has ended, with its last try.

    ``broken`` are the keys of the tests that it failed by although its package's rules forgive them.
    """

    kind: BuildKind
    outcome: Outcome
    worker: str
    environment: str = ""
    fingerprint: str = ""
    reason: str = ""
    broken: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Word:
    """What an earlier rebuild came to, and since when (epoch seconds) that was so."""

    verdict: RebuildVerdict
    since: float


@dataclass(frozen=True)
class Past:
    """What is known of the subject from before.

    ``settled`` is the last verdict that says something of the package, ``before`` the last of any kind.
    ``fingerprints`` are the causes seen since it is failing, ``broken`` the tests that broke since. ``results``
    are those of the input of the build that ended last, oldest first (True is a pass); ``like`` are those of the
    input that was last found flaky, when that was the last verdict: what its flakiness is judged by until this
    input has shown its own.
    """

    settled: Word | None = None
    before: Word | None = None
    fingerprints: frozenset[str] = frozenset()
    results: tuple[bool, ...] = ()
    like: tuple[bool, ...] = ()
    broken: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Situation:
    """All that is decided by. ``ran`` are the builds that count, oldest first.

    ``control``: whether no package is known to be good that was not tried in vain, one is, or one has passed on
    the worker of the last build since that began; "elsewhere" is a build on Launchpad, whose builders nobody can
    try. ``left`` are workers that this rebuild has left behind, ``out`` those out of service.
    """

    night_at: float
    ran: tuple[Ran, ...] = ()
    past: Past = Past()
    control: Literal["unknown", "known", "passed", "elsewhere"] = "unknown"
    confirm: bool = True
    left: tuple[str, ...] = ()
    out: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Next:
    """A build that is to be done.

    ``environment`` is the one it is done in ("" is today's), ``worker`` where ("" is anywhere), ``avoid`` where
    not if it can be helped, ``alone`` that nothing else runs there meanwhile. ``restart``: what was built so far
    does not count. ``take_out`` says why the last build's worker is to be taken out of service ("": it is not).
    """

    kind: BuildKind
    environment: str = ""
    worker: str = ""
    avoid: tuple[str, ...] = ()
    alone: bool = False
    restart: bool = False
    take_out: str = ""


@dataclass(frozen=True)
class Settled:
    """What the rebuild came to.

    ``since`` is when this began, in epoch seconds: failing, passing, flaky, or without a verdict on the package.
    ``reason`` says why it is this verdict. ``cause_changed``: it fails as before, of another cause.
    ``take_out`` is as in ``Next``.
    """

    verdict: RebuildVerdict
    since: float
    reason: str
    fingerprint: str = ""
    cause_changed: bool = False
    flaky_rate: Rate | None = None
    take_out: str = ""


def retry_delay_s(errors: int) -> float | None:
    """How long to wait after so many errors of one build until it is tried again; None: not again."""
    return RETRY_DELAYS_S[errors - 1] if 1 <= errors <= len(RETRY_DELAYS_S) else None


def decide(now: Situation) -> Next | Settled:
    """What follows, by the table above."""
    if not now.ran:
        return Next("first", avoid=now.left)
    last = now.ran[-1]
    if last.kind == "control":
        return _after_control(now, last)
    if last.outcome != "pass" and last.worker in now.out:
        return _elsewhere(now, last.worker, "what it said does not count: its worker went out of service")
    if last.outcome == "dependency-wait":
        return _settled(now, RebuildVerdict.DEPENDENCY_WAIT, last.reason)
    if last.outcome == "error":
        failed = "failed, and could not be built again: " if _failed(now) else ""
        return _settled(now, RebuildVerdict.INFRASTRUCTURE, failed + last.reason)
    return _after_pass(now, last) if last.outcome == "pass" else _after_failure(now, last)


def _after_control(now: Situation, control: Ran) -> Next | Settled:
    if control.outcome == "pass":
        words = f"failed {_times(_failures(now))} in one environment; a control package passed on {control.worker}"
        return _settled(now, RebuildVerdict.NEW_FAILURE, words)
    if control.worker in now.out:
        return _elsewhere(now, control.worker, "its control does not count: its worker went out of service")
    if control.outcome != "fail":  # the farm's own trouble: it says nothing of the worker
        if sum(one.kind == "control" for one in now.ran) >= CONTROL_LIMIT:
            return _elsewhere(now, control.worker, f"{CONTROL_LIMIT} controls met trouble there: {control.reason}")
        if now.control == "known":
            return Next("control", worker=control.worker, alone=True)
        words = f"failed {_times(_failures(now))} in one environment; assumed: {control.worker} is sound, as"
        words += f" no control came to a result there: {control.reason}"
        return _settled(now, RebuildVerdict.NEW_FAILURE, words)
    said = f"a control package that is known to be good failed: {control.reason or control.outcome}"
    return _elsewhere(now, control.worker, f"on its worker {said}", take_out=said)


def _elsewhere(now: Situation, worker: str, why: str, take_out: str = "") -> Next | Settled:
    left = (*now.left, worker)  # one that it came back to counts again, so that it ends where there is no other
    if len(left) < WORKER_LIMIT:
        return Next("first", avoid=left, restart=True, take_out=take_out)
    words = f"{why}; so it left its worker {len(left)} times: {', '.join(left)}"
    return _settled(now, RebuildVerdict.INFRASTRUCTURE, words, take_out=take_out)


def _after_pass(now: Situation, last: Ran) -> Settled:
    if any(one.broken & now.past.broken for one in _failed(now)):  # the pass was not asked for these
        words = "fails as before; what broke besides did not break twice"
        return _settled(now, RebuildVerdict.STILL_FAILING, words)
    results = _results(now, last)
    if is_flaky(results):
        words = (
            f"passed and failed with one input; it fails {failure_rate(results)} of the times, by {len(results)}"
        )
        return _settled(now, RebuildVerdict.FLAKY, words, rate=failure_rate(results))
    if now.past.settled is None:
        return _settled(now, RebuildVerdict.STILL_PASSING, "passed; it has no earlier result")
    if _was_failing(now):
        return _settled(now, RebuildVerdict.FIXED, "passed, and failed before")
    return _settled(now, RebuildVerdict.STILL_PASSING, "passed, as before")


def _after_failure(now: Situation, last: Ran) -> Next | Settled:
    again = sum(one.kind == "again" for one in now.ran)
    if _was_failing(now):
        seen = now.past.fingerprints
        changed = bool(last.fingerprint and seen and last.fingerprint not in seen)
        if last.broken:
            changed = bool(last.broken - now.past.broken)
            if changed and now.confirm and not again:
                return Next("again", last.environment, last.worker, alone=True)
        words = "fails as before" + (", of a cause not seen before" if changed else "")
        return _settled(now, RebuildVerdict.STILL_FAILING, words, cause_changed=changed)
    if not now.confirm:
        return _settled(now, RebuildVerdict.NEW_FAILURE, "failed once; this set has failures not built again")
    failures = _failures(now)
    one_more = Next("again", last.environment, last.worker, alone=True)
    if failures < 2:
        if again < AGAIN_LIMIT:
            return one_more
        return _settled(now, RebuildVerdict.INFRASTRUCTURE, "its environment could not be had twice")
    known = _known_flaky(now, last)
    if may_be_chance(known):
        if again < AGAIN_LIMIT:
            return one_more
        before = before_row(known)
        row = _times(len(known) - len(before))
        words = f"failed {row} in a row; before, it failed {failure_rate(before)} of the times: this may be chance"
        return _settled(now, RebuildVerdict.FLAKY, words, rate=failure_rate(known))
    if now.control == "elsewhere":
        words = f"failed {_times(failures)} on Launchpad; assumed: its builders are sound"
        return _settled(now, RebuildVerdict.NEW_FAILURE, words)
    if now.control == "unknown":
        words = (
            f"failed {_times(failures)} in one environment; assumed: {last.worker or 'its worker'} is sound, as no"
        )
        return _settled(now, RebuildVerdict.NEW_FAILURE, f"{words} package is known yet to try it with")
    if now.control == "passed":
        words = (
            f"failed {_times(failures)} in one environment; a control package passed on {last.worker} meanwhile"
        )
        return _settled(now, RebuildVerdict.NEW_FAILURE, words)
    return Next("control", worker=last.worker, alone=True)


def _was_failing(now: Situation) -> bool:
    return now.past.settled is not None and now.past.settled.verdict in FAILING


def _failed(now: Situation) -> list[Ran]:
    return [one for one in now.ran if one.outcome == "fail" and one.kind != "control"]


def _failures(now: Situation) -> int:
    """How many builds have failed in the environment of the last one that was not a control's."""
    own = [one for one in now.ran if one.kind != "control"]
    return sum(one.outcome == "fail" and one.environment == own[-1].environment for one in own)


def _results(now: Situation, last: Ran) -> tuple[bool, ...]:
    """All results of the input, those of this rebuild included."""
    ours = (one.outcome == "pass" for one in now.ran if one.environment == last.environment)
    return (*now.past.results, *ours)


def _known_flaky(now: Situation, last: Ran) -> tuple[bool, ...]:
    """The results that a row of failures is judged by."""
    ours = tuple(one.outcome == "pass" for one in now.ran if one.environment == last.environment)
    if last.broken:  # tests that fell by chance before are known, and break nothing
        return ours
    return ((now.past.results if is_flaky(now.past.results) else now.past.like) or now.past.results) + ours


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _settled(
    now: Situation,
    verdict: RebuildVerdict,
    reason: str,
    *,
    cause_changed: bool = False,
    rate: Rate | None = None,
    take_out: str = "",
) -> Settled:
    before = now.past.settled if verdict in CONCLUSIVE else now.past.before
    goes_on = before is not None and _state(before.verdict) == _state(verdict)
    failed = _failed(now)
    fingerprint = failed[-1].fingerprint if failed and verdict in FAILING | {RebuildVerdict.FLAKY} else ""
    since = before.since if before is not None and goes_on else now.night_at
    return Settled(verdict, since, reason, fingerprint, cause_changed, rate, take_out)


def _state(verdict: RebuildVerdict) -> frozenset[RebuildVerdict]:
    return next((state for state in _STATES if verdict in state), frozenset({verdict}))
