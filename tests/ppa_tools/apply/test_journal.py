"""The journal survives what happens to files and processes, and is one run's alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppa_tools.address import parse_address
from ppa_tools.apply import journal as module
from ppa_tools.apply.journal import Item, JournalError, State, journal_path, open_items, open_journal

HERE = parse_address("ppa:o/to")
ONE, TWO, THREE = (Item("copy", "ppa:o/to", "noble", name, "1.0") for name in ("one", "two", "three"))


@pytest.fixture
def state(tmp_path: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path)}


def test_what_was_asked_for_stands_until_it_has_ended(state: dict[str, str]) -> None:
    with open_journal(HERE, "production", environment=state) as journal:
        journal.begin([ONE, TWO, THREE], 10.0)
        journal.note(State.ASKED, [ONE, TWO, THREE], 11.0)
        journal.note(State.ARRIVED, [ONE], 12.0)
        journal.note(State.GIVEN_UP, [TWO], 13.0)
    with open_journal(HERE, "production", environment=state) as journal:
        assert journal.standing(ONE) is None
        assert journal.standing(TWO) is None
        standing = journal.standing(THREE)
        assert standing is not None
        assert (standing.state, standing.at) == (State.ASKED, 10.0)
    assert open_items(HERE, "production", environment=state) == (THREE,)


def test_members_of_a_batch_are_known_by_it(state: dict[str, str]) -> None:
    with open_journal(HERE, "production", environment=state) as journal:
        first = journal.begin([ONE, TWO], 10.0)
        second = journal.begin([THREE], 10.0)
        journal.note(State.ARRIVED, [TWO], 11.0)
        assert first != second
        assert journal.open_members(first) == (ONE,)


@pytest.mark.parametrize(
    "torn", [b'{"at": 3', b'{"at": 3, "state": "arrived", "batch": "", "items": []}', b"\0\0\0"]
)
def test_a_half_written_last_line_is_cut_off(state: dict[str, str], torn: bytes) -> None:
    with open_journal(HERE, "production", environment=state) as journal:
        journal.begin([ONE], 10.0)
    path = journal_path(HERE, "production", state)
    with path.open("ab") as file:
        file.write(torn)
    assert open_items(HERE, "production", environment=state) == (ONE,)
    with open_journal(HERE, "production", environment=state) as journal:
        journal.begin([TWO], 20.0)
    assert set(open_items(HERE, "production", environment=state)) == {ONE, TWO}


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        b'{"at": 1, "state": "asking", "batch": "1", "items": [["copy", "ppa:o/to", "noble", "hello"]]}',
        b'{"at": 1, "state": "asking", "batch": "1", "items": [["copy", "ppa:o/to", "noble", ["hello"], "1"]]}',
        b'{"at": 1, "state": "asking", "batch": "1", "items": 7}',
    ],
    ids=lambda line: line[:20].decode("latin-1"),
)
def test_a_journal_that_is_damaged_inside_is_not_guessed_at(state: dict[str, str], line: bytes) -> None:
    path = journal_path(HERE, "production", state)
    path.parent.mkdir()
    path.write_bytes(line + b"\n")
    with (
        pytest.raises(JournalError, match="line 1, cannot be read") as caught,
        open_journal(HERE, "production", environment=state),
    ):
        pass
    assert "Mend it" in str(caught.value)


def test_a_long_journal_is_cut_down_to_what_is_open(
    state: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMPACT_BYTES", 1000)
    with open_journal(HERE, "production", environment=state) as journal:
        for _ in range(20):
            journal.begin([ONE], 10.0)
            journal.note(State.ARRIVED, [ONE], 11.0)
        batch = journal.begin([TWO, THREE], 12.0)
        journal.note(State.ASKED, [TWO], 13.0)
    with open_journal(HERE, "production", environment=state) as journal:
        assert journal_path(HERE, "production", state).stat().st_size < 1000
        assert journal.standing(ONE) is None
        two, three = journal.standing(TWO), journal.standing(THREE)
        assert two is not None
        assert three is not None
        assert (two.state, two.at, three.state) == (State.ASKED, 12.0, State.ASKING)
        assert two.batch == three.batch == batch
        assert journal.begin([ONE], 14.0) != batch


def test_two_runs_on_one_destination_do_not_mix(state: dict[str, str]) -> None:
    with open_journal(HERE, "production", environment=state):
        with pytest.raises(JournalError, match=f"another run is changing ppa:o/to: process {os.getpid()}"):
            open_journal(HERE, "production", environment=state).__enter__()
        with open_journal(HERE, "staging", environment=state):
            pass
    with open_journal(HERE, "production", environment=state):
        pass


def test_a_run_that_was_killed_leaves_its_journal_free(state: dict[str, str]) -> None:
    program = (
        "import os, sys\n"
        "from ppa_tools.address import parse_address\n"
        "from ppa_tools.apply.journal import Item, open_journal\n"
        "with open_journal(parse_address('ppa:o/to'), 'production') as journal:\n"
        "    journal.begin([Item('copy', 'ppa:o/to', 'noble', 'one', '1.0')], 10.0)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program], env={**os.environ, **state}, check=False, timeout=60)
    with open_journal(HERE, "production", environment=state) as journal:
        standing = journal.standing(ONE)
        assert standing is not None
        assert standing.state is State.ASKING


def test_each_launchpad_and_each_directory_has_its_own(state: dict[str, str]) -> None:
    instances = ("production", "staging", "http://127.0.0.1:8080", "/srv/archive", "/srv/other")
    paths = {journal_path(HERE, one, state) for one in instances}
    assert len(paths) == len(instances)
    assert {path.parent for path in paths} == {Path(state["XDG_STATE_HOME"]) / "ppa-tools"}


def test_a_directory_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be used") as caught:
        open_journal(HERE, "production", environment={"XDG_STATE_HOME": str(tmp_path / "file")}).__enter__()
    assert "XDG_STATE_HOME" in str(caught.value)


def test_trouble_of_the_run_itself_is_not_blamed_on_the_journal(state: dict[str, str]) -> None:
    with pytest.raises(ConnectionError), open_journal(HERE, "production", environment=state):
        raise ConnectionError("elsewhere")


def test_every_line_is_on_the_disk_before_the_run_goes_on(
    state: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = journal_path(HERE, "production", state), []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.read_bytes().count(b"\n")))
    with open_journal(HERE, "production", environment=state) as journal:
        journal.begin([ONE], 10.0)
        journal.note(State.ASKED, [ONE], 11.0)
        journal.note(State.ARRIVED, [ONE], 12.0)
    assert synced == [0, 0, 1, 2, 3], "first the names of the journal and its directory"
