"""Layers: directories that, laid over each other, make a root file system in milliseconds.

The lowest layer is a root's tarball, unpacked; those above hold what an installation changed (overlayfs upper
directories). A layer is keyed by what it is made of, made under a lock, complete before it has its name, and never
changed afterwards; whoever uses it holds a shared lock, so that garbage collection, by age since last use and by
total size, leaves it alone. What goes into them is decided in buildfarm.build.environments.

    layers/KEY/fs/            the files, owned by subordinate ids
    layers/KEY/layer.json     see ``Layer``; its modification time is when the layer was last used
    layers/KEY/manifest.json  the packages of the root file system that this layer is the top of
    layers/KEY/unsettled      not all of it is on the disk for certain: after another boot than the one this names,
                              which the power may have failed before, it is made again
    layers/KEY.lock           exclusive while it is made or removed, shared while it is used
    layers/.making/KEY-*/     not complete; removed by whoever next makes that layer, or by garbage collection
                              a day later. Its owner's subordinate ids write there as anybody may, so its name
                              cannot be guessed, and only its owner lists .making
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from buildfarm import process
from buildfarm.build.bootstrap import locked, locked_if_free, open_directory
from buildfarm.build.namespaces import Orders, enter, remove_owned_tree
from buildfarm.files import read_json, write_json

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SETTLE_TIMEOUT_S = 600
MEASURE_TIMEOUT_S = 600
MAKING_S = 86400.0  # no layer takes so long to make


@dataclass(frozen=True)
class Layer:
    """One layer. ``below`` is the key of the layer under it ("" for a root); ``contents`` says for people what was
    put in; times in seconds since the epoch, UTC."""

    key: str
    below: str
    contents: tuple[str, ...]
    series: str
    architecture: str
    made_at: float
    size_bytes: int


def layers_directory(cache: Path) -> Path:
    """Where the layers lie."""
    return cache / "layers"


@contextlib.contextmanager
def layer_in_use(directory: Path, key: str, make: Callable[[Path], Layer]) -> Iterator[Path]:
    """A layer's directory, kept in use for the ``with`` block; where it is not there yet ``make`` makes it.

    ``make`` is given a directory that our subordinate ids may write to, and leaves ``fs`` in it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)  # whatever our umask: the ids inside pass through
    place, lock_path = directory / key, directory / f"{key}.lock"
    while True:
        with locked(lock_path, shared=True):
            if is_complete(place):
                os.utime(place / "layer.json")
                _see_settled(place)
                yield place
                return
        with locked(lock_path):
            if not is_complete(place):
                remove_owned_tree(place)
                making = open_directory(directory / ".making", key)
                try:
                    finish_layer(making, place, make(making))
                except BaseException:
                    remove_owned_tree(making)
                    raise


def is_complete(place: Path) -> bool:
    """Whether the layer of this directory is here, whole."""
    try:
        unsettled_since = (place / "unsettled").read_text(encoding="ascii")
    except FileNotFoundError:
        return (place / "layer.json").is_file()
    return (place / "layer.json").is_file() and unsettled_since == BOOT_ID.read_text(encoding="ascii")


def finish_layer(making: Path, place: Path, layer: Layer) -> None:
    """Give a layer that was made its name. That its files reach the disk is seen to meanwhile: a build need not
    wait for that."""
    (making / "unsettled").write_text(BOOT_ID.read_text(encoding="ascii"), encoding="ascii")
    write_json(making / "layer.json", asdict(layer))
    making.chmod(0o755)
    making.rename(place)
    threading.Thread(target=_settle, args=(place,), name=f"settling {place.name[:10]}", daemon=True).start()


def _see_settled(place: Path) -> None:
    """Do what its maker has not lived to do."""
    with contextlib.suppress(FileNotFoundError):
        if time.time() - (place / "unsettled").stat().st_mtime > SETTLE_TIMEOUT_S:
            _settle(place)


def _settle(place: Path) -> None:
    synced = process.run(["sync", "--file-system", place], timeout_s=SETTLE_TIMEOUT_S)
    if synced.ok:
        (place / "unsettled").unlink(missing_ok=True)


def list_layers(cache: Path) -> list[Layer]:
    """All complete layers, the one used last first."""
    found = []
    for path in layers_directory(cache).glob("*/layer.json"):
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            data = read_json(path)
            found.append((path.stat().st_mtime, Layer(**data | {"contents": tuple(data["contents"])})))
    return [layer for _, layer in sorted(found, key=lambda pair: -pair[0])]


def last_used_at(cache: Path, layer: Layer) -> float:
    """When a layer was last used, seconds since the epoch."""
    return (layers_directory(cache) / layer.key / "layer.json").stat().st_mtime


def collect_layers(cache: Path, *, max_age_s: float, max_bytes: int, now: float) -> list[Layer]:
    """Remove layers not used for ``max_age_s``, then the longest unused until ``max_bytes`` suffice.

    A layer in use stays, and so does one below another that stays. Returns what went.
    """
    directory = layers_directory(cache)
    with locked(directory / ".collecting.lock"):
        for left in (*directory.glob(".going-*"), *_abandoned(directory, now)):
            remove_owned_tree(left)
        used_at = {path.parent.name: path.stat().st_mtime for path in directory.glob("*/layer.json")}
        layers = [layer for layer in list_layers(cache) if layer.key in used_at]
        known = {layer.key: layer for layer in layers}
        for key in used_at.keys() - known:  # of an earlier version of the farm: nobody uses it any more
            _remove(directory, key)
        needed: set[str] = set()
        total = 0
        for layer in layers:
            total += layer.size_bytes
            if now - used_at[layer.key] <= max_age_s and total <= max_bytes:
                needed |= {layer.key, *_below(layer, known)}
        gone = [layer for layer in layers if layer.key not in needed]
        topmost_first = sorted(gone, key=lambda layer: -len(_below(layer, known)))
        return [layer for layer in topmost_first if _remove(directory, layer.key)]


def _abandoned(directory: Path, now: float) -> Iterator[Path]:
    """What makers that were killed left of layers that nobody has wanted since."""
    for making in directory.glob(".making/*"):
        with contextlib.suppress(FileNotFoundError):  # it is done
            if now - making.stat().st_mtime > MAKING_S:
                yield making


def _below(layer: Layer, known: Mapping[str, Layer]) -> list[str]:
    """The keys of all layers under one."""
    found: list[str] = []
    while layer.below and layer.below not in found:
        found.append(layer.below)
        if layer.below not in known:
            break
        layer = known[layer.below]
    return found


def _remove(directory: Path, key: str) -> bool:
    lock = directory / f"{key}.lock"
    with locked_if_free(lock) as free:
        if free:
            going = directory / f".going-{key}"
            (directory / key).rename(going)
            remove_owned_tree(going)
            lock.unlink()
        return free


def measure_layer(making: Path) -> int:
    """The size of a layer that is ours only in part: as its owner sees it."""
    ended = enter(
        Orders(("du", "-sb", "fs"), process.clean_environment(), directory=making), timeout_s=MEASURE_TIMEOUT_S
    )
    first = ended.finished.text.split()[:1]
    return int(first[0]) if first and first[0].isdigit() else 0
