"""The systemd units: systemd reads them, and each starts a part that the farm has."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from buildfarm.farm import Farm
from buildfarm.parts import part_names
from buildfarm.recipe import RecipeBook
from buildfarm.settings import load_settings


def units(root: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (root / "systemd").iterdir()}


def test_every_part_has_its_unit(root: Path, tmp_path: Path) -> None:
    started = {
        name: re.search(r"^ExecStart=\S+/buildfarm up --foreground (\S+)$", text, re.MULTILINE)
        for name, text in units(root).items()
        if name.endswith(".service")
    }
    parts = {found[1].replace("%i", "1") for found in started.values() if found}
    assert len(parts) == len(started)
    (tmp_path / "farm.toml").write_text("[vm]\nready = 2\n")
    farm = Farm(load_settings(tmp_path, environ={}), RecipeBook({}, ()))
    assert parts == set(part_names(farm))


def test_the_target_starts_every_unit_there_is_but_the_pool_that_is_asked_for_apart(root: Path) -> None:
    wanted = re.search(r"^Wants=(.*)$", units(root)["buildfarm.target"], re.MULTILINE)
    assert wanted
    services = {name for name in units(root) if name.endswith(".service")}
    started = {name.replace("@1.", "@.") for name in wanted[1].split()}
    assert started == services - {"buildfarm-machines.service"}


def test_the_build_workers_unit_hides_the_upload_key_and_allows_namespaces(root: Path) -> None:
    text = units(root)["buildfarm-worker@.service"]
    assert re.search(r"^InaccessiblePaths=.*/keys\b", text, re.MULTILINE)
    settings = re.findall(r"^([A-Z]\w+)=", text, re.MULTILINE)
    # systemd.exec(5), NoNewPrivileges=: these bring it along, and newuidmap could not do its work.
    forbidden = {
        "NoNewPrivileges", "SystemCallFilter", "SystemCallArchitectures", "RestrictAddressFamilies",
        "RestrictNamespaces", "PrivateDevices", "ProtectKernelTunables", "ProtectKernelModules",
        "ProtectKernelLogs", "ProtectClock", "MemoryDenyWriteExecute", "RestrictRealtime", "RestrictSUIDSGID",
        "DynamicUser", "LockPersonality", "ProtectHostname",
    }  # fmt: skip
    assert not forbidden & set(settings)


def test_systemd_reads_the_units(root: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for name, text in units(root).items():
        # The program stands where it is installed; here any program does.
        content = re.sub(r"/opt/buildfarm/\.venv/bin/buildfarm", "/bin/true", text)
        (tmp_path / name.replace("@.", "@1.")).write_text(content)
    done = subprocess.run(
        ["systemd-analyze", "verify", *sorted(tmp_path.iterdir())], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "buildfarm" in line]
    assert not complaints
