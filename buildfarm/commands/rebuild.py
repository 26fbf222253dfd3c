"""``buildfarm rebuild``: rebuild packages that nobody touched, and see what broke."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from buildfarm.errors import UsageError
from buildfarm.settings import Settings, load_settings
from ppa_tools.plain_text import plain_line

if TYPE_CHECKING:
    from buildfarm.regress.model import BuildReport, RebuildJob
    from buildfarm.regress.nights import Nights
    from buildfarm.regress.package_set import PackageSet
    from buildfarm.regress.records import Build, Driver, Night, Rebuild
    from buildfarm.regress.sources import Selection
    from buildfarm.regress.verdicts import Settled

EXIT_STATUS = {"pass": 0, "fail": 1, "error": 3, "dependency-wait": 4}
MOST_JOBS = 64
ACTIONS = ("now", "resume", "report", "cancel", "label", "workers", "build")
NAMED_AT_MOST = 5


def arrange(words: Sequence[str]) -> list[str]:
    """``buildfarm rebuild hello`` is short for ``buildfarm rebuild now hello``."""
    first = next((word for word in words if not word.startswith("-")), "")
    helping = not words or (not first and words[0] in ("-h", "--help"))
    return list(words) if first in ACTIONS or helping else ["now", *words]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments; every action says by ``act`` which function does it."""
    parser.usage = "buildfarm rebuild SET|PACKAGE... [options]\n       buildfarm rebuild ACTION ..."
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, prog="buildfarm rebuild")
    _configure_now(actions.add_parser("now", help="rebuild a set or packages now (the word may be left out)"))
    resume = actions.add_parser("resume", help="go on with a night that was interrupted on this machine")
    resume.add_argument("night", type=int, metavar="NIGHT")
    _configure_building(resume)
    resume.set_defaults(act=_resume)
    report = actions.add_parser("report", help="what rebuilds came to")
    report.add_argument(
        "--since", default="1d", metavar="WHEN", help="a date, 7d, 12h, or a night's number (default 1d)"
    )
    report.add_argument("--set", default="", metavar="SET", help="of this set alone")
    report.add_argument("--format", choices=("table", "json", "junit"), default="table")
    report.set_defaults(act=_report)
    cancel = actions.add_parser("cancel", help="end a night: what has no verdict yet gets none")
    cancel.add_argument("night", type=int, metavar="NIGHT")
    cancel.set_defaults(act=_cancel)
    label = actions.add_parser("label", help="say what is known of a cause; later failures carry it, too")
    label.add_argument("fingerprint", help="as reports and pages show it")
    label.add_argument("text", help="a note for people; an empty one removes the label")
    label.add_argument("--url", default="", help="the address of a bug report")
    label.set_defaults(act=_label)
    workers = actions.add_parser("workers", help="the workers that were taken out of service, and why")
    workers.add_argument("--put-back", metavar="NAME", help="let a worker build again")
    workers.set_defaults(act=_workers)
    build = actions.add_parser("build", help="do one build, as workers are asked to")
    build.add_argument("--number", type=int, required=True, metavar="N", help="the build's number")
    build.add_argument("--order", required=True, metavar="FILE", help="what to build, JSON; - is standard input")
    build.set_defaults(act=_build)


def _configure_now(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", nargs="+", metavar="SET|PACKAGE", help="a set of regression.yaml, or source packages"
    )
    parser.add_argument("--series", action="append", default=[], metavar="S", help="only this series (repeatable)")
    parser.add_argument("--architecture", action="append", default=[], metavar="A", help="only this architecture")
    parser.add_argument("--here", action="store_true", help="on this machine, also where the farm runs")
    parser.add_argument("--publish", action="store_true", help="with --here: upload the set's results, too")
    parser.add_argument("--no-confirm", action="store_true", help="believe a failure at once")
    parser.add_argument("--no-culprit", action="store_true", help="do not search for a new failure's cause")
    parser.add_argument("--timeout", default="", metavar="TIME", help="for each build: 90m, 4h")
    _configure_building(parser)
    parser.epilog = (
        "A night that was interrupted goes on where it stopped when the same is asked for again. Exit status: "
        "0 all pass, 1 a package fails, 2 wrong usage, 3 trouble of the farm, 4 dependencies are missing."
    )
    parser.set_defaults(act=_now)


def _configure_building(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="builds at once, here (default: 1)")
    parser.add_argument("--watch", action="store_true", help="show the builds' logs")


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    status: int = args.act(args, load_settings())
    return status


def _nights(settings: Settings) -> Nights:
    from buildfarm.regress.nights import open_nights
    from buildfarm.regress.places import places_of

    return open_nights(places_of(settings).history_file)


def _kept_nights(settings: Settings) -> Nights:
    """The record of nights; raises UsageError where there is none, rather than to begin one by looking."""
    from buildfarm.regress.places import places_of

    file = places_of(settings).history_file
    if not file.exists():
        raise UsageError(
            f"no night was ever begun here: {file} is not there",
            resolution="Is this the farm? Go to its directory or set BUILDFARM_ROOT. "
            "`buildfarm rebuild SET|PACKAGE` begins a night.",
        )
    return _nights(settings)


# Doing


def _now(args: argparse.Namespace, settings: Settings) -> int:
    from buildfarm.parts import living
    from buildfarm.regress.local import alone_here

    _check_jobs(args)
    nights = _nights(settings)
    if living(settings, "master") is not None and not args.here:
        if args.jobs != 1 or args.watch:
            raise UsageError(
                "--jobs and --watch are for builds on this machine, and the farm builds these",
                resolution="Leave them out, or give --here.",
            )
        night = open_now(args, nights, settings, "farm")
        print(f"night {night.number} of {night.set} is the farm's now: {settings.web_url}")
        print(f"`buildfarm rebuild report --since {night.number}` tells how it goes")
        return 0
    with alone_here(settings):
        night = open_now(args, nights, settings, "here")
        return _night_here(night, nights, settings, watch=args.watch, jobs=args.jobs)


def _resume(args: argparse.Namespace, settings: Settings) -> int:
    from buildfarm.regress.local import alone_here

    _check_jobs(args)
    nights = _kept_nights(settings)
    with alone_here(settings):
        night = _find_night(nights, args.night)
        if night.ended_at is not None or night.driver != "here":
            state = "has ended" if night.ended_at is not None else "is the farm's, which goes on by itself"
            raise UsageError(
                f"night {night.number} of {night.set} {state}",
                resolution=f"`buildfarm rebuild report --since {night.number}` tells how it went.",
            )
        _print_going_on(night)
        return _night_here(night, nights, settings, watch=args.watch, jobs=args.jobs)


def _check_jobs(args: argparse.Namespace) -> None:
    if not 1 <= args.jobs <= MOST_JOBS:
        raise UsageError(f"--jobs is a number from 1 to {MOST_JOBS}")


def _print_going_on(night: Night) -> None:
    print(f"night {night.number} of {night.set} goes on where it stopped", flush=True)


def open_now(args: argparse.Namespace, nights: Nights, settings: Settings, driver: Driver) -> Night:
    """The night that is asked for: one that was interrupted here and is the same, or a new one.

    Raises UsageError where another one of the set was interrupted here, which its command would go on with.
    """
    from buildfarm.regress.opening import open_selected
    from buildfarm.regress.package_set import AD_HOC
    from buildfarm.regress.sources import select

    wanted = chosen_set(args, settings)
    if wanted.publish and driver == "here" and not args.publish:
        print(f"nothing is uploaded to {wanted.publish} from here: --publish does that", flush=True)
        wanted = replace(wanted, publish="")
    elif args.publish and not wanted.publish:
        raise UsageError("these packages have no archive to go to", resolution="Give their set a `publish`.")
    selection = select(wanted, settings)
    if wanted.name == AD_HOC:
        _see_that_all_are_there(args.what, selection, settings)
    left = _find_left(wanted, nights, settings, driver)
    if left is not None:
        if driver == "here" and _is_asked_for(left, wanted, selection, nights):
            _print_going_on(left)
            return left
        raise _is_in_the_way(left, nights, driver)
    if wanted.publish:
        _prepare_publishing(wanted, settings, driver)
    night = open_selected(wanted, selection, nights, driver=driver, reason="by hand")
    for one in selection.left_out:
        print(plain_line(f"left out: {one}"), file=sys.stderr, flush=True)
    print(f"night {night.number} of {night.set}: {len(nights.rebuilds(night))} to rebuild", flush=True)
    return night


def _see_that_all_are_there(names: Sequence[str], selection: Selection, settings: Settings) -> None:
    """Raise UsageError for what was named and has nothing to rebuild, before anything is begun."""
    from buildfarm.regress.opening import load_farm_sets
    from buildfarm.regress.sources import match

    packages = {job.package for job in selection.jobs}
    missing = [name for name in names if not match(name, packages)]
    if not missing:
        return
    sets = load_farm_sets(settings).sets
    for name in missing:
        if name in sets:
            raise UsageError(
                f"{name} is a set: it is given alone", resolution="Give the packages to a second command."
            )
    reasons = [str(one) for one in selection.left_out if one.subject.package in missing]
    raise UsageError(
        f"there is nothing to rebuild of {', '.join(missing)}",
        details="\n".join(reasons[:NAMED_AT_MOST]),
        resolution=f"Name source packages, or one set; the sets here: {', '.join(sets) or 'none'}.",
    )


def _find_left(wanted: PackageSet, nights: Nights, settings: Settings, driver: Driver) -> Night | None:
    """The night of a set that was interrupted on this machine; ``driver`` here is alone there."""
    from buildfarm.regress.local import is_built_here

    found = next((one for one in nights.open_nights_of("here") if one.set == wanted.name), None)
    return None if found is not None and driver == "farm" and is_built_here(settings) else found


def _is_asked_for(night: Night, wanted: PackageSet, selection: Selection, nights: Nights) -> bool:
    """Whether a night rebuilds what a set comes to today, in the same way; newer versions make no difference."""
    from buildfarm.regress.opening import rules_of_set

    asked = {_without_version(job) for job in selection.require_jobs()}
    going_on = {_without_version(one.job) for one in nights.rebuilds(night)}
    return night.settings == rules_of_set(wanted) and going_on == asked


def _without_version(job: RebuildJob) -> RebuildJob:
    return replace(job, version="", files=())


def _is_in_the_way(night: Night, nights: Nights, driver: Driver) -> UsageError:
    subjects = [str(one.subject) for one in nights.rebuilds(night)]
    more = f" and {len(subjects) - NAMED_AT_MOST} more" if len(subjects) > NAMED_AT_MOST else ""
    what = f"{', '.join(subjects[:NAMED_AT_MOST])}{more}"
    why = "other packages or options than now" if driver == "here" else "on this machine, not by the farm"
    return UsageError(
        f"night {night.number} of {night.set} was interrupted: {what}, {why}",
        resolution=f"`buildfarm rebuild resume {night.number}` goes on with it here, "
        f"`buildfarm rebuild cancel {night.number}` ends it.",
    )


def _prepare_publishing(wanted: PackageSet, settings: Settings, driver: str) -> None:
    """See that the archive of a set is there, and may be uploaded to."""
    from buildfarm.farm import open_farm
    from buildfarm.keys import algorithm_for, ensure_upload_key
    from ppa_tools.address import parse_address
    from ppa_tools.archives.errors import ArchiveUnreachable
    from ppa_tools.archives.upload_client import UploadClient

    if driver == "here":
        ensure_upload_key(settings, algorithm_for(wanted.publish))
    open_farm(settings.root).ensure_archives_of((wanted.publish, wanted))
    address = parse_address(wanted.publish)
    if driver == "here" and address.backend == "local":
        try:
            UploadClient(settings.archive_local_url).in_release(address, wanted.series[0])
        except ArchiveUnreachable as error:
            raise UsageError(
                str(error), resolution="`buildfarm up` starts it; `buildfarm archive serve` starts it alone."
            ) from error


def chosen_set(args: argparse.Namespace, settings: Settings) -> PackageSet:
    """The set that the command line names, or one made of the packages that it names."""
    from buildfarm.build.apt_sources import read_host
    from buildfarm.build.bootstrap import native_architecture
    from buildfarm.regress.opening import load_farm_sets
    from buildfarm.regress.sets import ad_hoc_set
    from buildfarm.regress.units import parse_duration

    book = load_farm_sets(settings)
    named = book.sets.get(args.what[0]) if len(args.what) == 1 else None
    if named is None and len(args.what) == 1 and book.problems:
        book.find(args.what[0])  # it may be a set that did not load
    if named is None:
        series = args.series or [read_host().codename]
        chosen = ad_hoc_set(args.what, series, args.architecture or [native_architecture()])
        chosen = replace(chosen, tell=False)
    else:
        chosen = replace(
            named,
            series=tuple(args.series) or named.series,
            architectures=tuple(args.architecture) or named.architectures,
        )
    if args.no_confirm:
        chosen = replace(chosen, confirm=False)
    if args.no_culprit:
        chosen = replace(chosen, culprit=False)
    if args.timeout:
        try:
            chosen = replace(chosen, limits=replace(chosen.limits, timeout_s=parse_duration(args.timeout)))
        except ValueError as error:
            raise UsageError(str(error), where="--timeout") from error
    return chosen


def _night_here(night: Night, nights: Nights, settings: Settings, *, watch: bool, jobs: int) -> int:
    from buildfarm.parts import living
    from buildfarm.regress.local import Telling, run_night
    from buildfarm.regress.model import LOOK_AGAIN_S
    from buildfarm.regress.places import places_of
    from buildfarm.regress.tidying import tidy

    looked: dict[int, str] = {}

    def begins(build: Build) -> None:
        if build.id in looked:
            return
        kind = {
            "first": "",
            "again": ", again, to be sure",
            "control": ", to try this machine",
            "publish": ", published",
        }
        what = kind.get(build.kind, ", searching for the cause")
        print(plain_line(f"  #{build.id} {build.job.subject} {build.job.version}{what}"), flush=True)

    def ended(build: Build, report: BuildReport) -> None:
        if LOOK_AGAIN_S in report.facts:
            if looked.get(build.id) != report.reason:
                print(plain_line(f"  #{build.id} goes on: {report.reason}"), flush=True)
            looked[build.id] = report.reason
            return
        took = f"{report.total_s:.0f} s, {report.build_s:.0f} s of them its own build"
        print(plain_line(f"  #{build.id} {report.outcome}: {report.reason} ({took})"), flush=True)
        log = next(places_of(settings).build(build.id).glob("build.log*"), None)
        if report.outcome != "pass" and log is not None:
            print(f"    its log: {log}", flush=True)

    def settled(rebuild: Rebuild, verdict: Settled) -> None:
        print(plain_line(f"{verdict.verdict}: {rebuild.subject}: {verdict.reason}"), flush=True)

    ended_night = run_night(night, nights, settings, Telling(begins, ended, settled), watch=watch, jobs=jobs)
    rebuilds = nights.rebuilds(ended_night)
    if living(settings, "master") is None:  # which does it each hour
        tidy(settings, nights, time.time())
    print(f"night {ended_night.number} has ended: `buildfarm rebuild report --since {ended_night.number}`")
    return exit_status(rebuilds)


def exit_status(rebuilds: Sequence[Rebuild]) -> int:
    """What a night came to: the worst of its verdicts."""
    from buildfarm.regress.model import RebuildVerdict

    verdicts = {one.verdict for one in rebuilds}
    for verdict, status in (
        (RebuildVerdict.NEW_FAILURE, 1),
        (RebuildVerdict.STILL_FAILING, 1),
        (RebuildVerdict.INFRASTRUCTURE, 3),
        (RebuildVerdict.DEPENDENCY_WAIT, 4),
    ):
        if verdict in verdicts:
            return status
    return 0


def _build(args: argparse.Namespace, settings: Settings) -> int:
    from buildfarm.process import adopt_descendants, kill_descendants
    from buildfarm.regress.bisecting import carry_out
    from buildfarm.regress.orders import BuildOrder
    from buildfarm.regress.places import places_of

    try:
        text = sys.stdin.read() if args.order == "-" else Path(args.order).read_text(encoding="utf-8")
        order = BuildOrder.from_json(json.loads(text))
    except (OSError, ValueError) as error:
        raise UsageError(f"the order cannot be used: {error}", where=args.order) from error
    adopt_descendants()
    try:
        report = carry_out(order, places_of(settings).build(args.number), settings, sys.stdout.buffer)
    finally:
        kill_descendants()
    return EXIT_STATUS[report.outcome]


# Looking


def _report(args: argparse.Namespace, settings: Settings) -> int:
    from buildfarm.regress.report import make_report, render

    nights = _kept_nights(settings)
    _see_that_it_is_known(args, nights, settings)
    report = make_report(nights, args.since, args.set)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    print(
        render(report, args.format, width, colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR")), end=""
    )
    return 0


def _see_that_it_is_known(args: argparse.Namespace, nights: Nights, settings: Settings) -> None:
    """Raise UsageError for a night or a set that there is not, which might be taken for one without failures."""
    from buildfarm.regress.opening import load_farm_sets
    from buildfarm.regress.package_set import AD_HOC

    if args.since.isdecimal():
        _find_night(nights, int(args.since))
    if args.set and args.set != AD_HOC and not nights.recent_nights(1, args.set):
        load_farm_sets(settings).find(args.set)


def _cancel(args: argparse.Namespace, settings: Settings) -> int:
    from buildfarm.regress.local import cancel_left

    nights = _kept_nights(settings)
    night = _find_night(nights, args.night)
    if not cancel_left(night, nights, settings):
        nights.cancel(night)
    print(f"night {night.number} of {night.set} {'has ended' if night.ended_at is None else 'had ended already'}")
    return 0


def _find_night(nights: Nights, number: int) -> Night:
    night = nights.night(number)
    if night is None:
        raise UsageError(f"there is no night {number}", resolution="`buildfarm rebuild report` names them.")
    return night


def _label(args: argparse.Namespace, settings: Settings) -> int:
    nights = _kept_nights(settings)
    nights.set_label(args.fingerprint, args.text, args.url)
    print(f"{args.fingerprint}: {args.text or 'no label any more'}")
    if not nights.knows_cause(args.fingerprint):
        print("no failure has this cause so far; is it as reports show it?", file=sys.stderr)
    return 0


def _workers(args: argparse.Namespace, settings: Settings) -> int:
    nights = _kept_nights(settings)
    if args.put_back:
        if args.put_back not in nights.workers_out():
            raise UsageError(f"{args.put_back!r} is not out of service")
        nights.put_back(args.put_back)
        print(f"{args.put_back} may build again")
        return 0
    out = nights.workers_out()
    for name, (reason, _since) in sorted(out.items()):
        print(plain_line(f"{name}: {reason}"))
    if not out:
        print("no worker is out of service")
    return 0
