"""A machine's calls: each phase once, in order, with its own token; floods cost a bounded record."""

from __future__ import annotations

import threading
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.vm import callbacks as module
from buildfarm.vm.callbacks import NOTE_LIMIT_CHARACTERS, PHASES, REFUSALS_KEPT, Callbacks, escape


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def machine(name: str = "m1", run: str = "r1") -> Callbacks:
    numbers = count()
    return Callbacks(run, name, Clock(), lambda: f"{name}-{next(numbers)}")


def test_the_phases_are_called_in_order_with_their_tokens() -> None:
    record = machine()
    tokens = {phase: record.issue(phase) for phase in PHASES}

    for phase in PHASES:
        assert record.offer(phase, tokens[phase], f"note of {phase}").accepted

    assert [(call.phase, call.at, call.note) for call in record.calls] == [
        (phase, 1000.0, f"note of {phase}") for phase in PHASES
    ]
    assert record.refusals == ()


BEFORE = "before"  # the token that a second issue replaced
OTHER = "other"  # the token of another phase
STRANGE = "strange"  # another machine's token


@pytest.mark.parametrize(
    ("called", "closed", "phase", "token", "status"),
    [
        ((), (), "booted", "", 200),
        ((), (), "rebooted", "", 404),
        ((), (), "BOOTED", "", 404),
        ((), (), "booted", "guess", 403),
        ((), (), "booted", OTHER, 403),
        ((), (), "booted", STRANGE, 403),
        ((), (), "booted", BEFORE, 403),
        ((), (), "installed", "", 409),
        (("booted",), (), "booted", "", 409),
        (("booted",), (), "booted", "guess", 403),
        (("booted",), (), "tested", "", 409),
        (("booted",), (), "installed", "", 200),
        ((), ("booted",), "booted", "", 410),
        ((), ("booted",), "booted", "guess", 403),
        (("booted",), ("booted",), "booted", "", 409),
        (("booted",), ("booted",), "installed", "", 200),
    ],
)
def test_what_is_taken_and_what_is_refused(
    called: tuple[str, ...], closed: tuple[str, ...], phase: str, token: str, status: int
) -> None:
    record, stranger = machine(), machine("m2")
    before = record.issue("booted")
    tokens = {name: record.issue(name) for name in PHASES}
    for name in called:
        record.offer(name, tokens[name])
    for name in closed:
        record.close(name)
    offered = {
        "": tokens.get(phase, "x"),
        BEFORE: before,
        OTHER: tokens["installed"],
        STRANGE: stranger.issue("booted"),
    }.get(token, token)

    answer = record.offer(phase, offered)

    assert answer.status == status
    assert [refusal.status for refusal in record.refusals] == ([] if status == 200 else [status])
    assert len(record.calls) == len(called) + (status == 200)


@pytest.mark.parametrize("who", [{"run": "r2"}, {"machine": "m2"}])
def test_a_token_is_good_for_its_run_and_machine_only(who: dict[str, str]) -> None:
    record = machine()
    token = record.issue("booted")

    assert record.offer("booted", token, **who).status == 403
    assert record.offer("booted", token, run="r1", machine="m1").status == 200


def test_fields_do_not_run_into_each_other() -> None:
    one, other = Callbacks("a", "bc", new_token=lambda: "t"), Callbacks("ab", "c", new_token=lambda: "t")
    one.issue("booted")
    other.issue("booted")

    assert one.offer("booted", "t", run="ab", machine="c").status == 403


def test_tokens_are_long_and_not_kept() -> None:
    record = Callbacks("r", "m")
    token = record.issue("booted")

    assert len(token) >= 43
    assert token != record.issue("booted")
    assert token not in repr(vars(record))


@pytest.mark.parametrize("token", ["", "anything", "\udcff"])
def test_no_token_fits_a_phase_that_has_none(token: str) -> None:
    assert machine().offer("booted", token).status == 403


def test_a_phase_that_was_called_or_closed_gets_no_token() -> None:
    record = machine()
    record.offer("booted", record.issue("booted"))
    record.close("installed")

    for phase in ("booted", "installed", "rebooted"):
        with pytest.raises(ValueError, match=phase):
            record.issue(phase)


def test_a_flood_is_counted_and_the_right_call_is_taken_all_the_same() -> None:
    clock = Clock()
    record = Callbacks("r", "m", clock)
    tokens = {phase: record.issue(phase) for phase in PHASES}
    assert record.offer("booted", tokens["booted"]).accepted

    statuses = [record.offer("booted", tokens["booted"]).status for _ in range(3 * REFUSALS_KEPT)]

    assert statuses[:10] == [409] * 10
    assert set(statuses[10:]) == {429}
    assert len(record.refusals) == REFUSALS_KEPT
    assert record.refused == {409: 10, 429: 3 * REFUSALS_KEPT - 10}
    assert record.offer("installed", tokens["installed"]).accepted
    clock.now += 0.2
    assert [record.offer("booted", "x").status for _ in range(2)] == [403, 429]
    clock.now -= 3600
    assert record.offer("booted", "x").status == 429


def test_waiting_ends_with_the_call() -> None:
    record = machine()
    token = record.issue("booted")
    thread = threading.Thread(target=record.offer, args=("booted", token, "here"))
    thread.start()

    call = record.wait("booted", 10)
    thread.join()

    assert call is not None
    assert call.note == "here"


@pytest.mark.parametrize("end", [lambda record: record.interrupt(), lambda record: record.close("booted")])
def test_waiting_ends_with_the_machine_or_the_phase(end: object) -> None:
    record = machine()
    assert callable(end)
    thread = threading.Thread(target=end, args=(record,))
    thread.start()

    assert record.wait("booted", 10) is None
    thread.join()


def test_waiting_has_an_end() -> None:
    assert machine().wait("booted", 0.01) is None


def test_a_call_that_came_is_found_after_the_machine_ended() -> None:
    record = machine()
    record.offer("booted", record.issue("booted"))
    record.interrupt()

    assert record.wait("booted", 0) is not None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\nlines", "plain\nlines"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udcff", "\\udcff"),
        ("tab\tcr\r", "tab\\tcr\\r"),
        ("Grüße ✓", "Grüße ✓"),
    ],
)
def test_notes_are_escaped(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(st.text(), st.integers(1, 40))
def test_escaped_text_is_bounded_and_printable(text: str, limit: int) -> None:
    shown = escape(text, limit)

    assert len(shown) <= limit
    assert all(character.isprintable() or character == "\n" for character in shown)
    shown.encode()


def test_a_long_note_is_cut() -> None:
    record = machine()
    record.offer("booted", record.issue("booted"), "\0" * (1 << 20))

    assert len(record.calls[0].note) == NOTE_LIMIT_CHARACTERS


PHASE_NAMES = st.sampled_from([*PHASES, "rebooted", ""])
STEPS = st.one_of(
    st.tuples(st.just("issue"), st.sampled_from(PHASES)),
    st.tuples(st.just("close"), st.sampled_from(PHASES)),
    st.tuples(st.just("offer"), PHASE_NAMES, st.integers(-1, 12), st.sampled_from(["", "r1", "r2"])),
)


@given(st.lists(STEPS, max_size=60), st.integers(1, 8))
def test_whatever_is_offered_each_phase_counts_once_in_order_with_its_own_token(
    steps: list[tuple[object, ...]], kept: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "REFUSALS_KEPT", kept)
        record = machine()
        good: dict[str, str] = {}
        known: list[str] = []
        accepted: list[str] = []
        closed: set[str] = set()
        refused = 0
        for step in steps:
            phase = str(step[1])
            if step[0] == "issue":
                if phase in accepted or phase in closed:
                    continue
                good[phase] = record.issue(phase)
                known.append(good[phase])
            elif step[0] == "close":
                record.close(phase)
                closed.add(phase)
            else:
                number, run = step[2], str(step[3])
                assert isinstance(number, int)
                token = known[number] if 0 <= number < len(known) else "guess"
                answer = record.offer(phase, token, run=run)
                expected = (
                    phase == (PHASES[len(accepted)] if len(accepted) < len(PHASES) else None)
                    and good.get(phase) == token
                    and phase not in closed
                    and run != "r2"
                )
                assert answer.accepted == expected
                if answer.accepted:
                    accepted.append(phase)
                else:
                    refused += 1
        assert [call.phase for call in record.calls] == accepted == list(PHASES[: len(accepted)])
        assert len(record.refusals) == min(refused, kept)
        assert sum(record.refused.values()) == refused
