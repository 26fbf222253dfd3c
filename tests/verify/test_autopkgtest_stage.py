"""The autopkgtest stage on a real archive: what its tests may do, how they end, and what they cannot reach."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from buildfarm.verdict import Verdict
from buildfarm.verify.testbeds import scratch_directory
from tests.archive.conftest import Server
from tests.verify.conftest import Bench


def control(*names: str, restrictions: str = "", depends: str = "") -> str:
    text = f"Tests: {' '.join(names)}\nDepends: @{depends}\n"
    return text + (f"Restrictions: {restrictions}\n" if restrictions else "")


def test_what_is_published_is_tested_as_it_was_installed_by_apt(bench: Bench) -> None:
    bench.publish(
        {
            "control": control("it-greets") + "\n" + control("as-root", restrictions="needs-root"),
            "it-greets": "#!/bin/sh\nset -e\ngreet | grep -x hello\ntest $(id -un) = tester\n"
            "echo kept > $AUTOPKGTEST_ARTIFACTS/note\n",
            "as-root": "#!/bin/sh\nset -e\ntest $(id -u) = 0\ntouch /etc/mark\ndpkg -s greet | grep 1.0\n",
        }
    )

    result = bench.run()

    assert (result.verdict, result.reason) == (Verdict.PASS, "2 tests passed"), bench.log()
    assert {(test["name"], test["result"], test["where"]) for test in result.facts["tests"]} == {
        ("it-greets", "pass", "overlay"),
        ("as-root", "pass", "overlay"),
    }
    assert (bench.out / "overlay/artifacts/note").read_text() == "kept\n"
    assert (bench.out / "overlay/testpkg-version").read_text() == "greet 1.0\n"
    assert "greet\t1.0" in (bench.out / "overlay/it-greets-packages").read_text()
    assert {ref.path.rpartition("/")[2] for ref in result.outputs} >= {"log", "testinfo.json", "note"}


def test_each_end_of_a_test_is_told_apart(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("buildfarm.stages.autopkgtest.no_machines", lambda: "this host has no qemu")
    bench.publish(
        {
            "control": "\n".join(
                [
                    control("good", "bad", "dies"),
                    control("not-here", restrictions="skippable"),
                    control("shaky", restrictions="flaky"),
                    control("far", restrictions="needs-internet"),
                    control("boots", restrictions="isolation-machine"),
                ]
            ),
            "good": "#!/bin/sh\ntrue\n",
            "bad": "#!/bin/sh\necho the reason >&2\nexit 3\n",
            "dies": "#!/usr/bin/perl\ndie 'at once';\n",
            "not-here": "#!/bin/sh\nexit 77\n",
            "shaky": "#!/bin/sh\nexit 1\n",
            "far": "#!/bin/sh\nexit 1\n",
            "boots": "#!/bin/sh\nexit 1\n",
        }
    )

    result = bench.run()

    assert result.verdict is Verdict.FAIL, bench.log()
    assert result.reason.startswith("2 of 4 tests failed: bad: non-zero exit status 3; dies: ")
    assert {test["name"]: test["result"] for test in result.facts["tests"]} == {
        "good": "pass",
        "bad": "fail",
        "dies": "fail",
        "not-here": "skip",
        "shaky": "flaky",
    }
    assert {line.partition(":")[0] for line in result.skipped} == {"far", "boots", "not-here"}
    assert result.details.endswith("the reason")


@pytest.mark.parametrize(
    ("tests", "reason"),
    [
        ({"control": "Tests: a\nDepends: @, (((\n", "a": "#!/bin/sh\n"}, "invalid dependency"),
        ({"control": "Tests: missing\n"}, "missing does not exist"),
        ({"control": "Tests: a\nDepends: @, nothing-has-this-name\n", "a": "#!/bin/sh\n"}, "badpkg"),
        ({"control": "Tests: a\nTest-Command: b\n", "a": "#!/bin/sh\n"}, 'Only one of "Tests" or "Test-Command"'),
    ],
)
def test_an_erroneous_declaration_is_the_packages_fault(bench: Bench, tests: dict[str, str], reason: str) -> None:
    bench.publish(tests)

    result = bench.run()

    assert result.verdict is Verdict.FAIL, bench.log()
    assert reason in result.reason


def test_a_package_that_cannot_be_installed_fails(bench: Bench) -> None:
    bench.publish({"control": control("a"), "a": "#!/bin/sh\n"}, postinst="echo no; exit 9")

    result = bench.run()

    assert result.verdict is Verdict.FAIL
    assert "a: badpkg" in result.reason


def test_without_tests_there_is_nothing_to_do(bench: Bench) -> None:
    bench.publish(None)

    result = bench.run()

    assert (result.verdict, result.reason) == (
        Verdict.SKIPPED,
        "the source has no debian/tests, and no Testsuite: autopkgtest-pkg-*",
    )


def test_what_was_superseded_meanwhile_is_not_judged(bench: Bench) -> None:
    bench.publish({"control": control("a"), "a": "#!/bin/sh\nexit 1\n"}, version="2.0")
    workspace = bench.workspace
    bench.publish({"control": control("a"), "a": "#!/bin/sh\nexit 1\n"}, version="3.0")
    result_file = workspace.directory("publish", bench.target) / "result.json"
    result_file.write_text(result_file.read_text().replace('"3.0"', '"2.0"'))

    result = bench.run()

    assert result.verdict is Verdict.SKIPPED
    assert "apt offers 3.0 of greet, not 2.0" in result.reason


def test_a_test_that_hangs_fails_in_its_time_and_the_next_one_runs(bench: Bench) -> None:
    bench.publish(
        {
            "control": control("hangs", "next"),
            "hangs": "#!/bin/sh\nsleep 3000 & sleep 3000\n",
            "next": "#!/bin/sh\n! grep -qx sleep /proc/[0-9]*/comm\n",
        }
    )

    result = bench.run(test_timeout_s=3)

    assert result.verdict is Verdict.FAIL
    assert "1 of 2 tests failed: hangs: timed out" in result.reason, bench.log()


def test_all_tests_together_have_a_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("buildfarm.verify.autopkgtest_bench.LEAST_S", 25.0)
    bench.publish({"control": control("hangs"), "hangs": "#!/bin/sh\nsleep 3000\n"})

    result = bench.run(timeout_s=1)

    assert (result.verdict, result.reason) == (
        Verdict.FAIL,
        "the tests were stopped: not done in time (timeout_s)",
    ), bench.log()


def test_a_flood_of_output_is_stopped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("buildfarm.verify.autopkgtest_run.OUTPUT_LIMIT_BYTES", 1 << 20)
    bench.publish({"control": control("floods"), "floods": "#!/bin/sh\nyes\n"})

    result = bench.run()

    assert (result.verdict, result.reason) == (Verdict.FAIL, "the tests were stopped: they printed too much")
    assert len(bench.log()) < 3 << 20


def test_a_test_that_fills_its_disk_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("buildfarm.verify.autopkgtest_bench.DISK_BYTES", 300 << 20)
    bench.publish(
        {
            "control": control("fills", restrictions="needs-root"),
            "fills": "#!/bin/sh\ndd if=/dev/zero of=/big bs=1M count=600\nsleep 60\n",
        }
    )

    result = bench.run()

    assert (result.verdict, result.reason) == (
        Verdict.FAIL,
        "the tests were stopped: they filled the disk they may use",
    ), bench.log()


def test_the_hosts_ports_are_out_of_reach(bench: Bench) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reached.append(self.path)
            self.send_response(200)
            self.end_headers()

    reached: list[str] = []
    with HTTPServer(("127.0.0.1", 0), Handler) as secret:
        threading.Thread(target=secret.serve_forever, daemon=True).start()
        port, archive = secret.server_port, bench.settings.archive.port
        bench.publish(
            {
                "control": control("reaches", restrictions="needs-root"),
                "reaches": f"""#!/bin/bash
                    tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | grep -vx lo
                    for port in {port} {archive} 22 8010 9989; do
                        (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null && echo "REACHED $port"
                    done
                    (exec 3<>/dev/tcp/192.0.2.1/80) 2>/dev/null && echo REACHED
                    ask() {{ exec 3<>/dev/tcp/127.0.0.1/1; printf "$1 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" >&3
                        timeout 5 head -n 1 <&3; exec 3>&-; }}
                    ask "GET http://127.0.0.1:{port}/by-get"
                    ask "GET http://localhost:{port}/by-name"
                    ask "CONNECT 127.0.0.1:{port}"
                    unshare -Ur true 2>/dev/null && echo "NESTED"
                    mount -t tmpfs none /mnt 2>/dev/null && echo "MOUNTED"
                    ls /proc/1/root/ /proc/1/fd 2>/dev/null && echo "INIT"
                    exit 0
                """,
            }
        )

        result = bench.run()
        secret.shutdown()

    said = (bench.out / "overlay/reaches-stdout").read_text()
    assert result.verdict is Verdict.PASS, bench.log()
    assert reached == []
    assert not any(word in said for word in ("REACHED", "NESTED", "MOUNTED", "INIT", " 200")), said
    assert said.count(" 403 ") == 3, said


def test_a_source_cannot_use_autopkgtest_against_the_host(bench: Bench) -> None:
    """Fields of debian/control become a part of a program that autopkgtest runs beside itself."""
    mark = f"/var/tmp/buildfarm-mark-{os.getpid()}"
    program = f"x'); system(\"id >&2; touch {mark}; ls /dev/shm /work /root >&2\"); print deps_parse('x"
    bench.publish(
        {"control": "Tests: a\nDepends: @, @recommends@\n", "a": "#!/bin/sh\n"},
        paragraph=f"\nPackage: greet-hurd\nArchitecture: hurd-any\nRecommends: {program}\nDescription: x\n y\n",
    )

    result = bench.run()

    assert result.verdict in (Verdict.FAIL, Verdict.ERROR)
    assert not Path(mark).exists()
    assert "uid=1000(builder)" in bench.log()
    assert "uid=0" not in bench.log()


def test_links_in_a_source_lead_nowhere_on_the_host(bench: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("Tests: hush-hush\n")
    secret.chmod(0o644)
    bench.publish({"control": f"-> {secret}"})

    result = bench.run()

    assert result.verdict is not Verdict.PASS
    assert "hush-hush" not in bench.log() + result.reason + result.details


def test_nothing_is_left_when_the_stage_is_killed(bench: Bench, server: Server, root_cache: Path) -> None:
    mark = f"{os.getpid()}.5"  # seconds that nobody else sleeps
    bench.publish({"control": control("hangs"), "hangs": f"#!/bin/sh\n(setsid sleep {mark} &)\nsleep {mark}\n"})
    bench.write_job(test_timeout_s=1_000_000 + os.getpid())
    (server.home / "cache").symlink_to(root_cache)
    words = [
        "--workspace",
        str(bench.workspace.path),
        "--series",
        bench.series,
        "--architecture",
        bench.architecture,
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "buildfarm", "stage", "autopkgtest", *words],
        env={**os.environ, "BUILDFARM_HOME": str(server.home)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as stage:
        wait_for(lambda: len(processes(mark)) >= 2)
        stage.kill()

    wait_for(lambda: not processes(mark))
    wait_for(lambda: not processes(f"--timeout-test={1_000_000 + os.getpid()}"))
    with scratch_directory(root_cache) as own:
        left = [path for path in own.parent.glob("*") if path.suffix != ".lock" and not in_use(path)]
    assert left == []


def in_use(scratch: Path) -> bool:
    """Whether its owner lives."""
    with contextlib.suppress(BlockingIOError), scratch.with_suffix(".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    return True


def processes(word: str) -> list[int]:
    """The processes that have ``word`` on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
