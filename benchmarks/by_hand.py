"""The way from a commit to a package as a plain script would go it: the same tools, and nothing around them.

No verdicts, records, retries, limits or checks; one child after another, in a process that is already warm. What
the farm adds to these times is the price of being a farm.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from buildfarm.build import sbuild
from buildfarm.build.coverage import PACKAGES as COVERAGE_PACKAGES
from buildfarm.build.dependencies import prepare_environment
from buildfarm.build.layers import layers_directory
from buildfarm.build.lintian import run_lintian
from buildfarm.build.ppa_source import find_ppa
from buildfarm.build.pylint import PACKAGES as PYLINT_PACKAGES
from buildfarm.build.roots import get_root, spec_for
from buildfarm.history.store import Run
from buildfarm.keys import public_key
from buildfarm.settings import Settings
from ppa_tools.address import parse_address
from ppa_tools.archives.local import LocalArchive

# The walls that the farm's sandbox has, by util-linux: user, mount, pid, ipc, uts and network namespaces, a
# read-only overlay of the same layers, a tmpfs for the tree, an unprivileged user. $1: the layers, relative to the
# working directory: the way there may be closed to the ids inside.
SANDBOX = """
set -eu
mount -t overlay -o "ro,lowerdir=$1" overlay /mnt
shift
mount -t tmpfs -o mode=755 tmpfs /mnt/dev
touch /mnt/dev/null /mnt/dev/urandom
mount --bind /dev/null /mnt/dev/null
mount --bind /dev/urandom /mnt/dev/urandom
mount -t proc proc /mnt/proc
mount -t tmpfs -o mode=755 tmpfs /mnt/build
mkdir /mnt/build/tree /mnt/build/home
tar --extract --no-same-owner --directory /mnt/build/tree
chown -R 1000:1000 /mnt/build
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/build/home LANG=C.UTF-8 \
    chroot --userspec=1000:1000 /mnt sh -c 'cd /build/tree && exec "$@"' sh "$@"
"""
UNSHARE = (
    *("unshare", "--user", "--map-auto", "--setuid=0", "--setgid=0"),
    *("--mount", "--pid", "--fork", "--ipc", "--uts", "--net"),
)


@dataclass
class Clock:
    """Adds up what each step takes."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count the ``with`` block for a step."""
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


@dataclass(frozen=True)
class Workshop:
    """What the script finds ready: a copy of the upload key whose agent stays, an archive, the layers."""

    settings: Settings
    keys: Path
    archive: LocalArchive
    lint_layers: str
    test_layers: str


@contextlib.contextmanager
def open_workshop(settings: Settings, run: Run) -> Iterator[Workshop]:
    """Make ready what the farm has ready, too; ``run`` is an earlier run of the recipe."""
    job, address = run.job, parse_address(run.job.archive)
    assert job.lint is not None
    assert job.unittest is not None
    tree, quiet = settings.runs / run.run_id / "tree", io.BytesIO()
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="by-hand-")))
        keys = place / "keys"
        keys.mkdir(mode=0o700)
        for name in ("private-keys-v1.d", "pubring.kbx", "trustdb.gpg"):
            source = settings.keys / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, keys / name)
        archive = LocalArchive(place / "archive", url=settings.archive_url)
        architectures = job.architectures
        archive.ensure_ppa(
            address, series=job.series, architectures=architectures, uploaders=[public_key(settings)]
        )
        layers = []
        for packages in (
            (*PYLINT_PACKAGES, *job.lint.packages),
            (*job.unittest.packages, *(COVERAGE_PACKAGES if job.unittest.coverage else ())),
        ):
            environment = prepare_environment(settings, tree, job.series[0], packages, quiet)
            paths = stack.enter_context(environment).layers
            layers.append(":".join(str(path.relative_to(layers_directory(settings.cache))) for path in paths))
        try:
            yield Workshop(settings, keys, archive, *layers)
        finally:
            archive.stop_agents()
            archive.close()
            subprocess.run(["gpgconf", "--homedir", keys, "--kill", "gpg-agent"], check=False)


def package_by_hand(shop: Workshop, run: Run, vcs: str, twin: Path, revision: str) -> dict[str, float]:
    """Take a twin's commit to published binaries; seconds of each step, named as the farm's stages.

    Versions and names are those that the farm chose for the same commit. ``dpkg-genchanges`` is apart: the
    farm writes .buildinfo and .changes itself, so of that step only the checksums count.
    """
    clock = Clock()
    job = run.job
    series, architecture = job.series[0], job.architectures[0]
    version = _versions(shop.settings, run)[series]
    with tempfile.TemporaryDirectory(prefix="by-hand-") as name:
        work = Path(name)
        tree = work / "tree"
        with clock.step("checkout"):
            _export(vcs, twin, revision, tree)
        with clock.step("lint"):
            assert job.lint is not None
            pylint = ("python3", "-m", "pylint", "--persistent=no", "--reports=no", "--fail-under=9")
            _in_sandbox(shop, shop.lint_layers, tree, [*pylint, "--", *job.lint.targets])
        with clock.step("unittest"):
            _in_sandbox(shop, shop.test_layers, tree, ["sh", "-c", _test_command(run)])
        with clock.step("tarball"):
            if "-" in version:
                _pack(run, tree, work, version)
        out = work / "out"
        out.mkdir()
        _make_source(clock, shop, run, tree, out, version)
        changes = next(out.glob("*_source.changes"))
        address = parse_address(job.archive)
        with clock.step("upload"):
            shop.archive.accept_source(address, series, out, changes.name)
            shop.archive.publish(address)
        binaries = work / "binaries"
        binaries.mkdir()
        with clock.step("build"):
            _build(shop, run, next(out.glob("*.dsc")), binaries)
        with clock.step("publish"):
            changes = next(binaries.glob("*.changes"))
            shop.archive.accept_binaries(address, series, architecture, binaries, changes.name, "by-hand")
            shop.archive.publish(address)
    return clock.seconds


def _versions(settings: Settings, run: Run) -> dict[str, str]:
    from buildfarm.source import read_version
    from buildfarm.workspace import Workspace

    return dict(read_version(Workspace(settings.runs / run.run_id)).versions)


def _export(vcs: str, twin: Path, revision: str, tree: Path) -> None:
    if vcs == "git":
        tree.mkdir()
        _pipe(["git", "-C", str(twin), "archive", revision], ["tar", "--extract", "--directory", str(tree)])
    else:
        brz = str(Path(sys.executable).parent / "brz")
        _call(brz, "export", "--quiet", f"--revision=revid:{revision}", str(tree), str(twin))


def _in_sandbox(shop: Workshop, layers: str, tree: Path, command: Sequence[str]) -> None:
    _pipe(
        ["tar", "--create", "--directory", str(tree), "."],
        [*UNSHARE, "sh", "-c", SANDBOX, "sh", layers, *command],
        cwd=layers_directory(shop.settings.cache),
    )


def _test_command(run: Run) -> str:
    """The recipe's ``python3 -m unittest ...`` under coverage, with its floor."""
    job = run.job.unittest
    assert job is not None
    assert job.coverage is not None
    words = " ".join(job.command[1:])
    sources = ",".join(job.coverage.sources)
    return (
        f"python3 -m coverage run --data-file=../home/data --source={sources} {words} && "
        f"python3 -m coverage xml --quiet --data-file=../home/data --fail-under={job.coverage.floor:g} "
        "-o ../home/coverage.xml"
    )


def _pack(run: Run, tree: Path, work: Path, version: str) -> None:
    """The upstream tarball, with the farm's level of compression."""
    upstream = version.rpartition("-")[0]
    tar = (
        f"tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime=@{run.committed_at:.0f} "
        f"--exclude=./debian --transform=s,^.,{run.recipe}-{upstream}, --directory={tree} ."
    )
    with (work / f"{run.recipe}_{upstream}.orig.tar.xz").open("wb") as file:
        _pipe(tar.split(), ["xz", "-1", "--threads=1"], stdout=file.fileno())


def _make_source(clock: Clock, shop: Workshop, run: Run, tree: Path, out: Path, version: str) -> None:
    work, when = tree.parent, datetime.fromtimestamp(run.committed_at, UTC)
    environment = os.environ | {"SOURCE_DATE_EPOCH": f"{run.committed_at:.0f}"}
    with clock.step("source"):
        changelog = tree / "debian" / "changelog"
        entry = (
            f"{run.recipe} ({version}) {run.job.series[0]}; urgency=medium\n\n  * {run.summary}\n\n"
            f" -- {run.author}  {format_datetime(when)}\n\n"
        )
        changelog.write_text(entry + changelog.read_text(encoding="utf-8"), encoding="utf-8")
        _call("dpkg-source", "--build", tree.name, cwd=work, env=environment)
        files = sorted(path.name for path in work.iterdir() if path.is_file())
        for tool in ("md5sum", "sha1sum", "sha256sum"):
            _call(tool, *files, cwd=work)
    dsc = next(work.glob("*.dsc"))
    with clock.step("sign"):
        _sign(shop, dsc)
    with clock.step("dpkg-genchanges"):
        _call("dpkg-genbuildinfo", "--build=source", cwd=tree, env=environment)
    buildinfo = next(work.glob("*.buildinfo"))
    with clock.step("sign"):
        _sign(shop, buildinfo)
    changes = buildinfo.with_suffix(".changes")
    with clock.step("dpkg-genchanges"):
        _call("dpkg-genchanges", "--build=source", "-sa", f"-O{changes}", cwd=tree, env=environment)
    with clock.step("sign"):
        _sign(shop, changes)
    for path in work.iterdir():
        if path.is_file():
            path.rename(out / path.name)


def _sign(shop: Workshop, path: Path) -> None:
    signed = path.with_name(path.name + ".asc")
    _call(
        "gpg", "--homedir", str(shop.keys), "--batch", "--quiet", "--clear-sign", f"--output={signed}", str(path)
    )
    signed.rename(path)


def _build(shop: Workshop, run: Run, dsc: Path, out: Path) -> None:
    """sbuild and lintian with the options that the farm gives them: its own calls, without its stage."""
    job, settings = run.job, shop.settings
    series, architecture = job.series[0], job.architectures[0]
    cache, log = settings.cache.resolve(), io.BytesIO()
    root = get_root(spec_for(settings, series, architecture), cache, log)
    ppa = find_ppa(parse_address(job.archive), series, settings.archive_url)
    request = sbuild.BuildRequest(
        dsc=dsc,
        series=series,
        architecture=architecture,
        arch_all=True,
        tarball=root.tarball,
        out=out,
        scratch=sbuild.scratch_name(out, "by-hand"),
        timeout_s=job.build.timeout_s,
        repositories=() if isinstance(ppa, str) else (ppa,),
    )
    if not sbuild.run_sbuild(request, log).ok:
        raise RuntimeError(f"sbuild failed:\n{log.getvalue()[-4000:].decode()}")
    report = out.with_name("lintian.txt")
    run_lintian(root, sbuild.check_artifacts(out), cache, report, log)


def _call(*argv: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}")


def _pipe(
    first: Sequence[str], second: Sequence[str], *, stdout: int = subprocess.PIPE, cwd: Path | None = None
) -> None:
    with subprocess.Popen(first, stdout=subprocess.PIPE) as source:
        done = subprocess.run(
            second, cwd=cwd, stdin=source.stdout, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
        )
        assert source.stdout is not None
        source.stdout.close()
    if done.returncode != 0 or source.returncode != 0:
        raise RuntimeError(f"{first} | {second}: {done.returncode}\n{done.stdout or ''}{done.stderr}")
