"""Verifying indexes: signatures against the PPA's keys, files against Release, stanzas against the history."""

from __future__ import annotations

import gzip
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from ppa_tools import openpgp
from ppa_tools.archives import dists
from ppa_tools.archives import history as h
from ppa_tools.archives.compression import FORMS, UNREADABLE
from ppa_tools.archives.durable import CHUNK_BYTES
from ppa_tools.archives.findings import Finding, Kind, Severity
from ppa_tools.archives.indexes import Index, Listed, release_listed
from ppa_tools.archives.layout import Layout

NAMED_AT_MOST = 5


def check_series(history: h.History, layout: Layout, ppa: h.PPA, series: h.Series) -> list[Finding]:
    """What is wrong with the indexes of a series; true only while nobody publishes it.

    A series that waits to be published may differ from the history, and may lack the signature of a new key.
    """
    directory = layout.served(ppa.address, private=ppa.settings.private) / "dists" / series.name

    def tell(kind: Kind, path: Path, what: str) -> Finding:
        relative = str(path.relative_to(layout.root))
        return Finding(kind, Severity.ERROR, relative, f"{relative} {what}", True, ppa.address, series.name)

    try:
        in_release = (directory / "InRelease").read_bytes()
    except FileNotFoundError:
        if series.published_at is None:
            return []  # it was never published, and waits for it
        return [tell(Kind.SIGNATURE, directory / "InRelease", "is missing")]
    signed = _check_signed(layout, ppa, series, directory)
    found = [tell(Kind.SIGNATURE, directory / name, what) for name, what in signed]
    listed = {one.path: one for one in release_listed(in_release)}
    for one in listed.values():
        found += [tell(Kind.INDEX_DAMAGED, path, what) for path, what in _check_listed(directory, one, listed)]
    if not found:
        differing = _check_stanzas(history, ppa, directory, listed)
        found = [tell(Kind.INDEX_DIFFERS, path, what) for path, what in differing]
    return found


def _check_signed(layout: Layout, ppa: h.PPA, series: h.Series, directory: Path) -> Iterator[tuple[str, str]]:
    """InRelease and Release.gpg must hold by each of the PPA's keys, and say the same."""
    texts = {}
    for name in ("InRelease", "Release", "Release.gpg"):
        try:
            texts[name] = (directory / name).read_bytes()
        except FileNotFoundError:
            yield name, "is missing"
            return
    refused: dict[str, list[str]] = {"InRelease": [], "Release.gpg": []}
    said = b""
    home = layout.key_home(ppa.address)
    for fingerprint in ppa.key_fingerprints if home.is_dir() else ():
        try:
            keyring = openpgp.export_public(home, fingerprint, armor=False)
        except openpgp.OpenPGPError:
            continue  # a key that is gone is a finding of its own
        try:
            said = openpgp.verify_clearsigned(texts["InRelease"], keyring).payload
        except openpgp.OpenPGPError as error:
            refused["InRelease"].append(f"does not hold by {fingerprint}: {error}")
        try:
            openpgp.verify_detached(texts["Release"], texts["Release.gpg"], keyring)
        except openpgp.OpenPGPError as error:
            refused["Release.gpg"].append(f"does not hold by {fingerprint}: {error}")
    for name, reasons in refused.items():
        if reasons and not (series.is_dirty and len(reasons) < len(ppa.key_fingerprints)):
            yield name, "; ".join(reasons)
    if said and said.strip() != texts["Release"].strip():
        yield "Release", "is not what InRelease says"


def _check_listed(directory: Path, one: Listed, listed: Mapping[str, Listed]) -> Iterator[tuple[Path, str]]:
    """A file that Release vouches for, by its name and by its hash; a plain one is within the compressed."""
    form = PurePosixPath(one.path).suffix.removeprefix(".")
    if not dists.lies_on_disk(one):
        return
    for path in (directory / one.path, directory / one.by_hash_path):
        try:
            with path.open("rb") as file:
                is_sound = _sum(file) == (one.size_bytes, one.sha256)
        except FileNotFoundError:
            yield path, "is missing"
            continue
        if not is_sound:
            yield path, "is not what Release vouches for"
            continue
        plain = listed.get(one.path.removesuffix(f".{form}"))
        if plain is not None and path == directory / one.path:
            try:
                with FORMS[form].open(path) as file:
                    is_sound = _sum(file) == (plain.size_bytes, plain.sha256)
            except UNREADABLE as error:
                yield path, f"cannot be unpacked: {error}"
                continue
            if not is_sound:
                yield path, f"does not hold the {plain.path} that Release vouches for"


def _check_stanzas(
    history: h.History, ppa: h.PPA, directory: Path, listed: Mapping[str, Listed]
) -> Iterator[tuple[Path, str]]:
    """Each index must be, to the byte, what the history makes of it."""
    with history.read() as conn:
        series = h.find_series(conn, ppa, directory.name)
        if series is None or series.is_dirty:
            return
        for index in (*map(Index, series.architectures), Index(None)):
            digest, size_bytes = hashlib.sha256(), 0
            for _, stanza in h.stanzas_between(conn, series.id, index.architecture):
                text = f"{stanza}\n".encode()
                digest.update(text)
                size_bytes += len(text)
            one = listed.get(index.path)
            if one is None:
                yield directory / index.path, "is not named by Release"
            elif (one.size_bytes, one.sha256) != (size_bytes, digest.hexdigest()):
                wanted = h.stanzas_between(conn, series.id, index.architecture)
                yield directory / f"{index.path}.gz", _difference(directory / f"{index.path}.gz", wanted)


def _difference(path: Path, wanted: Iterator[tuple[str, str]]) -> str:
    """How an index differs from the stanzas that it should have, in words."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        there = Counter(text for text in file.read().split("\n\n") if text)
    names = {stanza.strip("\n"): name for name, stanza in wanted}
    lacking = [names[text] for text in names if text not in there]
    surplus = [_package(text) for text in there if text not in names]
    words = [f"{verb} {_some(which)}" for verb, which in (("lacks", lacking), ("has too", surplus)) if which]
    return "differs from the history: it " + (" and ".join(words) or "has the same in another order")


def _package(stanza: str) -> str:
    return stanza.partition("\n")[0].partition(":")[2].strip()


def _some(names: list[str]) -> str:
    more = len(names) - NAMED_AT_MOST
    return ", ".join(sorted(names)[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _sum(file: IO[bytes]) -> tuple[int, str]:
    digest, size_bytes = hashlib.sha256(), 0
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        size_bytes += len(chunk)
    return size_bytes, digest.hexdigest()
