"""Environments: a root with exact packages installed, put together of layers that are made once.

    root        a root's tarball, unpacked (buildfarm.build.roots); made anew each week
    lists       what apt has read of the archives' indexes; keyed by the Release files; nothing is built on it
    upgraded    the root's own packages as the archives have them now, where that differs
    installed   what some dependencies resolve to, keyed by the exact packages

Dependencies are resolved by apt itself over ``lists``. What they resolve to is then downloaded by content, once,
and installed without a network and without indexes: what is in a layer is what its key says.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from buildfarm import process
from buildfarm.build.bootstrap import say
from buildfarm.build.debs import Deb, DebStore, Missing, parse_uris
from buildfarm.build.layers import Layer, layer_in_use, layers_directory, measure_layer
from buildfarm.build.manifest import QUERY, EnvironmentPackage, Manifest, debs_of, parse_query, read_manifest
from buildfarm.build.namespaces import Ended, Orders, enter, remove_owned_tree, run_as_owner
from buildfarm.build.package_lists import (
    ExtraArchive,
    PackageLists,
    UnmetDependencies,
    apt_get,
    open_lists,
    refresh_lists,
)
from buildfarm.build.roots import Root
from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.files import read_json, write_json
from buildfarm.process import how_it_ended

LAYER_VERSION = 2
INSTALL_TIMEOUT_S = 3000
QUERY_TIMEOUT_S = 120
UNPACK_TIMEOUT_S = 600
MISSING_TRIES = 2
DEBS = "buildfarm-debs"  # where the .debs to install are seen inside


@dataclass(frozen=True)
class LayerUse:
    """Layers in use: their directories, the topmost first, the key of the topmost, what all together consist of,
    and what a page should say of them."""

    key: str
    directories: tuple[Path, ...]
    manifest: Manifest
    notes: tuple[str, ...] = ()


def deb_cache(cache: Path) -> DebStore:
    """The .debs that were downloaded; what is to be kept for ever is linked from here to elsewhere."""
    return DebStore(cache / "debs")


def root_layer_key(root: Root) -> str:
    """The key of a root's own layer: by the tarball's content, so a root made anew gets a layer anew."""
    return _key(root.sha256)


def installed_layer_key(below: str, debs: Sequence[Deb], removed: Sequence[str] = ()) -> str:
    """The key of a layer: by the layer below and the exact packages that change, in any order."""
    return _key(below, sorted({deb.key for deb in debs}), sorted(set(removed)))


@contextlib.contextmanager
def use_layers(
    root: Root,
    dependencies: Sequence[str],
    cache: Path,
    log: BinaryIO,
    *,
    extra: Sequence[ExtraArchive] = (),
    today: bool = False,
    newer_than: float = 0.0,
) -> Iterator[LayerUse]:
    """A root with ``dependencies`` (Debian relationship strings) installed as the archives have them now, made
    where it is not there yet, kept in use for the ``with`` block.

    "Now" is some minutes ago at most, or any time after ``newer_than`` (epoch seconds). Without dependencies it
    is the root as it was made, or with ``today`` its packages as they are now. Raises UnmetDependencies, with
    their names, for what cannot be met, and FarmTrouble when the mirror or the disk fails.
    """
    wanted = tuple(sorted(set(dependencies)))
    for left in reversed(range(MISSING_TRIES)):
        with contextlib.ExitStack() as stack:
            base = stack.enter_context(_root_layer(root, cache, log))
            if not wanted and not today:
                yield base
                return
            try:
                # Only until it is resolved: a build may take hours, and the indexes are made anew meanwhile.
                with open_lists(
                    base.directories, base.key, root, extra, cache, log, newer_than=newer_than
                ) as lists:
                    made = _install_todays(stack, root, base, lists, wanted, cache, log)
            except Missing:
                if not left:
                    raise
                refresh_lists(base.key, extra, cache)
                continue
            yield LayerUse(made.key, made.directories, made.manifest, lists.notes)
            return


@contextlib.contextmanager
def use_exactly(
    root: Root, wanted: Manifest, store: DebStore, cache: Path, log: BinaryIO, *, near: Manifest | None = None
) -> Iterator[LayerUse]:
    """An environment of exactly the packages of ``wanted``, whose files ``store`` has, on any root of its series.

    Where its layers are still here they are used. Else it is made from the root, or from ``near``, another
    environment that it differs little from: then only what differs is installed and removed. Raises PackageFault
    when these packages cannot be installed together, FarmTrouble when one's file is nowhere or the disk fails.
    """
    with contextlib.ExitStack() as stack:
        kept = _kept_layers(stack, wanted, cache)
        if kept is not None:
            yield kept
            return
        if near is not None and near.id != wanted.id:
            base = stack.enter_context(use_exactly(root, near, store, cache, log))
        else:
            base = stack.enter_context(_root_layer(root, cache, log))
        changed, removed = _changes(base.manifest, wanted)
        made = base
        if changed or removed:
            made = _installed(stack, root, base, debs_of(changed), store, cache, log, removed)
        if made.manifest.id != wanted.id:
            raise FarmTrouble(
                "the environment cannot be put together again: " + _difference(made.manifest, wanted),
                resolution="Is the root of another kind? `buildfarm root list` shows what there is.",
            )
        yield made


def _changes(there: Manifest, wanted: Manifest) -> tuple[list[EnvironmentPackage], list[str]]:
    """What must be installed, and removed by name, to come from one environment to another."""
    here = {(one.name, one.architecture): one for one in there.packages}
    changed = [
        one
        for one in wanted.packages
        if (old := here.get((one.name, one.architecture))) is None
        or (old.version, old.sha256) != (one.version, one.sha256)
    ]
    asked = {(one.name, one.architecture) for one in wanted.packages}
    arriving = {one.name for one in changed}  # dpkg itself replaces what changes its architecture
    removed = [
        name if architecture == "all" else f"{name}:{architecture}"
        for name, architecture in sorted(here.keys() - asked)
        if name not in arriving
    ]
    return changed, removed


def _stack_file(environment: str, cache: Path) -> Path:
    return cache / "environments" / f"{environment}.json"


def _kept_layers(stack: contextlib.ExitStack, wanted: Manifest, cache: Path) -> LayerUse | None:
    """The layers that once made up an environment, where all are still here; kept in use with ``stack``."""
    with contextlib.ExitStack() as using:
        try:
            keys = [str(key) for key in read_json(_stack_file(wanted.id, cache))]
            places = [
                using.enter_context(layer_in_use(layers_directory(cache), key, _refuse_to_make)) for key in keys
            ]
            manifest = read_manifest(places[0] / "manifest.json")
        except (OSError, ValueError, IndexError, TypeError, _NoSuchLayer):
            return None
        if manifest.id != wanted.id:
            return None
        stack.push(using.pop_all())
        return LayerUse(keys[0], tuple(place / "fs" for place in places), manifest)


class _NoSuchLayer(Exception):
    """A layer that was here has gone."""


def _refuse_to_make(_making: Path) -> Layer:
    raise _NoSuchLayer


def _difference(found: Manifest, wanted: Manifest) -> str:
    here = {(one.name, one.version, one.sha256) for one in found.packages}
    there = {(one.name, one.version, one.sha256) for one in wanted.packages}
    words = [f"{name} {version} is there" for name, version, _ in sorted(here - there)[:3]]
    words += [f"{name} {version} is not" for name, version, _ in sorted(there - here)[:3]]
    return ", ".join(words)


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps([LAYER_VERSION, *parts]).encode()).hexdigest()


def _install_todays(
    stack: contextlib.ExitStack,
    root: Root,
    base: LayerUse,
    lists: PackageLists,
    wanted: tuple[str, ...],
    cache: Path,
    log: BinaryIO,
) -> LayerUse:
    store = deb_cache(cache)
    made = base
    if upgrades := lists.resolve(["dist-upgrade"], base.directories, base.key):
        made = _installed(stack, root, made, upgrades, store, cache, log)
    if wanted:
        words = ["satisfy", "--no-install-recommends", "--", *wanted]
        if debs := lists.resolve(words, made.directories, made.key):
            made = _installed(stack, root, made, debs, store, cache, log)
    return made


@contextlib.contextmanager
def _root_layer(root: Root, cache: Path, log: BinaryIO) -> Iterator[LayerUse]:
    key = root_layer_key(root)
    with layer_in_use(
        layers_directory(cache), key, lambda making: _make_root_layer(root, key, making, log)
    ) as place:
        yield LayerUse(key, (place / "fs",), read_manifest(place / "manifest.json"))


def _installed(
    stack: contextlib.ExitStack,
    root: Root,
    below: LayerUse,
    debs: Sequence[Deb],
    store: DebStore,
    cache: Path,
    log: BinaryIO,
    removed: Sequence[str] = (),
) -> LayerUse:
    key = installed_layer_key(below.key, debs, removed)

    def make(making: Path) -> Layer:
        return _make_installed_layer(root, key, below, debs, removed, store, making, log)

    place = stack.enter_context(layer_in_use(layers_directory(cache), key, make))
    made = LayerUse(key, (place / "fs", *below.directories), read_manifest(place / "manifest.json"))
    _record_stack(made, cache)
    return made


def _record_stack(made: LayerUse, cache: Path) -> None:
    file = _stack_file(made.manifest.id, cache)
    with contextlib.suppress(OSError, ValueError, TypeError):
        if all((layers_directory(cache) / key).is_dir() for key in read_json(file)):
            return
    write_json(file, [directory.parent.name for directory in made.directories])


def _make_root_layer(root: Root, key: str, making: Path, log: BinaryIO) -> Layer:
    say(log, f"unpacking the root of {root.series} for {root.architecture}")
    with _opened(root) as tarball:
        run_as_owner(
            ["sh", "-euc", "mkdir fs; exec tar --extract --directory fs --exclude='./dev/*'"],
            making,
            timeout_s=UNPACK_TIMEOUT_S,
            input_file=tarball,
        )
    layers = (making / "fs",)
    # The root still has the indexes that it was made of: they know the files of all its packages.
    told = apt_get(["install", "--reinstall", *root.packages], layers, timeout_s=QUERY_TIMEOUT_S)
    if told.status != 0:
        say(log, f"where the root's own packages came from cannot be told: {error_lines(told.finished.text)}")
    _write_manifest(root, layers, parse_uris(told.finished.text), making)
    return Layer(key, "", (), root.series, root.architecture, time.time(), root.size_bytes)


def _opened(root: Root) -> BinaryIO:
    try:
        return root.tarball.open("rb")
    except FileNotFoundError as error:
        raise FarmTrouble(
            f"the root of {root.series} was removed as it was wanted", resolution="It is tried again."
        ) from error


def _make_installed_layer(
    root: Root,
    key: str,
    below: LayerUse,
    debs: Sequence[Deb],
    removed: Sequence[str],
    store: DebStore,
    making: Path,
    log: BinaryIO,
) -> Layer:
    say(log, f"a new layer: {_in_words(debs, removed)}")
    store.fetch(debs)
    run_as_owner(["mkdir", "fs", "work"], making, timeout_s=60)
    shown = making / "shown"
    store.lay_out(debs, shown / DEBS)
    for path in (shown, shown / DEBS):
        path.chmod(0o755)
    ended = _install(debs, removed, (shown, *below.directories), making, log)
    if ended.status != 0:
        raise _blame_apt(ended, root.series)
    layers = (making / "fs", *below.directories)
    _write_manifest(root, layers, (*debs_of(below.manifest.packages), *debs), making)
    remove_owned_tree(making / "work")
    remove_owned_tree(shown)
    contents = (*(f"{deb.name}={deb.version}" for deb in debs), *(f"{name}-" for name in removed))
    return Layer(key, below.key, contents, root.series, root.architecture, time.time(), measure_layer(making))


def _in_words(debs: Sequence[Deb], removed: Sequence[str]) -> str:
    names = [f"{deb.name} {deb.version}" for deb in debs]
    told = ", ".join(names[:10]) + (f" and {len(names) - 10} more packages" if len(names) > 10 else "")
    return told + (f"; without {', '.join(removed)}" if removed else "")


def _install(
    debs: Sequence[Deb], removed: Sequence[str], below: Sequence[Path], making: Path, log: BinaryIO
) -> Ended:
    """Install files and nothing else: no index is read, so that nothing else can come along."""
    words = [
        *("eatmydata", "apt-get", "-y", "-q", "--no-install-recommends", "--allow-downgrades"),
        *("--allow-remove-essential", "--allow-change-held-packages", "--purge"),
        *("-o", "Dpkg::Use-Pty=0", "-o", "Dpkg::Options::=--force-confnew"),
        *("-o", "Dir::Etc::SourceList=/dev/null", "-o", "Dir::Etc::SourceParts=/dev/null"),
        *("-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "-o", "Acquire::Languages=none"),
        "install",
        "--",
        *(f"/{DEBS}/{deb.file_name}" for deb in debs),
        *(f"{name}-" for name in removed),
    ]
    orders = Orders(
        tuple(words),
        process.clean_environment("/root", DEBIAN_FRONTEND="noninteractive", DEBCONF_NONINTERACTIVE_SEEN="true"),
        layers=below,
        upper=making / "fs",
        work=making / "work",
    )
    ended = enter(orders, timeout_s=INSTALL_TIMEOUT_S, log=log)
    if ended.failed:
        raise FarmTrouble(
            f"no layer can be made here: {ended.error}",
            resolution="Layers need overlayfs in user namespaces: Linux 5.11 or later, and a cache directory on a "
            "file system that can carry it (ext4, xfs, btrfs, tmpfs).",
        )
    if ended.status is None:
        raise FarmTrouble(
            f"apt-get install {how_it_ended(ended.finished)} in a layer", details=error_lines(ended.finished.text)
        )
    return ended


def _write_manifest(root: Root, layers: Sequence[Path], debs: Sequence[Deb], making: Path) -> None:
    orders = Orders(QUERY, process.clean_environment(), layers=layers)
    ended = enter(orders, timeout_s=QUERY_TIMEOUT_S)
    if ended.status != 0:
        raise FarmTrouble("dpkg-query fails in a new layer", details=ended.error or ended.finished.tail())
    manifest = parse_query(ended.finished.text, root.series, root.architecture, debs)
    manifest.write(making / "manifest.json")


def _blame_apt(ended: Ended, series: str) -> PackageFault | FarmTrouble:
    """Whose fault a failed installation is: a disk that failed is the farm's, the rest the packages'."""
    text = ended.finished.text
    if "No space left on device" in text:
        return FarmTrouble(
            "the disk is full", details=error_lines(text), resolution="Free room on the farm's disk."
        )
    return UnmetDependencies(
        f"what the dependencies resolve to cannot be installed in {series}",
        where="debian/control",
        details=error_lines(text),
        resolution="One of them is at fault: the lines above name it.",
    )


def error_lines(text: str) -> str:
    """The lines of apt's and dpkg's words that name an error, the last ones."""
    lines = [line for line in text.splitlines() if re.match(r"[EW]: |Err:|dpkg: error| .* : |\s+Depends: ", line)]
    return "\n".join((lines or text.splitlines())[-15:])
