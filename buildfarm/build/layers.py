"""Layers: directories that, laid over each other, make a root file system in milliseconds.

The lowest layer is a root's tarball, unpacked. The next holds only what the installation of some dependencies
changed (an overlayfs upper directory). A layer is keyed by what it is made of (the layer below, the sorted
dependency strings), made under a lock, complete before it has its name, and never changed afterwards; whoever uses
it holds a shared lock, so that garbage collection, by age since last use and by total size, leaves it alone.

    layers/KEY/fs/          the files, owned by subordinate ids
    layers/KEY/layer.json   see ``Layer``; its modification time is when the layer was last used
    layers/KEY.lock         exclusive while it is made or removed, shared while it is used
    layers/.making/KEY-*/   not complete; removed by whoever next takes the lock. Its owner's subordinate ids write
                            there as anybody may, so its name cannot be guessed, and only its owner lists .making
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from buildfarm import process
from buildfarm.build.bootstrap import locked, open_directory, say
from buildfarm.build.namespaces import Ended, Orders, enter, remove_owned_tree, run_as_owner
from buildfarm.build.roots import Root
from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.files import read_json, write_json
from buildfarm.process import how_it_ended

LAYER_VERSION = 1
INSTALL_TIMEOUT_S = 3000
UNPACK_TIMEOUT_S = 600
UNMET = re.compile(r"^\s*(?:\S+ : )?(?:Pre)?-?Depends: (.+)$", re.MULTILINE)
FETCH_TROUBLE = re.compile(
    r"^(?:[EW]: Failed to fetch|E: Unable to fetch|Err:\d+|E: The repository|E: You don't have enough"
    r"|.*No space left on device)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Layer:
    """One layer. ``below`` is the key of the layer under it ("" for a root); ``dependencies`` are the Debian
    relationship strings that were installed; times in seconds since the epoch, UTC."""

    key: str
    below: str
    dependencies: tuple[str, ...]
    series: str
    architecture: str
    made_at: float
    size_bytes: int


@dataclass(frozen=True)
class LayerUse:
    """Layers in use: their directories, the topmost first, and the key of the topmost."""

    key: str
    directories: tuple[Path, ...]


def layers_directory(cache: Path) -> Path:
    """Where the layers lie."""
    return cache / "layers"


def root_layer_key(root: Root) -> str:
    """The key of a root's own layer: by the tarball's content, so a root made anew gets a layer anew."""
    return hashlib.sha256(json.dumps([LAYER_VERSION, root.sha256]).encode()).hexdigest()


def dependency_layer_key(below: str, dependencies: Sequence[str]) -> str:
    """The key of a layer: by the layer below and the dependency strings, in any order."""
    return hashlib.sha256(json.dumps([LAYER_VERSION, below, sorted(set(dependencies))]).encode()).hexdigest()


@contextlib.contextmanager
def use_layers(root: Root, dependencies: Sequence[str], cache: Path, log: BinaryIO) -> Iterator[LayerUse]:
    """A root with ``dependencies`` installed, made where it is not there yet, kept in use for the ``with`` block.

    Raises PackageFault, with their names, when dependencies cannot be met, and FarmTrouble when the mirror or
    the disk fails.
    """
    directory = layers_directory(cache)
    base_key = root_layer_key(root)
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(
            _in_use(directory, base_key, lambda making: _make_root_layer(root, making, log))
        )
        wanted = tuple(sorted(set(dependencies)))
        if not wanted:
            yield LayerUse(base_key, (base,))
            return
        key = dependency_layer_key(base_key, wanted)
        top = stack.enter_context(
            _in_use(directory, key, lambda making: _make_dependency_layer(root, base, wanted, making, log))
        )
        yield LayerUse(key, (top, base))


def list_layers(cache: Path) -> list[Layer]:
    """All complete layers, the one used last first."""
    found = []
    for path in layers_directory(cache).glob("*/layer.json"):
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            data = read_json(path)
            found.append((path.stat().st_mtime, Layer(**data | {"dependencies": tuple(data["dependencies"])})))
    return [layer for _, layer in sorted(found, key=lambda pair: -pair[0])]


def last_used_at(cache: Path, layer: Layer) -> float:
    """When a layer was last used, seconds since the epoch."""
    return (layers_directory(cache) / layer.key / "layer.json").stat().st_mtime


def collect_layers(cache: Path, *, max_age_s: float, max_bytes: int, now: float) -> list[Layer]:
    """Remove layers not used for ``max_age_s``, then the longest unused until ``max_bytes`` suffice.

    A layer in use stays, and so does one below another that stays. Returns what went.
    """
    for going in layers_directory(cache).glob(".going-*"):  # whoever removed it was killed
        remove_owned_tree(going)
    layers = list_layers(cache)
    kept: list[Layer] = []
    total = 0
    for layer in layers:
        total += layer.size_bytes
        if now - last_used_at(cache, layer) <= max_age_s and total <= max_bytes:
            kept.append(layer)
    needed = {layer.key for layer in kept} | {layer.below for layer in kept}
    gone = [layer for layer in layers if layer.key not in needed]
    return [layer for layer in sorted(gone, key=lambda layer: layer.below == "") if _remove(cache, layer)]


def _remove(cache: Path, layer: Layer) -> bool:
    directory = layers_directory(cache)
    with (directory / f"{layer.key}.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        going = directory / f".going-{layer.key}"
        (directory / layer.key).rename(going)
        remove_owned_tree(going)
    return True


@contextlib.contextmanager
def _in_use(directory: Path, key: str, make: Callable[[Path], Layer]) -> Iterator[Path]:
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)  # whatever our umask: the ids inside pass through
    place, lock_path = directory / key, directory / f"{key}.lock"
    while True:
        with locked(lock_path, shared=True):
            if (place / "layer.json").is_file():
                os.utime(place / "layer.json")
                yield place / "fs"
                return
        with locked(lock_path):
            if not (place / "layer.json").is_file():
                remove_owned_tree(place)
                making = open_directory(directory / ".making", key)
                try:
                    layer = make(making)
                except BaseException:
                    remove_owned_tree(making)
                    raise
                write_json(making / "layer.json", asdict(layer))
                making.chmod(0o755)
                making.rename(place)


def _make_root_layer(root: Root, making: Path, log: BinaryIO) -> Layer:
    say(log, f"unpacking the root of {root.series} for {root.architecture}")
    with root.tarball.open("rb") as tarball:
        run_as_owner(
            ["sh", "-euc", "mkdir fs; exec tar --extract --directory fs --exclude='./dev/*'"],
            making,
            timeout_s=UNPACK_TIMEOUT_S,
            input_file=tarball,
        )
    key = root_layer_key(root)
    return Layer(key, "", (), root.series, root.architecture, time.time(), root.size_bytes)


def _make_dependency_layer(
    root: Root, base: Path, dependencies: tuple[str, ...], making: Path, log: BinaryIO
) -> Layer:
    say(log, f"installing into a new layer: {', '.join(dependencies)}")
    run_as_owner(["mkdir", "fs", "work"], making, timeout_s=60)
    _apt(["update", "--error-on=any"], (base,), making, log)
    ended = _apt(["satisfy", "--no-install-recommends", "--", *dependencies], (base,), making, log)
    if ended.status != 0:
        raise _blame_apt(ended, root.series)
    _apt(["clean"], (base,), making, log)
    remove_owned_tree(making / "work")
    key = dependency_layer_key(root_layer_key(root), dependencies)
    return Layer(
        key, root_layer_key(root), dependencies, root.series, root.architecture, time.time(), _measure(making)
    )


def _apt(words: Sequence[str], below: Sequence[Path], making: Path, log: BinaryIO) -> Ended:
    orders = Orders(
        ("eatmydata", "apt-get", "-y", "-q", "-o", "Dpkg::Use-Pty=0", *words),
        process.clean_environment("/root", DEBIAN_FRONTEND="noninteractive", DEBCONF_NONINTERACTIVE_SEEN="true"),
        layers=below,
        upper=making / "fs",
        work=making / "work",
        network=True,
    )
    ended = enter(orders, timeout_s=INSTALL_TIMEOUT_S, log=log)
    if ended.failed:
        raise FarmTrouble(
            f"no layer can be made here: {ended.error}",
            resolution="Layers need overlayfs in user namespaces: Linux 5.11 or later, and a cache directory on a "
            "file system that can carry it (ext4, xfs, btrfs, tmpfs).",
        )
    if ended.status is None or (words[0] != "satisfy" and ended.status != 0):
        raise FarmTrouble(
            f"apt-get {words[0]} {how_it_ended(ended.finished) if ended.status is None else 'failed'} in a layer",
            details=_error_lines(ended.finished.text),
            resolution="Is the mirror in reach?",
        )
    return ended


def _blame_apt(ended: Ended, series: str) -> PackageFault | FarmTrouble:
    """Whose fault a failed installation is: a mirror or disk that failed is the farm's, the rest the package's."""
    text = ended.finished.text
    if FETCH_TROUBLE.search(text):
        return FarmTrouble(
            "apt could not fetch the dependencies",
            details=_error_lines(text),
            resolution="Is the mirror in reach?",
        )
    unmet = UNMET.findall(text)
    if unmet:
        return PackageFault(
            f"unmet dependencies in {series}: {'; '.join(unmet[:5])}",
            where="debian/control",
            details=_error_lines(text),
            resolution="Mend Build-Depends in debian/control, or the recipe's packages.",
        )
    return PackageFault(
        f"apt cannot install the dependencies in {series}",
        where="debian/control",
        details=_error_lines(text),
        resolution="Mend Build-Depends in debian/control, or the recipe's packages.",
    )


def _measure(making: Path) -> int:
    """The size of a layer that is ours only in part: as its owner sees it."""
    ended = enter(
        Orders(("du", "-sb", "fs"), process.clean_environment(), directory=making), timeout_s=UNPACK_TIMEOUT_S
    )
    first = ended.finished.text.split()[:1]
    return int(first[0]) if first and first[0].isdigit() else 0


def _error_lines(text: str) -> str:
    lines = [line for line in text.splitlines() if re.match(r"[EW]: |Err:| .* : |\s+Depends: ", line)]
    return "\n".join((lines or text.splitlines())[-15:])
