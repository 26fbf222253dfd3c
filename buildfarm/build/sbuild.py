"""Building a source package with sbuild: in unshare mode, on a cached root, in an environment that holds nothing.

sbuild unpacks the root's tarball in memory where there is room, installs the build-dependencies, and builds as an
unprivileged user without a network. Its directories are named after the workspace and the target, so that the next
attempt finds and removes what an attempt that was killed left behind.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from buildfarm import process
from buildfarm.build.bootstrap import FAST_DISK, fast_disk_has_room
from buildfarm.build.namespaces import remove_owned_tree
from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.files import empty_directory, remove_tree, sha256_of
from buildfarm.process import Finished

LOG_LIMIT_BYTES = 500 << 20
FILE_LIMIT_BYTES = 20 << 30
PROCESS_LIMIT = 16384
SLOW_DISK = Path("/var/tmp")  # noqa: S108 (only directories with names of our own, made by sbuild's mkdtemp)
PREFIX = "buildfarm-sbuild-"
ARTIFACT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~:_-]*\.(?:deb|ddeb|udeb|buildinfo|changes)")


@dataclass(frozen=True)
class ExtraRepository:
    """One more source of build-dependencies: where it is, its series and component, its key (ASCII armour)."""

    uri: str
    series: str
    component: str
    key: bytes


@dataclass(frozen=True)
class BuildRequest:
    """What to build: ``dsc`` with its files beside it, on ``tarball``, into ``out``. ``scratch`` names the
    temporary directories. ``arch_all``: also what is Architecture: all."""

    dsc: Path
    series: str
    architecture: str
    arch_all: bool
    tarball: Path
    out: Path
    scratch: str
    timeout_s: int
    repositories: tuple[ExtraRepository, ...] = ()


def scratch_name(workspace: Path, target: str) -> str:
    """The name under which a build's temporary directories are found again."""
    return f"{PREFIX}{hashlib.sha256(f'{workspace}:{target}'.encode()).hexdigest()[:16]}-"


def run_sbuild(request: BuildRequest, log: BinaryIO) -> Finished:
    """Run sbuild; nothing that it started or made in temporary places is left afterwards."""
    remove_leftovers(request.scratch)
    settings = empty_directory(request.out / ".sbuild")
    configuration = settings / "sbuildrc"
    place = FAST_DISK if fast_disk_has_room() else SLOW_DISK
    configuration.write_text(_configuration(request.scratch, place, os.getuid()), encoding="utf-8")
    try:
        return process.run(
            _command(request),
            timeout_s=request.timeout_s,
            cwd=request.out,
            env=process.clean_environment(settings, SBUILD_CONFIG=str(configuration)),
            merge_errors=True,
            log=log,
            limit_bytes=LOG_LIMIT_BYTES,
            keep_bytes=process.TAIL_BYTES,
        )
    finally:
        remove_leftovers(request.scratch)
        remove_tree(settings)


def remove_leftovers(scratch: str) -> None:
    """Remove the temporary directories of an attempt that is no more."""
    for place in (FAST_DISK, SLOW_DISK):
        for path in place.glob(f"{scratch}*"):
            remove_owned_tree(path)


def check_artifacts(out: Path) -> tuple[Path, ...]:
    """The files that a build made, by its .changes, checked: plain names, regular files, the content it lists.

    Raises PackageFault when it lists anything else.
    """
    changes = [path for path in out.glob("*.changes") if _is_artifact(path)]
    if len(changes) != 1:
        raise FarmTrouble(f"sbuild left {len(changes)} .changes files, not one", where=str(out))
    listed = dict(_listed(changes[0].read_text(encoding="utf-8", errors="replace")))
    for name, sha256 in listed.items():
        path = out / name
        if path.name != name or not _is_artifact(path) or sha256_of(path) != sha256:
            raise PackageFault(f"{name!r} in the .changes file is not what the build made", where=changes[0].name)
    return tuple(sorted([changes[0], *(out / name for name in listed)]))


def _listed(text: str) -> Iterator[tuple[str, str]]:
    inside = False
    for line in text.splitlines():
        if inside and line.startswith(" "):
            words = line.split()
            if len(words) == 3:
                yield words[2], words[0]
        else:
            inside = line.lower().startswith("checksums-sha256:")


def _is_artifact(path: Path) -> bool:
    return bool(ARTIFACT.fullmatch(path.name)) and path.is_file() and not path.is_symlink()


def _configuration(scratch: str, place: Path, uid: int) -> str:
    # As root it must be told to build as another: as uid 0 some test suites fail. Anyone else's own name must
    # stay, since sbuild makes that user in the root and uses it for more than the build.
    build_user = "$build_user = 'builder';\n" if uid == 0 else ""
    return f"""\
{build_user}\
$chroot_mode = 'unshare';
$unshare_tmpdir_template = '{place}/{scratch}XXXXXXXXXX';
# With an explainer an unmet dependency is reported as a failure of another kind.
$bd_uninstallable_explainer = 'none';
$verbose = 1;
$nolog = 1;
$log_colour = 0;
$run_lintian = 0;
$run_piuparts = 0;
$run_autopkgtest = 0;
$apt_update = 1;
$apt_upgrade = 0;
$apt_distupgrade = 0;
$clean_source = 0;
# A guess at the space needed costs a second; the stage looks at the disk itself, before and in the log.
$check_space = 0;
# The whole root goes away: nothing in it need be removed piece by piece.
$purge_build_deps = 'never';
$purge_build_directory = 'never';
$environment_filter = ['^PATH$', '^LANG$', '^LC_ALL$', '^TZ$', '^DEB(IAN|_).*$', '^HOME$', '^LOGNAME$', '^USER$'];
1;
"""


def _command(request: BuildRequest) -> Sequence[str]:
    return [
        "prlimit",
        "--core=0",
        f"--fsize={FILE_LIMIT_BYTES}",
        f"--nproc={PROCESS_LIMIT}",
        "sbuild",
        "--no-source",
        f"--dist={request.series}",
        f"--arch={request.architecture}",
        "--arch-any",
        "--arch-all" if request.arch_all else "--no-arch-all",
        f"--chroot={request.tarball}",
        *(word for repository in request.repositories for word in _repository_options(repository)),
        str(request.dsc),
    ]


def _repository_options(repository: ExtraRepository) -> Sequence[str]:
    """The key goes in by a command inside the root: with ``--extra-repository-key`` sbuild 0.85 calls gpg on the
    host as $build_user, by sudo, and takes the session down when that fails. So the key also vouches for this
    repository alone."""
    name = hashlib.sha256(repository.key).hexdigest()[:16]
    path = f"/usr/share/keyrings/buildfarm-{name}.asc"
    text = base64.b64encode(repository.key).decode()
    return [
        f"--chroot-setup-commands=echo {text} | base64 -d > {path}",
        f"--extra-repository=deb [signed-by={path}] {repository.uri} {repository.series} {repository.component}",
    ]
