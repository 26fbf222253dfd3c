"""What is kept of environments no longer than somebody uses it: layers, what was downloaded, what was resolved."""

from __future__ import annotations

import contextlib
from pathlib import Path

from buildfarm.build.environments import deb_cache
from buildfarm.build.layers import Layer, collect_layers

NOTES = ("resolved", "environments", "lists")  # found out again in seconds
YOUNG_S = 3600.0  # what is younger may just be being written


def collect_environments(cache: Path, *, max_age_s: float, max_bytes: int, now: float) -> list[Layer]:
    """Remove layers as ``collect_layers`` does, and what else was found out or downloaded for them and is as old.

    Returns the layers that went. ``now`` is in seconds since the epoch.
    """
    old_s = max(max_age_s, YOUNG_S)
    for directory in NOTES:
        for note in (cache / directory).glob("*"):
            with contextlib.suppress(FileNotFoundError):
                if note.suffix != ".lock" and now - note.stat().st_mtime > old_s:
                    note.unlink()
    deb_cache(cache).forget_unused(now - old_s)
    return collect_layers(cache, max_age_s=max_age_s, max_bytes=max_bytes, now=now)
