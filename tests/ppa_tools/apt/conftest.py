"""Repositories of generated packages on this disk, and a reader whose cache is the test's own."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from ppa_tools.apt.fetching import Fetcher
from ppa_tools.apt.indexes import Reader
from ppa_tools.apt.repositories import Repository
from tests.archive.conftest import architecture

ARCH = architecture()
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def package(head: str, *fields: str, sha256: str = EMPTY_SHA256) -> str:
    """A stanza of Packages from ``name version``, or ``name version source``, and whole fields."""
    name, version, *source = head.split()
    lines = [f"Package: {name}", f"Version: {version}", f"Architecture: {ARCH}"]
    lines += [f"Source: {source[0]}"] if source else []
    lines += [*fields, f"Filename: pool/{name}_{version}.deb", "Size: 1", f"SHA256: {sha256}"]
    return "\n".join(lines) + "\n"


def source(head: str, *fields: str) -> str:
    """A stanza of Sources from ``name version`` and whole fields."""
    name, version = head.split()
    dsc = f"{name}_{version}.dsc"
    lines = [f"Package: {name}", f"Version: {version}", f"Binary: {name}", "Architecture: any", "Format: 1.0"]
    lines += [*fields, f"Directory: pool/{name}", "Checksums-Sha256:", f" {EMPTY_SHA256} 0 {dsc}"]
    return "\n".join(lines) + "\n"


def write_repository(
    root: Path,
    suite: str,
    packages: Sequence[str] = (),
    sources: Sequence[str] = (),
    label: str = "",
    contents: str = "",
) -> Repository:
    """A repository below ``root`` with these stanzas; nobody has signed it."""
    main = root / "dists" / suite / "main"
    texts = {f"binary-{ARCH}/Packages.gz": packages, "source/Sources.gz": sources}
    listed = []
    if contents:
        texts[f"Contents-{ARCH}.gz"] = [contents]
    for path, stanzas in texts.items():
        data = gzip.compress("\n".join(stanzas).encode(), 1)
        (main / path).parent.mkdir(parents=True, exist_ok=True)
        (main / path).write_bytes(data)
        listed.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} main/{path}\n")
    (main.parent / "InRelease").write_text(f"Suite: {suite}\nSHA256:\n{''.join(listed)}")
    return Repository(f"file:{root}", suite, label=label or root.name)


def build_deb(root: Path, head: str, files: Sequence[str], *fields: str, preinst: str = "") -> str:
    """Make a real .deb in ``root``'s pool; its stanza of Packages."""
    name, version = head.split()
    tree = root / f"tree-{name}"
    (tree / "DEBIAN").mkdir(parents=True)
    for path in files:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(name)
    control = [f"Package: {name}", f"Version: {version}", f"Architecture: {ARCH}", *fields]
    control += ["Maintainer: Someone <someone@example.com>", "Description: a package"]
    (tree / "DEBIAN/control").write_text("\n".join(control) + "\n")
    if preinst:
        (tree / "DEBIAN/preinst").write_text(f"#!/bin/sh\n{preinst}\n")
        (tree / "DEBIAN/preinst").chmod(0o755)
    deb = root / "pool" / f"{name}_{version}.deb"
    deb.parent.mkdir(exist_ok=True)
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(deb)],
        check=True,
        capture_output=True,
    )
    return package(head, *fields, sha256=hashlib.sha256(deb.read_bytes()).hexdigest())


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(Fetcher(tmp_path / "cache"))
