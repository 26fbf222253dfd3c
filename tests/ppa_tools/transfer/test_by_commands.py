"""The commands take packages from Launchpad to the embedded archive and back, as a user gives them."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.archive.conftest import Signer
from tests.archive.soundness import check_archive
from tests.ppa_tools.commands.conftest import BIN, Shell
from tests.ppa_tools.conformance.backends import NOBLE, OWNER, Embedded, Launchpad, held
from tests.ppa_tools.transfer.conftest import Ftp


@pytest.fixture
def shell(tmp_path: Path, embedded: Embedded, launchpad: Launchpad, signer: Signer, ftp: Ftp) -> Shell:
    """Somebody with a login, a key and an embedded archive."""
    (tmp_path / "somewhere").mkdir()
    return Shell(
        tmp_path / "somewhere",
        {
            "PPA_LOCAL_ARCHIVE": str(embedded.local.root),
            "LP_CREDENTIALS": launchpad.double.token(OWNER).text,
            "GNUPGHOME": str(signer.home),
            "PPA_UPLOAD_HOST": f"127.0.0.1:{ftp.port}",
        },
    )


def test_a_ppa_is_mirrored(shell: Shell, embedded: Embedded, launchpad: Launchpad) -> None:
    trunk, mirror = launchpad.ppa("trunk"), embedded.ppa("mirror")
    for name in ("hello", "other"):
        launchpad.put(trunk, name)
        embedded.put(mirror, name, "0.9-1")
    embedded.put(mirror, "gone")
    words = ("ppa-sync", "ppa:me/trunk", "local:me/mirror", "--instance", launchpad.double.url)
    assert "hello" in shell(*words, "--dry-run", status=3).out
    shell(*words, "--yes", "--why", "a mirror")
    assert held(mirror) == [(NOBLE, "hello", "1.0-1"), (NOBLE, "other", "1.0-1")]
    shell(*words, "--dry-run")
    assert "copied from ppa:me/trunk noble: a mirror" in shell("ppa-history", "local:me/mirror").out


def test_a_transfer_that_is_killed_is_finished_and_not_begun_again(
    shell: Shell, embedded: Embedded, launchpad: Launchpad
) -> None:
    trunk, mirror = launchpad.ppa("trunk"), embedded.ppa("mirror")
    for number in range(5):
        launchpad.put(trunk, f"hello{number}", built=["amd64"], package="all")
    launchpad.double.set(latency_s=0.1)
    words = ("ppa-copy", "ppa:me/trunk", "local:me/mirror", "--all", "--instance", launchpad.double.url, "--yes")
    killed = subprocess.Popen(
        [BIN / words[0], *words[1:]],
        cwd=shell.directory,
        env=shell.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (come := files_in(embedded)) and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert come
    assert held(mirror) == []
    launchpad.double.set(latency_s=0)
    launchpad.double.clear_log()
    shell(*words)
    assert held(mirror) == [(NOBLE, f"hello{number}", "1.0-1") for number in range(5)]
    asked = {Path(one["path"]).name for one in launchpad.double.requests() if "files/" in one["path"]}
    assert not asked & come
    check_archive(embedded.local)


def files_in(embedded: Embedded) -> set[str]:
    """The files that have come whole."""
    return {path.name for path in embedded.local.incoming.glob("*/*") if path.suffix != ".part"}


def test_a_source_is_sent_to_be_built_and_waited_for(
    shell: Shell, embedded: Embedded, launchpad: Launchpad, ftp: Ftp
) -> None:
    trunk, target = embedded.ppa("trunk"), launchpad.ppa("target")
    embedded.put(trunk)
    words = ("ppa-copy", "local:me/trunk", "ppa:me/target", "hello", "--instance", launchpad.double.url, "--yes")
    assert "--rebuild" in shell(*words, status=1).out
    assert ftp.sessions() == []
    shell(*words, "--rebuild", "--no-wait")
    assert len(ftp.sessions()) == 1
    launchpad.put(target, built=(), content="as it was uploaded")
    shell(*words, "--rebuild")
    assert len(ftp.sessions()) == 1
