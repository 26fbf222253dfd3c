"""Build-dependencies as debian/control states them, and the layers that a stage runs on."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from buildfarm.build.apt_sources import parse_deb822
from buildfarm.build.bootstrap import native_architecture
from buildfarm.build.environments import use_layers
from buildfarm.build.roots import get_root, spec_for
from buildfarm.errors import PackageFault
from buildfarm.files import is_inside
from buildfarm.settings import Settings

CONTROL_LIMIT_BYTES = 1 << 20
DSC_LIMIT_BYTES = 4 << 20
BUILD_FIELDS = ("build-depends", "build-depends-indep", "build-depends-arch")
RELATION = re.compile(r"[a-z0-9][a-z0-9+.-]*(?::[a-z0-9-]+)?(?:\s*\((?:<<|<=|=|>=|>>)\s*[A-Za-z0-9.+~:-]+\))?"
                      r"(?:\s*\[[!a-z0-9\s-]+\])?(?:\s*<[!A-Za-z0-9.\s-]+>)*")  # fmt: skip


@dataclass(frozen=True)
class Environment:
    """The directories that make a root (the topmost first), what it is, and what had to be assumed."""

    layers: tuple[Path, ...]
    key: str
    series: str
    architecture: str
    assumed: tuple[str, ...] = ()


def parse_relations(text: str, where: str) -> tuple[str, ...]:
    """The relationships of a field such as Build-Depends, each on one line; raises PackageFault for another thing.

    Architecture and profile restrictions stay in: apt understands them (Debian Policy 7.1).
    """
    found = []
    for part in text.split(","):
        relation = " ".join(part.split())
        if not relation:
            continue
        for alternative in relation.split("|"):
            if not RELATION.fullmatch(alternative.strip()):
                raise PackageFault(
                    f"{relation!r} is no dependency",
                    where=where,
                    resolution="Debian's form is wanted: name (>= version) [architecture] <profile> | other.",
                )
        found.append(relation)
    return tuple(found)


def read_build_dependencies(tree: Path) -> tuple[str, ...] | None:
    """What debian/control needs to build, or None when the tree has no debian/control.

    Raises PackageFault when it is no file inside the tree or cannot be read.
    """
    control = tree / "debian" / "control"
    if not control.is_symlink() and not control.exists():
        return None
    if not is_inside(tree, control) or not control.is_file() or control.stat().st_size > CONTROL_LIMIT_BYTES:
        raise PackageFault("debian/control is no file of the tree", where="debian/control")
    text = control.read_text(encoding="utf-8", errors="replace")
    source = next(parse_deb822(text), {})
    fields = {name.lower(): value for name, value in source.items()}
    if "source" not in fields:
        raise PackageFault("debian/control does not begin with a Source: paragraph", where="debian/control:1")
    return tuple(
        relation
        for name in BUILD_FIELDS
        for relation in parse_relations(fields.get(name, ""), f"debian/control: {name.title()}")
    )


def read_relations(dsc: Path, *, arch_all: bool) -> tuple[str, ...]:
    """What a source package needs to be built, and what must not be there, as `apt-get satisfy` takes it.

    Raises PackageFault for what is no relation (Debian Policy 7.7 says which fields count for which build).
    """
    text = dsc.read_bytes()[:DSC_LIMIT_BYTES].decode("utf-8", "replace").partition("-----BEGIN PGP SIGNATURE")[0]
    fields = {name.lower(): value for part in parse_deb822(text) for name, value in part.items()}
    parts = ("", "-arch", "-indep") if arch_all else ("", "-arch")
    wanted = [
        relation
        for part in parts
        for relation in parse_relations(fields.get(f"build-depends{part}", ""), f"{dsc.name}: Build-Depends")
    ]
    unwanted = [
        f"Conflicts: {relation}"
        for part in parts
        for relation in parse_relations(fields.get(f"build-conflicts{part}", ""), f"{dsc.name}: Build-Conflicts")
    ]
    if sum(map(len, (*wanted, *unwanted))) > CONTROL_LIMIT_BYTES:  # more than apt can be told
        raise PackageFault(f"{dsc.name}: its Build-Depends are longer than {CONTROL_LIMIT_BYTES >> 20} MiB")
    return (*wanted, *unwanted)


@contextlib.contextmanager
def prepare_environment(
    settings: Settings, tree: Path, series: str, packages: Sequence[str], log: BinaryIO
) -> Iterator[Environment]:
    """A root of ``series`` with the tree's build-dependencies and ``packages``, kept for the ``with`` block.

    Raises PackageFault for dependencies that cannot be met, FarmTrouble when the mirror or the disk fails.
    """
    architecture = native_architecture()
    root = get_root(spec_for(settings, series, architecture), settings.cache, log)
    stated = read_build_dependencies(tree)
    assumed = [root.note] if root.note else []
    if stated is None:
        assumed.append("no debian/control in the tree: no build-dependencies installed")
    wanted = (*(stated or ()), *(parse_relations(", ".join(packages), "the recipe's packages")))
    with use_layers(root, wanted, settings.cache, log) as use:
        yield Environment(use.directories, use.key, series, architecture, tuple(assumed))
