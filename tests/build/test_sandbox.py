"""Hostile commands in the sandbox: they see nothing, keep nothing, harm nothing."""

from __future__ import annotations

import http.server
import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildfarm.build import namespaces
from buildfarm.build.sandbox import Limits, Wanted
from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.process import descendants

Sandbox = Callable[..., Any]


def test_the_command_is_nobody_on_the_host_and_has_no_powers(sandbox: Sandbox) -> None:
    ran = sandbox("id -u; id -G; grep -E '^(CapEff|CapPrm|NoNewPrivs)' /proc/self/status; cat /proc/self/uid_map")

    lines = ran.output.splitlines()
    assert lines[:2] == ["1000", "1000"]
    assert {line.replace("\t", " ") for line in lines[2:5]} == {
        "CapPrm: 0000000000000000",
        "CapEff: 0000000000000000",
        "NoNewPrivs: 1",
    }
    host_uid_of_inner_0 = int(ran.output.splitlines()[-1].split()[1])
    assert host_uid_of_inner_0 >= 65536


def test_nothing_of_our_environment_reaches_the_command(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILDFARM_SECRET", "hush-hush")

    ran = sandbox("env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'", environment={"MINE": "yes"})

    assert "hush-hush" not in ran.output
    assert "MINE=yes" in ran.output


def test_files_and_processes_of_the_host_are_not_visible(sandbox: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "id_ed25519"
    secret.write_text("the key")
    secret.chmod(0o644)

    ran = sandbox(
        f"cat {secret}; ls -a /root /home {tmp_path}; ls /proc | grep -c '^[0-9]'; "
        f"for fd in /proc/*/fd/*; do cat $fd/../{secret.name}; done; cat /proc/1/root{secret}; true"
    )

    assert "the key" not in ran.output
    processes = next(int(line) for line in ran.output.splitlines() if line.isdigit())
    assert processes < 10


def test_there_is_a_loopback_and_no_other_network(sandbox: Sandbox) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        port = server.server_port
        script = f"""
            exec 2>&1; cat /proc/net/dev | tail -n +3 | cut -d: -f1
            perl -MIO::Socket::INET -e '
              print IO::Socket::INET->new("127.0.0.1:{port}") ? "REACHED\\n" : "unreached\\n";
              print IO::Socket::INET->new("192.0.2.1:80") ? "REACHED\\n" : "unreached: $!\\n";
              my $listener = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1");
              print IO::Socket::INET->new("127.0.0.1:" . $listener->sockport) ? "own loopback\\n" : "none\\n";'
        """
        ran = sandbox(script)

    assert ran.output.split("\n")[0].strip() == "lo"
    assert "REACHED" not in ran.output
    assert "own loopback" in ran.output


def test_the_root_is_read_only_and_scratch_is_bounded(sandbox: Sandbox) -> None:
    ran = sandbox(
        "touch /etc/x /usr/x /x; head -c 20M /dev/zero > big; wc -c < big; unshare -Ur true && echo NESTED; true",
        limits=Limits(60, scratch_bytes=8 << 20),
    )

    assert ran.output.count("Read-only file system") == 3
    assert "No space left on device" in ran.output
    assert "NESTED" not in ran.output


def test_a_tree_within_the_limits_that_does_not_fit_is_the_farms_trouble(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree/data").write_bytes(b"x" * (9 << 20))
    monkeypatch.setattr("buildfarm.build.sandbox.memory_available", lambda: 16 << 20)  # a busy machine

    with pytest.raises(FarmTrouble, match="could not be unpacked"):
        sandbox("true")


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (Limits(60, scratch_bytes=8 << 20), "bytes, the limit"),
        (Limits(60, file_bytes=8 << 20), "bytes in one file"),
        (Limits(60, scratch_files=8), "21 files"),
    ],
)
def test_a_tree_beyond_the_limits_is_the_packages_fault(
    sandbox: Sandbox, tmp_path: Path, limits: Limits, what: str
) -> None:
    (tmp_path / "tree/data").write_bytes(b"x" * (9 << 20))
    for number in range(20):
        (tmp_path / f"tree/{number}").touch()

    with pytest.raises(PackageFault, match=what):
        sandbox("true", limits=limits)


def test_a_tree_that_cannot_be_read_whole_is_never_tested(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = subprocess.Popen

    def losing(argv: list[str], **more: Any) -> Any:
        return real([*argv, "no-such-file"] if argv[0] == "tar" else argv, **more)

    monkeypatch.setattr("buildfarm.build.sandbox.subprocess.Popen", losing)

    with pytest.raises(FarmTrouble, match="cannot be packed") as caught:
        sandbox("true")
    assert "no-such-file" in caught.value.details


@pytest.mark.parametrize("script", ["kill -9 $$", "sh -c 'kill -9 $$'; exit $?"])
def test_a_death_while_memory_ran_out_is_the_farms_trouble(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    assert sandbox(script).status in (-9, 137)

    counts = iter([3, 4])
    monkeypatch.setattr("buildfarm.build.sandbox.count_oom_kills", lambda: next(counts))
    with pytest.raises(FarmTrouble, match="ran out of memory"):
        sandbox(script)


def test_a_command_that_hangs_is_stopped_with_all_it_started(sandbox: Sandbox) -> None:
    ran = sandbox("setsid sleep 1234 & trap '' TERM; echo started; sleep 1235", limits=Limits(2))

    assert ran.timed_out
    assert "started" in ran.output
    assert _gone("sleep\x001234")
    assert _gone("sleep\x001235")


def test_daemons_end_with_the_command(sandbox: Sandbox) -> None:
    ran = sandbox("setsid sleep 1236 >/dev/null 2>&1 & exit 7")

    assert ran.status == 7
    assert _gone("sleep\x001236")


def test_output_without_end_is_cut_and_the_command_stopped(sandbox: Sandbox) -> None:
    log = io.BytesIO()

    ran = sandbox("yes", limits=Limits(60, output_bytes=1 << 20), log=log)

    assert ran.output_limit_hit
    assert len(log.getvalue()) <= 1 << 20


def test_a_fork_bomb_fails_inside(sandbox: Sandbox) -> None:
    ran = sandbox(
        "i=0; while [ $i -lt 300 ]; do sleep 30 & i=$((i+1)); done; wait", limits=Limits(20, processes=50)
    )

    assert ran.status != 0
    assert "fork" in ran.output.lower()


def test_results_come_back_only_from_regular_files_inside_their_limit(sandbox: Sandbox, tmp_path: Path) -> None:
    names = ("good", "link", "fifo", "large", "dir/good", "gone", "odd/file")
    wanted = [Wanted(f"tree/{name}", tmp_path / name.replace("/", "-"), 100) for name in names]

    ran = sandbox(
        "echo fine > good; ln -s /etc/passwd link; mkfifo fifo; head -c 101 /dev/zero > large; mkdir dir real;"
        "echo deep > dir/good; echo x > real/file; ln -s real odd",
        wanted=wanted,
    )

    assert {path.removeprefix("tree/"): state for path, state in ran.files.items()} == {
        "good": "ok",
        "link": "irregular",
        "fifo": "irregular",
        "large": "too-large",
        "dir/good": "ok",
        "gone": "missing",
        "odd/file": "irregular",
    }
    assert (tmp_path / "good").read_text() == "fine\n"
    assert not (tmp_path / "link").exists()
    assert (tmp_path / "good").stat().st_uid == os.getuid()


@pytest.mark.parametrize("path", ["tree/../x", "/etc/passwd", "tree//x", ""])
def test_a_result_outside_the_tree_is_refused(sandbox: Sandbox, tmp_path: Path, path: str) -> None:
    with pytest.raises(PackageFault, match="no path inside"):
        sandbox("true", wanted=[Wanted(path, tmp_path / "out", 10)])


def test_hostile_names_and_links_in_the_tree_arrive_as_they_are(sandbox: Sandbox, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    odd = [b"-rf", b"a b", b"new\nline", b"quote'\"$(touch x)", b"\xff\xfe", b"back\\slash"]
    for name in odd:
        (tree / os.fsdecode(name)).write_text("x")
    (tree / "out").symlink_to(tmp_path)

    ran = sandbox('perl -e \'opendir D,"."; print map {unpack("H*",$_)."\\n"} readdir D\'; cat out/tree/-rf')

    found = {
        bytes.fromhex(line)
        for line in ran.output.split()
        if len(line) % 2 == 0 and set(line) <= set("0123456789abcdef")
    }
    assert set(odd) <= found
    assert ran.status != 0  # the link leads nowhere inside


def test_the_death_of_the_farm_ends_the_sandbox(root_cache: Path, host_series: str, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    program = textwrap.dedent(f"""
        import io, sys
        from pathlib import Path
        from buildfarm.build.environments import use_layers
        from buildfarm.build.roots import list_roots
        from buildfarm.build.sandbox import Limits, run_in_sandbox
        cache = Path({str(root_cache)!r})
        root = next(root for root in list_roots(cache) if root.series == {host_series!r})
        with use_layers(root, (), cache, io.BytesIO()) as use:
            run_in_sandbox(use.directories, Path({str(tmp_path / "tree")!r}),
                           ["sh", "-c", "echo up; exec sleep 4321"], limits=Limits(100), log=sys.stdout.buffer)
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as farm:
        assert farm.stdout is not None
        assert farm.stdout.readline() == b"up\n"
        family = list(descendants(farm.pid))
        farm.send_signal(signal.SIGKILL)
        farm.wait()

    assert family
    assert _gone("sleep\x004321")


def _gone(words: str) -> bool:
    """Whether no process is called so: at once, or when the kernel has done what it was told (20 s at most)."""
    deadline = time.monotonic() + 20
    while _running(words) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not _running(words)


def _running(words: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().decode(errors="replace").startswith(words):
                return True
        except OSError:
            continue
    return False


@pytest.mark.skipif(os.getuid() == 0, reason="root needs no helper, and mmdebstrap gives root none")
def test_where_apparmor_is_in_the_way_mmdebstrap_opens_the_namespace(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespaces, "needs_helper", lambda: True)

    ran = sandbox("id -u; touch /x; tail -n +3 /proc/net/dev | cut -d: -f1")

    assert ran.output.split()[0] == "1000"
    assert ran.output.split()[-1] == "lo"
    assert "Read-only file system" in ran.output
