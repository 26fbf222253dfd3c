"""The gateway as guests meet it: curl, bash, and clients that mean no good, on real sockets."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from buildfarm.errors import FarmTrouble
from buildfarm.vm import callbacks as callbacks_module
from buildfarm.vm.callbacks import PHASES, Callbacks
from buildfarm.vm.gateway import ACCESSES_KEPT, Gateway, GatewayOrder
from buildfarm.vm.http_stream import Patience
from buildfarm.vm.seed import Seed, cloud_config, smbios_serial, static_network
from tests.vm.conftest import OpenGateway
from tests.vm.servers import ask, open_to, read_all, status_of

BASH_CALL = r"""
set -euo pipefail
exec 3<>/dev/tcp/127.0.0.1/"$1"
note=$3
printf 'POST /firstboot/booted HTTP/1.1\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s' \
    "$2" "${#note}" "$note" >&3
cat <&3
"""


def curl(gateway: Gateway, *arguments: str) -> tuple[int, str]:
    ran = subprocess.run(
        [
            "curl",
            "-sS",
            "-m",
            "20",
            "-w",
            "\n%{http_code}",
            "--unix-socket",
            gateway.order.socket_path,
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )
    body, _, status = ran.stdout.rpartition("\n")
    return int(status), body


def call(gateway: Gateway, phase: str, token: str, note: str = "") -> tuple[int, str]:
    header = f"Authorization: Bearer {token}"
    return curl(gateway, "-H", header, "--data-binary", note, f"http://gateway/firstboot/{phase}")


def post(path: str, token: str = "", body: bytes = b"") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_the_phases_are_called_in_order_each_once(open_gateway: OpenGateway) -> None:
    callbacks = Callbacks("r", "m")
    tokens = {phase: callbacks.issue(phase) for phase in PHASES}
    gateway = open_gateway(callbacks)

    assert call(gateway, "installed", tokens["installed"])[0] == 409
    assert call(gateway, "booted", tokens["tested"])[0] == 403
    assert call(gateway, "booted", "")[0] == 403
    assert call(gateway, "rebooted", tokens["booted"])[0] == 404
    for phase in PHASES:
        assert call(gateway, phase, tokens[phase], f"kernel of {phase}\n") == (200, f"{phase}: noted\n")
    assert call(gateway, "booted", tokens["booted"]) == (409, "booted was called already\n")
    assert [(made.phase, made.note) for made in callbacks.calls] == [(p, f"kernel of {p}\n") for p in PHASES]
    assert [access.status for access in gateway.accesses] == [409, 403, 403, 404, 200, 200, 200, 409]


def test_bash_makes_a_call_without_any_tool(open_gateway: OpenGateway) -> None:
    callbacks = Callbacks("r", "m")
    gateway = open_gateway(callbacks)

    said = subprocess.run(
        ["bash", "-c", BASH_CALL, "call", str(gateway.port), callbacks.issue("booted"), "up 3.2 s"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    ).stdout

    assert said.endswith("\n\nbooted: noted\n")
    assert callbacks.calls[0].note == "up 3.2 s"


def test_nc_carries_a_call_as_qemu_does_and_goes(open_gateway: OpenGateway) -> None:
    callbacks = Callbacks("r", "m")
    gateway = open_gateway(callbacks)
    # Standard input stays open, as the guest's side does: nc goes because the gateway closes.
    with subprocess.Popen(
        ["nc", "-N", "-U", gateway.order.socket_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(post("/firstboot/booted", callbacks.issue("booted")))
        process.stdin.flush()
        assert process.stdout.read().endswith(b"booted: noted\n")


def test_a_call_names_its_run_and_machine(open_gateway: OpenGateway) -> None:
    callbacks = Callbacks("r", "m")
    gateway = open_gateway(callbacks)
    token = callbacks.issue("booted")

    def named(machine: str) -> int:
        headers = ["-H", f"Authorization: Bearer {token}", "-H", f"X-Buildfarm-Machine: {machine}"]
        return curl(gateway, *headers, "-d", "", "http://gateway/firstboot/booted")[0]

    assert named("other") == 403
    assert named("m") == 200


def test_a_machine_inside_the_machine_calls_by_the_same_way(open_gateway: OpenGateway) -> None:
    outer, inner = Callbacks("r", "outer"), Callbacks("r", "inner")
    gateway = open_gateway(outer, nested=(inner,))
    token = inner.issue("booted")

    def call_as(machine: str) -> int:
        headers = ["-H", f"Authorization: Bearer {token}", "-H", f"X-Buildfarm-Machine: {machine}"]
        return curl(gateway, *headers, "--data-binary", "", "http://gateway/firstboot/booted")[0]

    assert call_as("outer") == 403
    assert call_as("another") == 403
    assert call_as("inner") == 200
    assert call_as("inner") == 409
    assert [one.phase for one in inner.calls] == ["booted"]
    assert (len(outer.calls), len(outer.refusals), len(inner.refusals)) == (0, 2, 1)


def test_a_call_wakes_who_waits(open_gateway: OpenGateway) -> None:
    callbacks = Callbacks("r", "m")
    gateway = open_gateway(callbacks)
    data = post("/firstboot/booted", callbacks.issue("booted"))
    thread = threading.Thread(target=ask, args=(gateway.order.socket_path, data))
    thread.start()

    assert callbacks.wait("booted", 20) is not None
    thread.join()


def test_a_call_through_the_proxy_setting_is_answered_here(open_gateway: OpenGateway) -> None:
    callbacks = Callbacks("r", "m")
    gateway = open_gateway(callbacks)
    token = callbacks.issue("booted")

    answer = ask(gateway.order.socket_path, post("http://10.0.2.100/firstboot/booted", token))

    assert status_of(answer) == 200


def test_cloud_init_reads_its_seed_and_phones_home(open_gateway: OpenGateway) -> None:
    callbacks = Callbacks("r", "m")
    token = callbacks.issue("booted")
    user_data = cloud_config(
        phone_home_url=f"http://10.0.2.100/phone-home/{token}",
        runcmd=[["echo", 'it\'s: "quoted" # here']],
        write_files={"/etc/x": ("0600", "a: b\n")},
        apt_proxy="http://10.0.2.100/",
    )
    seed = Seed("s3cret", "i-1", "host-1", user_data, static_network("10.0.2.15/24"))
    gateway = open_gateway(callbacks, seed=seed)

    def get(name: str, secret: str = "s3cret") -> tuple[int, str]:
        return curl(gateway, f"http://gateway/seed/{secret}/{name}")

    assert json.loads(get("meta-data")[1]) == {"instance-id": "i-1", "local-hostname": "host-1"}
    assert get("user-data") == (200, user_data)
    assert get("vendor-data") == (200, "#cloud-config\n{}\n")
    assert json.loads(get("network-config")[1])["ethernets"]["farm"]["addresses"] == ["10.0.2.15/24"]
    assert get("other")[0] == get("user-data", "guess")[0] == get("user-data", "")[0] == 404
    assert curl(gateway, "-I", "http://gateway/seed/s3cret/user-data")[0] == 200
    form = ["-d", "instance_id=i-1&hostname=host%2D1"]
    assert curl(gateway, *form, "http://gateway/phone-home/guess")[0] == 403
    assert curl(gateway, *form, f"http://gateway/phone-home/{token}")[0] == 200
    assert callbacks.calls[0].note == "instance_id: i-1\nhostname: host-1"
    assert not [access for access in gateway.accesses if "s3cret" in str(access) or token in str(access)]
    assert smbios_serial("http://10.0.2.100/", "s3cret") == "ds=nocloud-net;s=http://10.0.2.100/seed/s3cret/"


def test_user_data_is_yaml_that_reads_as_it_was_meant() -> None:
    from ruamel.yaml import YAML

    text = cloud_config(runcmd=[["a", "yes"], ["- b: 'c'", "\u2028\x00é"]], more={"hostname": "no"})

    assert text.startswith("#cloud-config\n")
    read = YAML(typ="safe").load(text)
    assert read["runcmd"] == [["a", "yes"], ["- b: 'c'", "\u2028\x00é"]]
    assert read["hostname"] == "no"


def test_a_machine_without_a_network_file_is_told_so(open_gateway: OpenGateway) -> None:
    gateway = open_gateway(seed=Seed("s", "i", "h", "#cloud-config\n"))

    assert curl(gateway, "http://gateway/seed/s/network-config")[0] == 404


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\n\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1 \r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n folded: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\nB: c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: \0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n", 400),
        (b"POST /firstboot/booted HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST /firstboot/booted HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /firstboot/booted HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST /firstboot/booted HTTP/1.1\r\nContent-Length: +1\r\n\r\na", 400),
        (b"POST /firstboot/booted HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /firstboot/booted HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET /firstboot/booted HTTP/1.1\r\n\r\n", 405),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", 405),
        (b"PUT http://127.0.0.1:1/ HTTP/1.1\r\n\r\n", 405),
    ],
)
def test_what_is_no_plain_request_is_refused(open_gateway: OpenGateway, data: bytes, status: int) -> None:
    gateway = open_gateway()

    # A second request behind it must never be taken for one.
    answer = ask(gateway.order.socket_path, data + b"GET /smuggled HTTP/1.1\r\n\r\n")

    assert status_of(answer) == status
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in answer
    assert not [access for access in gateway.accesses if "smuggled" in access.target]


def test_a_head_without_end_is_cut_at_its_limit(open_gateway: OpenGateway) -> None:
    gateway = open_gateway()

    with open_to(gateway.order.socket_path) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        with suppress(BrokenPipeError, ConnectionResetError):
            while True:
                connection.sendall(b"X: " + b"y" * 4000 + b"\r\n")


def test_a_head_that_drips_has_its_time(open_gateway: OpenGateway) -> None:
    gateway = open_gateway(patience=Patience(head_s=0.3, idle_s=5))
    started = time.monotonic()

    with open_to(gateway.order.socket_path) as connection:
        connection.settimeout(0.05)
        connection.sendall(b"GET / HT")
        answer = b""
        while not answer and time.monotonic() - started < 5:
            connection.sendall(b"T")
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                continue

    assert status_of(answer) == 408


def test_a_body_that_does_not_come_has_its_time(open_gateway: OpenGateway) -> None:
    callbacks = Callbacks("r", "m")
    gateway = open_gateway(callbacks, patience=Patience(head_s=0.2, idle_s=5))
    head = post("/firstboot/booted", callbacks.issue("booted"), b"x" * 100)[:-50]

    assert status_of(ask(gateway.order.socket_path, head, then_close=False)) == 408
    assert callbacks.calls == ()


def test_a_body_that_was_cut_off_does_not_count(open_gateway: OpenGateway) -> None:
    callbacks = Callbacks("r", "m")
    gateway = open_gateway(callbacks)
    head = post("/firstboot/booted", callbacks.issue("booted"), b"x" * 100)[:-50]

    assert ask(gateway.order.socket_path, head) == b""
    assert callbacks.calls == ()


def test_idle_connections_end(open_gateway: OpenGateway) -> None:
    gateway = open_gateway(patience=Patience(idle_s=0.2))

    with open_to(gateway.order.socket_path) as connection:
        assert read_all(connection) == b""


def test_connections_wait_for_their_turn_and_too_many_are_closed(open_gateway: OpenGateway) -> None:
    callbacks = Callbacks("r", "m")
    gateway = open_gateway(callbacks, connections=2)
    path = gateway.order.socket_path
    idle = [open_to(path) for _ in range(2)]
    waiting = open_to(path)
    waiting.sendall(post("/firstboot/booted", callbacks.issue("booted")))
    more = [open_to(path) for _ in range(100)]

    for connection in more:
        connection.settimeout(0)
    closed = 0
    deadline = time.monotonic() + 5
    while closed < 100 - 63 and time.monotonic() < deadline:
        closed = 0
        for connection in more:
            try:
                closed += connection.recv(1) == b""
            except BlockingIOError:
                continue
            except ConnectionResetError:
                closed += 1
    assert closed == 100 - 63
    assert callbacks.calls == ()
    idle[0].close()
    assert status_of(read_all(waiting)) == 200
    for connection in (*idle, waiting, *more):
        connection.close()


def test_a_flood_of_calls_leaves_bounded_records_and_the_right_call_through(
    open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks_module, "REFUSALS_KEPT", 100)
    monkeypatch.setattr("buildfarm.vm.gateway.REQUESTS_PER_S", 1e6)
    callbacks = Callbacks("r", "m")
    tokens = {phase: callbacks.issue(phase) for phase in PHASES}
    gateway = open_gateway(callbacks)
    booted = post("/firstboot/booted", tokens["booted"])
    statuses = [status_of(ask(gateway.order.socket_path, booted)) for _ in range(2500)]

    assert statuses[0] == 200
    assert set(statuses[1:]) == {409, 429}
    assert statuses.count(429) > 1000
    assert len(callbacks.refusals) == 100
    assert len(gateway.accesses) == ACCESSES_KEPT
    assert status_of(ask(gateway.order.socket_path, post("/firstboot/installed", tokens["installed"]))) == 200


def test_a_flood_is_slowed_down(open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("buildfarm.vm.gateway.REQUESTS_AT_ONCE", 5)
    monkeypatch.setattr("buildfarm.vm.gateway.REQUESTS_PER_S", 50.0)
    gateway = open_gateway()
    started = time.monotonic()

    for _ in range(25):
        ask(gateway.order.socket_path, b"GET /x HTTP/1.0\r\n\r\n")

    assert time.monotonic() - started > 0.35


def test_leaving_frees_the_socket_and_all_connections_at_once(open_gateway: OpenGateway, tmp_path: Path) -> None:
    threads = threading.active_count()
    gateway = open_gateway()
    path = gateway.order.socket_path
    connections = [open_to(path) for _ in range(10)]
    connections[0].sendall(b"GET /half")
    # Its own turn tells that the others have been taken in.
    assert status_of(ask(path, b"GET /x HTTP/1.0\r\n\r\n")) == 404
    started = time.monotonic()

    gateway.close()

    assert time.monotonic() - started < 1
    assert not path.exists()
    assert threading.active_count() == threads
    assert [read_all(connection) for connection in connections] == [b""] * 10
    for connection in connections:
        connection.close()
    gateway.close()


def test_a_socket_left_by_the_dead_is_replaced(open_gateway: OpenGateway, socket_directory: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(socket_directory / "s"))
    stale.close()

    gateway = open_gateway()

    assert status_of(ask(gateway.order.socket_path, b"GET /x HTTP/1.0\r\n\r\n")) == 404
    assert gateway.order.socket_path.stat().st_mode & 0o777 == 0o600


def test_a_path_too_long_for_a_socket_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(FarmTrouble, match="too long"),
        Gateway(GatewayOrder(tmp_path / ("x" * 120), Callbacks("", ""))),
    ):
        pass


def test_a_directory_that_is_not_there_says_so(tmp_path: Path) -> None:
    order = GatewayOrder(Path(os.path.relpath(tmp_path / "no" / "s")), Callbacks("", ""))
    with pytest.raises(FarmTrouble, match="does not start"), Gateway(order):
        pass


def test_accesses_print_as_lines(open_gateway: OpenGateway) -> None:
    gateway = open_gateway()
    ask(gateway.order.socket_path, b"GET /x\x7f HTTP/1.0\r\n\r\n")
    ask(gateway.order.socket_path, b"GET /x HTTP/1.0\r\n\r\n")

    bad, fine = map(str, gateway.accesses)
    assert bad.startswith("- - 400 ")
    assert re.fullmatch(r"GET /x 404 \d+ bytes 0\.\d{3} s \(nothing of that name is here\)", fine)
