"""``buildfarm status``: what runs here, what cannot be watched, and what the last runs came to."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

from buildfarm.farm import Farm, open_farm
from buildfarm.history import Run, open_history
from buildfarm.parts import living, part_names, running_parts
from buildfarm.settings import Settings
from ppa_tools.plain_text import plain_line

LITTLE_DISK_BYTES = 5 * 1024**3


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("-n", "--runs", type=int, default=10, help="how many last runs (default 10)")
    parser.epilog = "Exit status: 0 every part runs, 1 one does not."


def run(args: argparse.Namespace) -> int:
    """Print the farm's state."""
    from buildfarm.terminal import MARKS, short_revision, state_words

    farm = open_farm()
    settings = farm.settings
    now = time.time()
    missing = _print_parts(farm, now)
    print(f"\nweb status {settings.web_url}   archive {settings.archive_url}/")
    _print_disk(settings.home)
    for problem in farm.problems:
        print(f"left out: {problem}")
    if missing:
        print("`buildfarm up` starts what does not run")
    _print_rebuilds(settings)
    if not settings.history_file.exists():
        return 1 if missing else 0
    history = open_history(settings.history_file)
    for recipe, (trouble, since) in history.troubles().items():
        if recipe not in farm.book.recipes:
            continue
        print(f"trunk of {recipe} cannot be looked at for {_age(now - since)}: {trouble}")
    runs: tuple[Run, ...] = history.recent_runs(args.runs)
    print("\nlast runs" if runs else "\nno runs yet: the first commit to a watched trunk begins one")
    for one in runs:
        state, why = state_words(history, one, now)
        age = _age(now - (one.ended_at or one.seen_at))
        print(
            f"  {MARKS[state]} {state:8} {one.run_id:20} {short_revision(one):16}"
            f"  {age:>6} ago  {one.summary[:50]}"
        )
        if why:
            print(f"             {why}")
    return 1 if missing else 0


def _print_parts(farm: Farm, now: float) -> int:
    missing = 0
    wanted = part_names(farm)
    for name in (*wanted, *(name for name in running_parts(farm.settings) if name not in wanted)):
        one = living(farm.settings, name)
        if one is None:
            missing += 1
            print(f"{name:12} does not run")
        else:
            left = "" if name in wanted else "; farm.toml does not ask for it: `buildfarm down` stops it, too"
            print(
                f"{name:12} process {one.pid}, up {_age(now - one.started_at)}, {_resident_mb(one.pid)} MB{left}"
            )
    return missing


def _print_disk(home: Path) -> None:
    place = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < LITTLE_DISK_BYTES:
        print(
            f"little room: {free / 1e9:.1f} GB free below {home}; stages fail when it is full\n"
            "  `buildfarm root gc` removes old root file systems; keep_runs in farm.toml is how many runs are kept"
        )


def _print_rebuilds(settings: Settings) -> None:
    if not settings.regression_file.exists():
        return
    from buildfarm.regress.local import HERE, is_built_here
    from buildfarm.regress.model import RebuildVerdict
    from buildfarm.regress.nights import open_nights

    nights = open_nights(settings.regression_file)
    for name, (reason, _since) in sorted(nights.workers_out().items()):
        print(plain_line(f"{name} is out of service: {reason}"))
        print(f"  when it is sound again: buildfarm rebuild workers --put-back {name}")
    for night in (*nights.open_nights_of("farm"), *nights.open_nights_of("here")):
        verdicts = [one.verdict for one in nights.rebuilds(night)]
        settled, new = len(verdicts) - verdicts.count(None), verdicts.count(RebuildVerdict.NEW_FAILURE)
        failures = f", {new} new failure{'' if new == 1 else 's'}" if new else ""
        print(f"night {night.number} of {night.set}: {settled} of {len(verdicts)}{failures}")
        if night.driver == HERE and not is_built_here(settings):
            print(f"  it was interrupted: buildfarm rebuild resume {night.number}, or cancel {night.number}")


def _resident_mb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"
