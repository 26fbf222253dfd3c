"""Why a machine ended is found out and told, with a qemu and an agent that are played, so that each can fail."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from buildfarm.vm import machine as machine_module
from buildfarm.vm.body import WIRES, Wires
from buildfarm.vm.callbacks import REFUSALS_KEPT, Callbacks
from buildfarm.vm.console import Console
from buildfarm.vm.machine import Ending, Machine, MachineEnded, Reason
from buildfarm.vm.qemu import CONTROL_ID

RUNS = {"status": "running", "running": True}
Agent = Callable[["Played", list[str]], None]


class Played:
    """Both a machine's body and what is behind its wires: ``status`` is what qemu says, None for nothing;
    ``agent`` is called with the words of each RUN."""

    def __init__(self, agent: Agent, status: dict[str, Any] | None) -> None:
        pairs = [socket.socketpair() for _ in range(WIRES)]
        self.wires = Wires(*(ours for ours, _ in pairs))
        self._behind = Wires(*(theirs for _, theirs in pairs))
        self.gateway = Path("/nowhere")
        self._agent, self._status = agent, status
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._qemu, self._guest)]
        for thread in self._threads:
            thread.start()

    def _qemu(self) -> None:
        with self._behind.qmp.makefile("rb") as lines:
            for line in lines:
                asked = json.loads(line)["execute"]
                if asked == "qmp_capabilities":
                    self.qmp({"return": {}})
                elif self._status is not None:
                    self.qmp({"return": self._status})

    def _guest(self) -> None:
        with self._behind.control.makefile("rb") as file:
            pending = b""
            while data := file.read1(4096):
                pending += data
                words = pending.split(b"\0")[:-1]
                if len(words) >= 6 and len(words) == 6 + int(words[5]):
                    pending = b""
                    self._agent(self, [word.decode() for word in words])

    def qmp(self, message: dict[str, Any]) -> None:
        self._behind.qmp.sendall(json.dumps(message).encode() + b"\r\n")

    def event(self, name: str, **data: Any) -> None:
        self.qmp({"event": name, "data": data})

    def say(self, *words: str) -> None:
        self._behind.control.sendall("".join(f"{word}\0" for word in words).encode())

    def output(self, data: bytes) -> None:
        self._behind.output.sendall(data)

    def destroy(self) -> None:
        for one in self._behind.all():
            one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def last_words(self) -> str:
        return "played"


Start = Callable[..., Machine]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    for name, value in {"GRACE_S": 0.2, "AGENT_GRACE_S": 0.2, "QEMU_ANSWER_S": 0.3}.items():
        monkeypatch.setattr(machine_module, name, value)
    started = []

    def begin(agent: Agent = lambda *_: None, status: dict[str, Any] | None = RUNS) -> Machine:
        body = Played(agent, status)
        console = Console(tmp_path / "console.log")
        machine = Machine("m", body, Callbacks("r", "m"), console, accel="tcg", start="cold")
        started.append(machine)
        return machine

    yield begin
    for machine in started:
        machine.close()


def ended(machine: Machine, timeout_s: float = 0.3, **more: Any) -> Ending:
    with pytest.raises(MachineEnded) as raised:
        machine.run(["true"], timeout_s=timeout_s, **more)
    assert machine.ending == raised.value.ending
    return raised.value.ending


def test_every_reason_has_its_words_and_its_side() -> None:
    ours = {"killed", "stalled", "storage"}
    for reason in get_args(Reason):
        ending = Ending(reason)
        assert ending.in_words
        assert ending.by_itself == (reason not in ours)


def test_a_program_runs_whatever_else_is_said_on_the_way(start: Start) -> None:
    def agent(body: Played, words: list[str]) -> None:
        assert words[3:] == ["0", "1", "1", "true"]
        body.say("AWAKE", "what", "END", "another", "0")
        body.output(f"left over\x1e{words[1]} begin\nown\n\x1e{words[1]} end\n".encode())
        body.say("END", words[1], "7")

    sink = io.BytesIO()
    ran = start(agent).run(["true"], timeout_s=20, stdout=sink)
    assert (ran.status, ran.output, sink.getvalue()) == (7, "own\n", b"own\n")


def test_errors_of_their_own_come_on_a_wire_of_their_own(start: Start) -> None:
    def agent(body: Played, words: list[str]) -> None:
        assert words[4] == "2"
        body.output(f"\x1e{words[1]} begin\nout\x1e{words[1]} end\n".encode())
        body._behind.error.sendall(f"\x1e{words[1]} begin\nerr\x1e{words[1]} end\n".encode())
        body.say("END", words[1], "0")

    out, err = io.BytesIO(), io.BytesIO()
    start(agent).run(["true"], timeout_s=20, stdout=out, stderr=err)
    assert (out.getvalue(), err.getvalue()) == (b"out", b"err")


def test_silence_of_a_machine_that_qemu_runs_is_its_own(start: Start) -> None:
    assert ended(start()) == Ending("silent")


def test_silence_of_qemu_is_not_the_machines(start: Start) -> None:
    ending = ended(start(status=None))
    assert ending.reason == "stalled"
    assert "qemu does not answer query-status" in ending.details


def test_a_machine_that_was_stopped_is_told_with_its_state(start: Start) -> None:
    assert ended(start(status={"status": "paused", "running": False})) == Ending(
        "stalled", "it stands still: paused"
    )


def test_a_machine_that_had_no_processor_is_told_so(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = iter([0.0, 0.0, 900.0])
    monkeypatch.setattr(machine_module, "_waited_s", lambda _: next(waits))
    ending = ended(start())
    assert ending.reason == "stalled"
    assert ending.details.startswith("it waited 900 s of 1 s")


def test_an_agent_that_was_ended_is_told_soon_and_not_at_the_limit(start: Start) -> None:
    def agent(body: Played, _words: list[str]) -> None:
        body.event("VSERPORT_CHANGE", id=CONTROL_ID, open=False)

    assert ended(start(agent), timeout_s=600) == Ending("agent")


def test_an_agent_that_began_anew_knows_nothing_of_the_program(start: Start) -> None:
    assert ended(start(lambda body, _: body.say("HELLO", "boot-id", "call")), timeout_s=600) == Ending("agent")


def test_other_ports_say_nothing_of_the_agent(start: Start) -> None:
    def agent(body: Played, words: list[str]) -> None:
        body.event("VSERPORT_CHANGE", id=CONTROL_ID, open=False)
        body.event("VSERPORT_CHANGE", id=CONTROL_ID, open=True)
        body.event("VSERPORT_CHANGE", id="another", open=False)

    assert ended(start(agent), timeout_s=0.6) == Ending("silent")


def test_a_write_that_the_host_cannot_keep_is_told_at_once(start: Start) -> None:
    def agent(body: Played, _words: list[str]) -> None:
        body.event("BLOCK_IO_ERROR", action="stop", reason="No space left on device", nospace=True)

    assert ended(start(agent), timeout_s=600) == Ending("storage", "No space left on device")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("GUEST_PANICKED", {"action": "pause"}, "panic"),
        ("SHUTDOWN", {"guest": True, "reason": "guest-reset"}, "reset"),
        ("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}, "shutdown"),
        ("SHUTDOWN", {"guest": True, "reason": "guest-panic"}, "panic"),
    ],
)
def test_what_it_did_to_itself_is_told(start: Start, name: str, data: dict[str, Any], reason: str) -> None:
    assert ended(start(lambda body, _: body.event(name, **data)), timeout_s=600).reason == reason


def flood(body: Played, words: list[str]) -> None:
    body.output(f"\x1e{words[1]} begin\n".encode() + b"y\n" * 4000 + f"\x1e{words[1]} end\n".encode())
    body.say("END", words[1], "0")


def test_a_flood_ends_the_machine_where_that_is_wanted(start: Start) -> None:
    def without_end(body: Played, words: list[str]) -> None:
        body.output(f"\x1e{words[1]} begin\n".encode() + b"y\n" * 4000)

    assert ended(start(without_end), timeout_s=600, limit_bytes=1000, flood_ends=True) == Ending("flood")


def test_a_flood_is_cut_where_that_is_enough(start: Start) -> None:
    sink = io.BytesIO()
    ran = start(flood).run(["true"], timeout_s=20, stdout=sink, limit_bytes=1000)
    assert ran.output_limit_hit
    assert len(sink.getvalue()) == 1000


def test_noise_where_calls_are_made_is_counted_and_holds_nothing_up(start: Start) -> None:
    machine = start()
    assert isinstance(machine.body, Played)
    token = machine.callbacks.issue("booted")
    calls = machine.body._behind.calls
    calls.sendall(b"\n" * 50_000 + b"booted wrong\n" * 100 + b"\xff" * 50_000 + b"\n")
    calls.sendall(f"booted {token}\n".encode())
    assert machine.callbacks.wait("booted", 20) is not None
    assert sum(machine.callbacks.refused.values()) > 50_000
    assert len(machine.callbacks.refusals) == REFUSALS_KEPT
    machine.body.event("GUEST_PANICKED")
    assert machine.wait_ended(20) == Ending("panic")
