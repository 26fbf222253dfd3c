"""What apt has read of the archives' indexes, kept as a layer of its own, and what dependencies resolve to in it.

cache/lists/NAME.json    which layer has the indexes of a root's archives, and when they were last asked for
cache/resolved/KEY.json  what some words of apt-get resolved to over exact indexes and an exact environment
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from buildfarm import process
from buildfarm.build.bootstrap import locked, open_directory, say
from buildfarm.build.debs import Deb, parse_uris
from buildfarm.build.layers import (
    Layer,
    finish_layer,
    is_complete,
    layer_in_use,
    layers_directory,
    measure_layer,
)
from buildfarm.build.namespaces import Ended, Orders, enter, remove_owned_tree, run_as_owner
from buildfarm.build.roots import DAY_S, Root
from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.files import read_json, write_json
from buildfarm.process import how_it_ended

LISTS_VERSION = 1
MAX_AGE_S = 600.0  # so long nobody asks the archives again
STALE_AFTER_S = 7 * DAY_S  # older than that, indexes are no use when the archives are out of reach
UPDATE_TIMEOUT_S = 900
RESOLVE_TIMEOUT_S = 300
UNMET = re.compile(r"^\s*(?:\S+ : )?(?:Pre)?-?Depends: (.+)$", re.MULTILINE)
NO_SOLUTION = re.compile(
    r"^E: (?:Unable to (?:correct problems|satisfy|locate package)|Package '.*' has no installation candidate)",
    re.MULTILINE,
)
APT = (
    *("apt-get", "-y", "-q", "-o", "Acquire::Languages=none", "-o", "Acquire::ForceHash=sha256"),
    *("-o", "APT::Get::Assume-Yes=true", "-o", "Acquire::http::Timeout=20", "-o", "Acquire::Retries=1"),
)
DIGEST = "cd /var/lib/apt/lists && exec sha256sum *Release"


@dataclass(frozen=True)
class ExtraArchive:
    """An archive besides the series' own: deb822 ``.sources`` text without Signed-By, and its keys, in armour."""

    sources: str
    key: str

    @property
    def name(self) -> str:
        """What its files are called inside."""
        return "buildfarm-" + hashlib.sha256(f"{self.sources}\n{self.key}".encode()).hexdigest()[:16]

    @property
    def signed_sources(self) -> str:
        """Its text with the keys' place in every stanza."""
        stanzas = [one.strip() for one in re.split(r"\n[ \t]*\n", self.sources) if one.strip()]
        return "\n\n".join(f"{one}\nSigned-By: /usr/share/keyrings/{self.name}.asc" for one in stanzas) + "\n"


class UnmetDependencies(PackageFault):
    """Dependencies that the archives cannot meet as they stand: later they may."""


@dataclass(frozen=True)
class PackageLists:
    """Indexes in use. ``notes`` say what is not as wished."""

    key: str
    directory: Path
    series: str
    resolved: Path
    notes: tuple[str, ...] = ()

    def resolve(self, words: Sequence[str], layers: Sequence[Path], key: str) -> tuple[Deb, ...]:
        """What ``apt-get WORDS`` would install in the environment of these layers, whose key is ``key``.

        Raises UnmetDependencies, or FarmTrouble when apt cannot be asked.
        """
        name = hashlib.sha256(json.dumps([LISTS_VERSION, self.key, key, list(words)]).encode()).hexdigest()
        kept = self.resolved / f"{name}.json"
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
            return tuple(Deb(**one) for one in read_json(kept))
        ended = apt_get(words, (self.directory / "fs", *layers), timeout_s=RESOLVE_TIMEOUT_S)
        if ended.status != 0:
            raise _blame(ended, self.series)
        debs = parse_uris(ended.finished.text)
        write_json(kept, [asdict(deb) for deb in debs])
        return debs


def apt_get(words: Sequence[str], layers: Sequence[Path], *, timeout_s: float) -> Ended:
    """Ask apt-get what it would do, and where the files lie: nothing is changed and nothing fetched."""
    argv = (*APT, "--print-uris", *words)
    orders = Orders(argv, process.clean_environment("/root"), layers=layers)
    ended = enter(orders, timeout_s=timeout_s)
    if ended.status is None:
        raise FarmTrouble(
            f"apt-get {words[0]} {how_it_ended(ended.finished)}",
            details=ended.error or ended.finished.tail(),
            resolution="Layers need overlayfs in user namespaces: Linux 5.11 or later, and a cache directory on a "
            "file system that can carry it (ext4, xfs, btrfs, tmpfs).",
        )
    return ended


@contextlib.contextmanager
def open_lists(
    base: Sequence[Path],
    base_key: str,
    root: Root,
    extra: Sequence[ExtraArchive],
    cache: Path,
    log: BinaryIO,
    *,
    newer_than: float = 0.0,
) -> Iterator[PackageLists]:
    """The indexes of a root's archives and of ``extra``, as they stood after ``newer_than`` (epoch seconds; 0:
    some minutes ago).

    When the archives are out of reach older ones do, and a note says so; raises FarmTrouble where there are
    none, or where they must be ``newer_than``.
    """
    state = _state_file(base_key, extra, cache)
    directory = layers_directory(cache)
    notes: tuple[str, ...] = ()
    with contextlib.ExitStack() as in_use:
        with locked(state.with_suffix(".lock")):
            known = _read_state(state, directory)
            began = time.time()
            if known is None or known["checked_at"] < (newer_than or began - MAX_AGE_S):
                try:
                    key = _update(base, base_key, root, extra, known["key"] if known else "", directory, log)
                    write_json(state, {"key": key, "checked_at": began})
                    known = {"key": key}
                except FarmTrouble as trouble:
                    if newer_than or known is None or time.time() - known["checked_at"] > STALE_AFTER_S:
                        raise
                    hours = (time.time() - known["checked_at"]) / 3600
                    notes = (f"the archives' indexes are {hours:.0f} hours old: {trouble.brief}",)
            key = known["key"]
            # Before the lock goes, so that nobody collects it.
            place = in_use.enter_context(layer_in_use(directory, key, _refuse_to_make))
        yield PackageLists(key, place, root.series, cache / "resolved", notes)


def refresh_lists(base_key: str, extra: Sequence[ExtraArchive], cache: Path) -> None:
    """Have the archives asked again at the next use."""
    state = _state_file(base_key, extra, cache)
    with locked(state.with_suffix(".lock")), contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        write_json(state, read_json(state) | {"checked_at": 0.0})


def _refuse_to_make(_making: Path) -> Layer:
    raise FarmTrouble("the archives' indexes were removed as they were wanted", resolution="It is tried again.")


def _state_file(base_key: str, extra: Sequence[ExtraArchive], cache: Path) -> Path:
    name = hashlib.sha256(json.dumps([base_key, sorted(one.name for one in extra)]).encode()).hexdigest()
    return cache / "lists" / f"{name}.json"


def _read_state(state: Path, directory: Path) -> dict[str, Any] | None:
    try:
        data: dict[str, Any] = read_json(state)
        return data if is_complete(directory / data["key"]) and data["checked_at"] >= 0 else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _update(
    base: Sequence[Path],
    base_key: str,
    root: Root,
    extra: Sequence[ExtraArchive],
    old: str,
    directory: Path,
    log: BinaryIO,
) -> str:
    """Ask the archives, and return the key of the layer that has what they say now."""
    directory.mkdir(parents=True, exist_ok=True)
    making = open_directory(directory / ".making", "lists-" + _state_file(base_key, extra, directory).stem)
    try:
        run_as_owner(["mkdir", "fs", "work"], making, timeout_s=60)
        if old:  # only what changed is fetched then
            source = f"../../{old}/fs/."  # by no way through our own home
            run_as_owner(["cp", "-a", "--reflink=auto", source, "fs"], making, timeout_s=UPDATE_TIMEOUT_S)
        for one in extra:
            _write_inside(base, making, f"/usr/share/keyrings/{one.name}.asc", one.key)
            _write_inside(base, making, f"/etc/apt/sources.list.d/{one.name}.sources", one.signed_sources)
        ended = _run(base, making, [*APT, "update", "--error-on=any"], log)
        if ended.status != 0:
            raise FarmTrouble(
                f"apt-get update {how_it_ended(ended.finished) if ended.status is None else 'failed'}",
                details="\n".join(re.findall(r"^(?:[EW]: |Err:).*$", ended.finished.text, re.MULTILINE)[-10:])
                or ended.error,
                resolution="Is the mirror in reach, and signed with a key that the root has?",
            )
        told = _run(base, making, ["sh", "-c", DIGEST], None).finished.text
        names = sorted(one.name for one in extra)
        key = hashlib.sha256(json.dumps([LISTS_VERSION, base_key, names, told]).encode()).hexdigest()
        remove_owned_tree(making / "work")
        if is_complete(directory / key):  # in use, perhaps for hours: nobody waits for that
            return key
        with locked(directory / f"{key}.lock"):
            if not is_complete(directory / key):
                say(log, f"the archives of {root.series} have changed: new indexes")
                remove_owned_tree(directory / key)
                layer = Layer(
                    *(key, base_key, ("indexes of the archives",), root.series, root.architecture, time.time()),
                    measure_layer(making),
                )
                finish_layer(making, directory / key, layer)
        return key
    finally:
        remove_owned_tree(making)


def _run(base: Sequence[Path], making: Path, argv: Sequence[str], log: BinaryIO | None) -> Ended:
    orders = Orders(
        tuple(argv),
        process.clean_environment("/root"),
        layers=base,
        upper=making / "fs",
        work=making / "work",
        network=True,
    )
    return enter(orders, timeout_s=UPDATE_TIMEOUT_S, log=log)


def _write_inside(base: Sequence[Path], making: Path, path: str, text: str) -> None:
    ended = _run(base, making, ["sh", "-c", 'printf %s "$1" > "$2"', "sh", text, path], None)
    if ended.status != 0:
        raise FarmTrouble(f"{path} cannot be written in a layer", details=ended.error or ended.finished.tail())


def _blame(ended: Ended, series: str) -> PackageFault | FarmTrouble:
    text = ended.finished.text
    lines = "\n".join(
        [line for line in text.splitlines() if re.match(r"[EW]: | .* : |\s+Depends: ", line)][-20:]
        or text.splitlines()[-15:]
    )
    unmet = UNMET.findall(text)
    if unmet or NO_SOLUTION.search(text):
        return UnmetDependencies(
            f"unmet dependencies in {series}: {'; '.join(unmet[:5]) or 'apt finds no solution'}",
            where="debian/control",
            details=lines,
            resolution="Mend Build-Depends in debian/control, or the recipe's packages, or wait for them.",
        )
    return FarmTrouble("apt cannot resolve the dependencies", details=lines, resolution="It is tried again.")
