"""How long the master's reactor is held up while a pool of machines is filled, used and filled again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from buildfarm import demo
from buildfarm.build.bootstrap import native_architecture
from buildfarm.commands.up import start_farm
from buildfarm.farm import open_farm
from buildfarm.job import MachineRules
from buildfarm.parts import part_names, stop_part
from buildfarm.settings import HOME_VARIABLE, ROOT_VARIABLE, Settings, load_settings
from buildfarm.verify.machines import MachineRoom

SPAN_S = 30.0
READY = 4
# The master's own configuration, and a clock in its reactor that notes how late it is called.
MASTER = """\
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.task import LoopingCall
from buildfarm.master import configure

BuildmasterConfig = configure()
_last = [reactor.seconds()]
def _look():
    now = reactor.seconds()
    with Path({lags!r}).open("a") as file:
        file.write(f"{{now}} {{1000 * (now - _last[0] - 0.02)}}\\n")
    _last[0] = now
reactor.callWhenRunning(lambda: LoopingCall(_look).start(0.02))
"""


def measure_pool(settings: Settings, series: str) -> tuple[float, float, float]:
    """The worst lag in ms without a pool and with one of four, and the seconds to a booted machine out of it."""
    place = settings.home / "pool-farm"
    shutil.rmtree(place, ignore_errors=True)
    (place / "recipes").mkdir(parents=True)
    (place / "cache").symlink_to(settings.cache.resolve(), target_is_directory=True)
    lags = place / "lags"
    (place / "master.cfg").write_text(MASTER.format(lags=str(lags)))
    (place / "recipes" / "one.yaml").write_text(
        "trunk: {vcs: git, location: /nonexistent.git, poll_interval_s: 86400}\npublish: local:bench/one\n"
    )
    before = {name: os.environ.get(name) for name in (HOME_VARIABLE, ROOT_VARIABLE)}
    os.environ[HOME_VARIABLE] = os.environ[ROOT_VARIABLE] = str(place)
    demo.write_settings(load_settings())
    (place / "farm.toml").write_text(
        (place / "farm.toml").read_text().replace(f'recipes = "{place / "recipes"}"', 'recipes = "recipes"')
    )
    farm = open_farm()
    try:
        start_farm(farm)
        time.sleep(10.0)
        idle = _worst(lags, SPAN_S)
        began = time.time()
        pool = subprocess.Popen(
            [sys.executable, "-m", "buildfarm", "vm", "pool", "--ready", str(READY)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert pool.stdout is not None
            for _ in range(READY):
                pool.stdout.readline()
            took = []
            rules = MachineRules()
            room = MachineRoom(
                load_settings(), rules, series, native_architecture(), "p", "", place, sys.stderr.buffer
            )
            for _ in range(READY):
                clock = time.monotonic()
                with room.machine("pooled") as machine:
                    took.append(time.monotonic() - clock)
                    machine.run(["sh", "-c", "apt-cache policy bash; sha256sum /usr/bin/*"], timeout_s=120)
            time.sleep(2.0)
            busy = _worst(lags, time.time() - began)
        finally:
            pool.send_signal(signal.SIGTERM)
            pool.wait(60)
    finally:
        for part in reversed(part_names(farm)):
            stop_part(farm.settings, part, signal.SIGTERM)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    return idle, busy, sorted(took)[len(took) // 2]


def _worst(lags: Path, last_s: float) -> float:
    if last_s == SPAN_S:
        time.sleep(last_s)
    rows = [line.split() for line in lags.read_text().splitlines()]
    newest = float(rows[-1][0])
    return max(float(lag) for at, lag in rows if float(at) >= newest - last_s)
