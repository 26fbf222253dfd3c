"""Root file systems: one tarball for each series, architecture and package list, made by mmdebstrap and kept.

A tarball is made beside its place and renamed into it, under a lock: of two that want it one makes it and the
other waits. ``KEY.json`` beside ``KEY.tar`` says when it was made and of what; a root older than a week is made
again, and kept in use when that fails.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

from buildfarm.build.apt_sources import AptSources, find_sources, read_host
from buildfarm.build.bootstrap import (
    Bootstrap,
    bootstrap,
    locked,
    native_architecture,
    own_directory,
    say,
    scratch_directory,
)
from buildfarm.errors import FarmError, FarmTrouble
from buildfarm.files import read_json, sha256_of, write_json
from buildfarm.settings import Settings

DAY_S = 86400
MAX_AGE_S = 7 * DAY_S
RECIPE_VERSION = 1
BASE_PACKAGES = ("debhelper", "eatmydata", "fakeroot")
BUILDER_UID = 1000
HOST_NAME = "buildfarm"  # as buildfarm.build.inside calls the machine

# man-db's index is of no use in a build and costs seconds; nothing may start a service; test suites connect to
# "localhost" and to the host's own name; "builder" is who builds, and sbuild looks for a user and a group of its
# own name.
_CUSTOMIZE = (
    f'printf "127.0.0.1\\tlocalhost {HOST_NAME}\\n::1\\tlocalhost ip6-localhost\\n" > "$1/etc/hosts"',
    'rm -f "$1/var/lib/man-db/auto-update"',
    'printf "#!/bin/sh\\nexit 101\\n" > "$1/usr/sbin/policy-rc.d" && chmod 755 "$1/usr/sbin/policy-rc.d"',
    'chroot "$1" groupadd --system sbuild',
    'chroot "$1" useradd --system --gid sbuild --home-dir /var/lib/sbuild --shell /bin/bash sbuild',
    f'chroot "$1" useradd --uid {BUILDER_UID} --user-group --groups sbuild --home-dir /build/home builder',
    'mkdir -p "$1/build"',
)


@dataclass(frozen=True)
class RootSpec:
    """What a root is made of. ``packages`` come on top of the buildd variant and ``BASE_PACKAGES``."""

    series: str
    architecture: str
    sources: AptSources
    packages: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name of this root in the cache: hex SHA-256 over all that decides its content."""
        content = [
            RECIPE_VERSION,
            self.series,
            self.architecture,
            sorted({*BASE_PACKAGES, *self.packages}),
            self.sources.text,
            self.sources.settings,
            _CUSTOMIZE,
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@dataclass(frozen=True)
class Root:
    """A root in the cache. ``sha256`` is the tarball's; ``made_at`` seconds since the epoch, UTC;
    ``packages`` are "name=version". ``note`` tells what is not as wished, for the stage's ``assumed``."""

    key: str
    series: str
    architecture: str
    made_at: float
    sha256: str
    size_bytes: int
    packages: tuple[str, ...]
    tarball: Path
    note: str = ""


def require_native(architecture: str) -> None:
    """Raise FarmTrouble when roots of ``architecture`` cannot run on this machine."""
    native = native_architecture()
    if architecture not in (native, "i386" if native == "amd64" else native):
        raise FarmTrouble(
            f"this machine is {native} and cannot build for {architecture}",
            resolution=f"Give the farm a worker of architecture {architecture}, or leave it out of the recipe's "
            "architectures. (Foreign code through qemu-user is not set up: what it builds is not trusted.)",
        )


def spec_for(settings: Settings, series: str, architecture: str, packages: Sequence[str] = ()) -> RootSpec:
    """The root that the farm uses for a series and architecture; raises UsageError for an unknown series."""
    sources = find_sources(series, architecture, settings.series.get(series), read_host())
    return RootSpec(series, architecture, sources, tuple(sorted(packages)))


def roots_directory(cache: Path) -> Path:
    """Where the tarballs lie."""
    return cache / "roots"


def get_root(spec: RootSpec, cache: Path, log: BinaryIO, *, max_age_s: float = MAX_AGE_S) -> Root:
    """The root for ``spec``, from the cache while it is young enough, else made now.

    Raises FarmTrouble when it cannot be made and there is no older one to use.
    """
    directory = roots_directory(cache)
    if (kept := _fresh(directory, spec.key, max_age_s)) is not None:
        return kept
    with locked(directory / f"{spec.key}.lock"):
        if (kept := _fresh(directory, spec.key, max_age_s)) is not None:
            return kept
        old = read_root(directory, spec.key)
        try:
            return make_root(spec, directory, log)
        except FarmError as error:
            if old is None:
                raise
            days = (time.time() - old.made_at) / DAY_S
            return replace(old, note=f"the root is {days:.0f} days old: making it again failed ({error.brief})")


def make_root(spec: RootSpec, directory: Path, log: BinaryIO) -> Root:
    """Make the root now and put it in the cache; raises FarmTrouble with mmdebstrap's last lines.

    The caller holds the root's lock: the places it is made in have its name, and what a maker that was killed
    left there is removed first.
    """
    require_native(spec.architecture)
    with contextlib.ExitStack() as stack:
        making = stack.enter_context(own_directory(directory / f".making-{spec.key}"))
        scratch = stack.enter_context(scratch_directory(making))
        tarball = making / "root.tar"
        say(log, f"making a root of {spec.series} for {spec.architecture} (about half a minute)")
        started = time.monotonic()
        order = Bootstrap(
            spec.series,
            spec.architecture,
            "buildd",
            spec.sources,
            tuple(sorted({*BASE_PACKAGES, *spec.packages})),
            _CUSTOMIZE,
            again=f"buildfarm root make --series {spec.series}",
        )
        packages = bootstrap(order, tarball, scratch, log)
        root = Root(
            spec.key,
            spec.series,
            spec.architecture,
            time.time(),
            sha256_of(tarball),
            tarball.stat().st_size,
            packages,
            directory / f"{spec.key}.tar",
        )
        tarball.replace(root.tarball)
        write_json(directory / f"{spec.key}.json", asdict(root) | {"tarball": root.tarball.name})
        say(log, f"made in {time.monotonic() - started:.0f} s: {root.size_bytes / 1e6:.0f} MB")
        return root


def read_root(directory: Path, key: str) -> Root | None:
    """What the cache has under ``key``, whatever its age."""
    try:
        data = read_json(directory / f"{key}.json")
        root = Root(**data | {"tarball": directory / data["tarball"], "packages": tuple(data["packages"])})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return root if root.tarball.is_file() else None


def list_roots(cache: Path) -> list[Root]:
    """All roots in the cache, the youngest first."""
    directory = roots_directory(cache)
    found = (read_root(directory, path.stem) for path in directory.glob("*.json"))
    return sorted((root for root in found if root is not None), key=lambda root: -root.made_at)


def collect_roots(cache: Path, *, max_age_s: float, now: float) -> list[Root]:
    """Remove roots made more than ``max_age_s`` ago that nobody is making just now; returns what went."""
    gone = []
    for root in list_roots(cache):
        if now - root.made_at > max_age_s:
            with locked(roots_directory(cache) / f"{root.key}.lock"):
                root.tarball.unlink(missing_ok=True)
                root.tarball.with_suffix(".json").unlink(missing_ok=True)
            gone.append(root)
    return gone


def _fresh(directory: Path, key: str, max_age_s: float) -> Root | None:
    root = read_root(directory, key)
    return root if root is not None and time.time() - root.made_at < max_age_s else None
