"""What an image is given to call home with: whatever it has will do; and what comes home from machines."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildfarm.verify.firstboot import firstboot_script
from buildfarm.verify.guest_files import harmless, unpack
from buildfarm.vm.callbacks import Callbacks
from buildfarm.vm.gateway import Gateway, GatewayOrder

ALWAYS = ("sh", "uname", "head", "grep", "sed", "sleep", "cat")


@pytest.fixture
def inner() -> Callbacks:
    return Callbacks("run-1", "it's-an image")


@pytest.fixture
def gateway(inner: Callbacks) -> Iterator[Gateway]:
    with tempfile.TemporaryDirectory(prefix="gateway-") as name:
        order = GatewayOrder(Path(name) / "s", Callbacks("run-1", "outer"), nested=(inner,), tcp=True)
        with Gateway(order) as gateway:
            yield gateway


def run_script(gateway: Gateway, script: bytes, tools: tuple[str, ...], tmp_path: Path) -> int:
    """Run it where there are no other tools than these."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in (*ALWAYS, *tools):
        found = shutil.which(name, path="/usr/bin:/bin")
        if found is None:
            pytest.skip(f"this host has no {name}")
        (bin_ / name).symlink_to(found)
    text = script.decode()
    for old, new in (
        ("host=10.0.2.100 port=80", f"host=127.0.0.1 port={gateway.port}"),
        ("PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ":"),
        (">/dev/console", ">/dev/full"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "firstboot").write_text(text)
    return subprocess.run(
        [str(bin_ / "sh"), str(tmp_path / "firstboot")], env={"PATH": str(bin_)}, timeout=60, check=False
    ).returncode


@pytest.mark.parametrize("tool", ["curl", "wget", "nc", "bash", "perl", "python3", "busybox"])
def test_an_image_calls_with_whatever_it_has(
    gateway: Gateway, inner: Callbacks, tool: str, tmp_path: Path
) -> None:
    script = firstboot_script(inner, inner.issue("booted"))
    assert run_script(gateway, script, (tool,), tmp_path) == 0
    assert [call.phase for call in inner.calls] == ["booted"]
    assert inner.calls[0].note.startswith("Linux ")
    assert not inner.refusals
    assert not gateway.order.callbacks.refusals


@pytest.mark.parametrize("tool", ["curl", "nc"])
def test_an_image_with_a_wrong_token_gives_up_and_is_on_record(
    gateway: Gateway, inner: Callbacks, tool: str, tmp_path: Path
) -> None:
    inner.issue("booted")
    assert run_script(gateway, firstboot_script(inner, "guessed"), (tool,), tmp_path) == 1
    assert not inner.calls
    assert [one.status for one in inner.refusals] == [403]


def packed(*members: tuple[str, bytes, bytes]) -> io.BytesIO:
    """A tar stream of (name, type, content or target)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind, content in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size = kind, len(content) if kind == tarfile.REGTYPE else 0
            entry.linkname = content.decode() if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            tar.addfile(entry, io.BytesIO(content) if kind == tarfile.REGTYPE else None)
    file.seek(0)
    return file


def test_only_plain_files_with_harmless_names_come_home(tmp_path: Path) -> None:
    into = tmp_path / "logs"
    stream = packed(
        ("var/log/good", tarfile.REGTYPE, b"good"),
        ("/var/log/absolute", tarfile.REGTYPE, b"absolute"),
        ("../../escaped", tarfile.REGTYPE, b"bad"),
        ("var/link", tarfile.SYMTYPE, b"/etc"),
        ("var/link/below", tarfile.REGTYPE, b"below"),
        ("var/hard", tarfile.LNKTYPE, b"/etc/passwd"),
        ("var/fifo", tarfile.FIFOTYPE, b""),
        ("var/log/good", tarfile.REGTYPE, b"again"),
        ("var/log/good/below", tarfile.REGTYPE, b"a file is no directory"),
        ("odd\x1b[31m name", tarfile.REGTYPE, b"odd"),
    )
    brought = unpack(stream, into)
    found = {str(path.relative_to(into)): path.read_text() for path in into.rglob("*") if path.is_file()}
    assert found == {
        "var/log/good": "good",
        "var/log/absolute": "absolute",
        "var/link/below": "below",
        "odd__31m_name": "odd",
    }
    assert sorted(brought.files) == sorted(into / name for name in found)
    assert brought.left_out == 6
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


def test_a_stream_that_is_cut_off_gives_what_came_whole(tmp_path: Path) -> None:
    whole = packed(("one", tarfile.REGTYPE, b"1" * 5000), ("two", tarfile.REGTYPE, b"2" * 5000)).getvalue()
    brought = unpack(io.BytesIO(whole[:8000]), tmp_path)
    assert (tmp_path / "one").stat().st_size == 5000
    assert brought.left_out == 1
    assert tmp_path / "two" not in brought.files


def test_noise_in_place_of_a_stream_gives_nothing(tmp_path: Path) -> None:
    assert unpack(io.BytesIO(os.urandom(100_000)), tmp_path).files == ()
    assert unpack(io.BytesIO(b""), tmp_path).files == ()


@pytest.mark.parametrize("name", ["", "/", "..", "a/../b", ".", "/".join("abcdefghijklmnopqrst")])
def test_names_that_lead_nowhere_have_no_place(name: str, tmp_path: Path) -> None:
    assert harmless(tmp_path, name) is None
