"""Nightly rebuilds beside plain sbuild in a loop: the same packages, the same root, the same machine, in turn.

    .venv/bin/python benchmarks/rebuild.py [--quick] [--json FILE] [--only small|large|wide] [--packages NAME ...]

Three things are measured, ours cold (no layer, no package downloaded) and warm (a second night), sbuild as it is:

    small   twenty small packages with their test suites: packages an hour, and the time beside their own builds
    large   packages whose own build dominates
    wide    a trivial package with 50 build-dependencies: from start to verdict

Ours is a whole night, `buildfarm rebuild` on this machine, one package after another; small packages also with
`--jobs`, as many at once as there are processors. Sources are read from the signed index and fetched, each build
a process of its own, log read, environment kept, verdict on record. sbuild's loop is given the .dsc files and
the same root as a tarball, which it unpacks in memory, with all extras (lintian, space check, cleaning) off.
Roots, indexes' first reading and sources are had before the clock starts. docs/explanation/performance.md has
the figures.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures import Figure, draw_table, write_figures

from buildfarm.build.apt_sources import read_host
from buildfarm.build.bootstrap import native_architecture
from buildfarm.build.logs import read_build_log
from buildfarm.build.namespaces import remove_owned_tree
from buildfarm.build.roots import Root, get_root, spec_for
from buildfarm.build.sbuild import BuildRequest, run_sbuild
from buildfarm.regress.fetching import fetch_source
from buildfarm.regress.local import HERE, Telling, alone_here, run_night
from buildfarm.regress.model import RebuildJob, SourceFile
from buildfarm.regress.nights import open_nights
from buildfarm.regress.places import places_of
from buildfarm.regress.records import NightRules
from buildfarm.regress.sets import ad_hoc_set
from buildfarm.regress.source_index import source_cache
from buildfarm.regress.sources import select
from buildfarm.settings import Settings

SMALL = (
    *("binclock", "cowsay", "datefudge", "ed", "figlet", "hello", "libexporter-tiny-perl", "libpath-tiny-perl"),
    *("libtest-deep-perl", "libtext-csv-perl", "libtry-tiny-perl", "libyaml-tiny-perl", "logtool", "nullidentd"),
    *("rdate", "sl", "tinycdb", "tree", "wipe", "xxhash"),
)
LARGE = ("sed", "chrony", "lmdb")
WIDE_DEPENDS = (
    *("zlib1g-dev", "libbz2-dev", "liblzma-dev", "libzstd-dev", "liblz4-dev", "libssl-dev", "libxml2-dev"),
    *("libxslt1-dev", "libcurl4-openssl-dev", "libpng-dev", "libjpeg-dev", "libtiff-dev", "libfreetype-dev"),
    *("libfontconfig-dev", "libglib2.0-dev", "libexpat1-dev", "libsqlite3-dev", "libpcre2-dev", "libgmp-dev"),
    *("libreadline-dev", "libncurses-dev", "libedit-dev", "libevent-dev", "libev-dev", "libuv1-dev"),
    *("libyaml-dev", "libjansson-dev", "libjson-c-dev", "libnghttp2-dev", "libidn2-dev", "libpsl-dev"),
    *("libcap-dev", "libacl1-dev", "libattr1-dev", "libaio-dev", "libnuma-dev", "libseccomp-dev"),
    *("libsystemd-dev", "libudev-dev", "libdbus-1-dev", "libldap-dev", "libsasl2-dev", "libpq-dev"),
    *("libpopt-dev", "libgdbm-dev", "libdb-dev", "libltdl-dev", "cmake", "pkg-config", "bison"),
)
TIMEOUT_S = 3600


@dataclass(frozen=True)
class Round:
    """What a round over some packages took, seconds: from start to end, and the packages' own builds in that."""

    total_s: float
    own_s: float
    built: int
    failed: tuple[str, ...] = ()

    @property
    def per_hour(self) -> float:
        """Packages an hour."""
        return 3600 * self.built / self.total_s

    @property
    def beside_s(self) -> float:
        """What a package took beside its own build, on average."""
        return (self.total_s - self.own_s) / self.built


def main() -> int:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four small packages, one large")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--only", choices=("small", "large", "wide"), action="append", default=[])
    parser.add_argument("--packages", nargs="+", metavar="NAME", help="instead of the small ones")
    parser.add_argument("--home", type=Path, default=Path("var/bench-rebuild"), help="where the roots are kept")
    args = parser.parse_args()
    home: Path = args.home.resolve()
    settings = Settings(root=home, home=home, recipes=home / "recipes")
    spec = spec_for(settings, read_host().codename, native_architecture())
    root = get_root(spec, settings.cache, sys.stderr.buffer)
    parts = args.only or ["wide", "small", "large"]
    small = args.packages or (SMALL[:4] if args.quick else SMALL)
    figures: list[Figure] = []
    for part in parts:
        if part == "wide":
            with tempfile.TemporaryDirectory() as name:
                figures += compare("wide", [wide_job(Path(name), settings)], settings, root)
        else:
            names = small if part == "small" else LARGE[:1] if args.quick else LARGE
            figures += compare(part, jobs_of(names, settings), settings, root)
    print()
    rows = [
        (one.name, f"{one.value:.1f}", "" if one.peer_value is None else f"{one.peer_value:.1f}", one.unit)
        for one in figures
    ]
    print("\n".join(draw_table(("", "ours", "sbuild", "unit"), rows)))
    if args.json:
        write_figures(args.json, figures)
    return 0


def compare(part: str, jobs: Sequence[RebuildJob], settings: Settings, root: Root) -> list[Figure]:
    """Ours cold, sbuild, ours warm, over the same packages."""
    print(f"\n{part}: {', '.join(job.package for job in jobs)}", flush=True)
    for job in jobs:  # sources are had by both beforehand
        fetch_source(job, settings.home / "sources" / job.package, source_cache(settings))
    forget_layers(settings)
    at_once = (os.cpu_count() or 1) if part == "small" else 1
    cold = ours(part, jobs, settings, "cold")
    theirs = sbuild_loop(jobs, settings, root)
    warm = ours(part, jobs, settings, "warm")
    together = ours(part, jobs, settings, "warm, at once", at_once) if at_once > 1 else warm
    rounds = {"ours, cold": cold, "sbuild": theirs, "ours, warm": warm}
    if at_once > 1:
        rounds[f"{at_once} at once"] = together
    for name, one in rounds.items():
        failed = f", failed: {', '.join(one.failed)}" if one.failed else ""
        print(
            f"  {name:11} {one.total_s:7.1f} s, {one.own_s:7.1f} s of it the packages' own, "
            f"{one.per_hour:6.0f} an hour{failed}",
            flush=True,
        )
    if part == "wide":
        return [
            Figure("wide, cold: start to verdict", cold.total_s, "s", "sbuild", theirs.total_s),
            Figure("wide, warm: start to verdict", warm.total_s, "s", "sbuild", theirs.total_s),
        ]
    return [
        Figure(f"{part}, cold: packages an hour", cold.per_hour, "1/h", "sbuild", theirs.per_hour),
        Figure(f"{part}, warm: packages an hour", warm.per_hour, "1/h", "sbuild", theirs.per_hour),
        *(
            [
                Figure(
                    f"{part}, warm, {at_once} at once: an hour",
                    together.per_hour,
                    "1/h",
                    "sbuild",
                    theirs.per_hour,
                )
            ]
            if at_once > 1
            else []
        ),
        Figure(f"{part}, warm: beside its own build", warm.beside_s, "s", "sbuild", theirs.beside_s),
    ]


def jobs_of(names: Sequence[str], settings: Settings) -> list[RebuildJob]:
    """The packages as the archives have them now."""
    wanted = ad_hoc_set(names, [read_host().codename], [native_architecture()])
    selection = select(replace(wanted, options=(f"parallel={os.cpu_count() or 1}",)), settings)
    for left in selection.left_out:
        print(f"  left out: {left}", flush=True)
    return list(selection.require_jobs())


def forget_layers(settings: Settings) -> None:
    """As if nothing had been built here before; the root's own tarball stays, as sbuild's does."""
    for name in ("layers", "debs", "lists", "resolved", "scratch"):
        remove_owned_tree(settings.cache / name)
    shutil.rmtree(places_of(settings).root, ignore_errors=True)


def ours(part: str, jobs: Sequence[RebuildJob], settings: Settings, what: str, at_once: int = 1) -> Round:
    """A whole night on this machine."""
    places = places_of(settings)
    nights = open_nights(places.history_file)
    own_s: list[float] = []
    failed: list[str] = []

    def ended(build: object, report: object) -> None:
        own_s.append(report.build_s)  # type: ignore[attr-defined]
        if report.outcome != "pass":  # type: ignore[attr-defined]
            failed.append(f"{build.job.package} ({report.reason})")  # type: ignore[attr-defined]

    began = time.monotonic()
    rules = NightRules(confirm=False, culprit=False, tell=False)
    night = nights.open_night(f"bench-{part}", jobs, driver=HERE, reason=what, rules=rules)
    with alone_here(settings):
        telling = Telling(lambda _build: None, ended, lambda _rebuild, _settled: None)
        run_night(night, nights, settings, telling, jobs=at_once)
    return Round(time.monotonic() - began, sum(own_s), len(jobs), tuple(failed))


def sbuild_loop(jobs: Sequence[RebuildJob], settings: Settings, root: Root) -> Round:
    """The same packages by sbuild, one after another."""
    own_s = 0.0
    failed = []
    began = time.monotonic()
    for job in jobs:
        out = settings.home / "sbuild" / job.package
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        dsc = settings.home / "sources" / job.package / job.files[0].name
        request = BuildRequest(
            dsc=dsc,
            series=job.series,
            architecture=job.architecture,
            arch_all=job.arch_all,
            tarball=root.tarball,
            out=out,
            scratch=f"buildfarm-bench-{os.getpid()}-",
            timeout_s=TIMEOUT_S,
        )
        with (out / "build.log").open("wb") as log, options_of(job):
            finished = run_sbuild(request, log)
        with (out / "build.log").open("rb") as file:
            summary = read_build_log(file).summary
        own_s += (summary.seconds("Build-Time") or 0) if summary is not None else 0
        if finished.returncode != 0:
            failed.append(job.package)
    return Round(time.monotonic() - began, own_s, len(jobs), tuple(failed))


class options_of:  # noqa: N801 (used as a function in `with`)
    """sbuild takes a build's options from its environment, where ours are part of the job."""

    def __init__(self, job: RebuildJob) -> None:
        self._text = " ".join(job.options)

    def __enter__(self) -> None:
        os.environ["DEB_BUILD_OPTIONS"] = self._text

    def __exit__(self, *_: object) -> None:
        os.environ.pop("DEB_BUILD_OPTIONS", None)


RULES = """\
#!/usr/bin/make -f
clean build build-arch build-indep:
binary-indep:
binary binary-arch:
	mkdir -p debian/tmp/DEBIAN
	echo wide > debian/files.list
	dpkg-gencontrol -pwide -Pdebian/tmp
	dpkg-deb --root-owner-group --build debian/tmp ..
"""


def wide_job(place: Path, settings: Settings) -> RebuildJob:
    """A native source package that does nothing, and wants 50 others to do it."""
    tree = place / "wide-1.0"
    (tree / "debian/source").mkdir(parents=True)
    files = {
        "debian/control": "Source: wide\nMaintainer: Wide <wide@example.org>\nRules-Requires-Root: no\n"
        f"Build-Depends: {', '.join(WIDE_DEPENDS)}\nStandards-Version: 4.6.2\n\nPackage: wide\n"
        "Architecture: any\nDescription: wants much\n It does nothing.\n",
        "debian/changelog": "wide (1.0) unstable; urgency=medium\n\n  * First.\n\n"
        " -- Wide <wide@example.org>  Mon, 02 Nov 2026 09:00:00 +0000\n",
        "debian/source/format": "3.0 (native)\n",
        "debian/rules": RULES,
    }
    for name, text in files.items():
        (tree / name).write_text(text, encoding="utf-8")
    (tree / "debian/rules").chmod(0o755)
    subprocess.run(["dpkg-source", "-b", tree.name], cwd=place, check=True, capture_output=True)
    found = [next(place.glob("*.dsc")), next(place.glob("*.tar.*"))]
    kept = settings.home / "wide"
    kept.mkdir(parents=True, exist_ok=True)
    for path in found:
        shutil.copy(path, kept / path.name)
    sources = tuple(
        SourceFile(
            path.name,
            (kept / path.name).as_uri(),
            path.stat().st_size,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in found
    )
    return RebuildJob("bench", "wide", "1.0", read_host().codename, native_architecture(), sources)


if __name__ == "__main__":
    sys.exit(main())
