"""The promote stage: copy what was verified to the next archive, source and binaries, by the rules of ppa-copy.

It runs on the signing worker: it writes to an archive, and runs nothing of a package's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from buildfarm.embedded_archive import opened_archive
from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.files import write_json
from buildfarm.stages import VERIFYING, is_asked_for
from buildfarm.stages.runner import StageContext
from buildfarm.stages.upload import find_upload, read_signed_changes
from buildfarm.verdict import Outcome, Verdict
from ppa_tools.address import Address, parse_address
from ppa_tools.apply.applying import apply_plan
from ppa_tools.apply.journal import STATE_VARIABLE, open_journal
from ppa_tools.apply.looking import both_sides, gather
from ppa_tools.apply.report import Outcome as Applied
from ppa_tools.apply.report import Report
from ppa_tools.archives.door import Archive, DoorError, NoRights, Refused
from ppa_tools.plan.actions import Kind, Plan
from ppa_tools.plan.choosing import Selection, SeriesPair, Wanted, choose
from ppa_tools.plan.copying import plan_copy
from ppa_tools.plan.facts import Facts, Shelf, Terms
from ppa_tools.plan.rules import why_too_low
from ppa_tools.publication import ACTIVE, Build, BuildState, Side

# What the master heard from the upload stage, SOURCE=VERSION; the workspace may have other writers.
EXPECTED_SOURCE = "BUILDFARM_EXPECT_SOURCE"
STATE_DIRECTORY = "promote"
WAIT_S = 240.0
"""How long one attempt looks for a copy that Launchpad has queued: meanwhile nothing is signed or uploaded."""

TRIED_AGAIN = "It is tried again; what was copied already is not copied twice."


@dataclass(frozen=True)
class _Move:
    """What goes where: one version of a source, in one series."""

    source: str
    version: str
    series: str
    here: Address
    there: Address

    def __str__(self) -> str:
        return f"{self.source} {self.version}"


def run(context: StageContext) -> Outcome:
    """Copy the run's source and its binaries; the receipt goes to promote/SERIES/receipt.json."""
    job = context.job
    if not job.promote:
        return Outcome(Verdict.SKIPPED, "the recipe names no archive to promote to")
    if why_not := _why_not_verified(context):
        return Outcome(Verdict.SKIPPED, f"not promoted: {why_not}")
    changes_file, _ = find_upload(context.workspace.directory("sign", context.series))
    changes = read_signed_changes(changes_file)
    _check_expected(changes.source, changes.version)
    move = _Move(
        changes.source, changes.version, context.series, parse_address(job.archive), parse_address(job.promote)
    )
    try:
        with _opened(context, move) as (source, destination):
            return _promote(context, move, source, destination, context.workspace.relative(changes_file))
    except Refused as error:
        said, more = _in_two(error)
        raise PackageFault(f"{move.there} refuses {move}: {said}", details=more) from error
    except NoRights as error:
        said, more = _in_two(error)
        raise FarmTrouble(
            f"{move} cannot be copied to {move.there}: {said}",
            details=more,
            resolution="The signing worker needs the right to change that archive: the reference of recipes, "
            "under promote, says how it is given.",
        ) from error
    except DoorError as error:
        said, more = _in_two(error)
        raise FarmTrouble(
            f"{move} cannot be copied to {move.there}: {said}", resolution=more or TRIED_AGAIN
        ) from error


def _in_two(error: DoorError) -> tuple[str, str]:
    """What an archive says in a line, and what it says more."""
    said, _, more = str(error).partition("\n")
    return said.strip(), more.strip()


def _why_not_verified(context: StageContext) -> str:
    """Which stage did not pass, in words; "" when all that was asked for has. Raises FarmTrouble for open ones."""
    wanted = [stage for stage in ("publish", *VERIFYING) if is_asked_for(context.job, stage)]
    targets = [f"{context.series}-{architecture}" for architecture in context.job.architectures]
    for target in targets:
        for stage in wanted:
            result = context.workspace.read_result(stage, target)
            if result is not None and result.verdict is Verdict.FAIL:
                return f"{stage} {target} failed: {result.reason}"
            if result is None or result.verdict is Verdict.ERROR:
                raise FarmTrouble(
                    f"not promoted: {stage} {target} has not passed",
                    where=f"{stage}/{target}/result.json",
                    resolution=f"Run the {stage} stage in this workspace first.",
                )
    published = [context.workspace.read_result("publish", target) for target in targets]
    is_local = context.job.archive.startswith("local:")
    if is_local and all(one is not None and one.verdict is Verdict.SKIPPED for one in published):
        return "nothing was built"
    tried = [
        result for stage in wanted[1:] for t in targets if (result := context.workspace.read_result(stage, t))
    ]
    if is_local and tried and all(one.verdict is Verdict.SKIPPED for one in tried):
        return f"nothing of it was verified: {tried[0].stage} was skipped, {tried[0].reason}"
    return ""


def _check_expected(source: str, version: str) -> None:
    expected = os.environ.get(EXPECTED_SOURCE, "")
    if expected and expected != f"{source}={version}":
        raise FarmTrouble(
            f"not promoted: {source}={version} stands in the workspace, and {expected} was uploaded",
            resolution="Somebody else has written in the run's directory; run the commit anew.",
        )


@contextlib.contextmanager
def _opened(context: StageContext, move: _Move) -> Iterator[tuple[Archive, Archive]]:
    """Both archives. Each is opened by itself: they are asked side by side."""
    with contextlib.ExitStack() as stack:
        yield _open(context, move.here, stack), _open(context, move.there, stack)


def _open(context: StageContext, address: Address, stack: contextlib.ExitStack) -> Archive:
    if address.backend == "local":
        from ppa_tools.archives.embedded import EmbeddedArchive

        farm = context.settings.farm
        archive = stack.enter_context(opened_archive(context.settings))
        opened = EmbeddedArchive(archive, address, by=f"{farm.name} <{farm.email}>")
        opened.check()
        return opened
    from ppa_tools.archives.launchpad.credentials import FILE_VARIABLE
    from ppa_tools.archives.opening import Options, open_archive

    launchpad, environment = context.settings.launchpad, dict(os.environ)
    if launchpad.credentials_file:
        environment[FILE_VARIABLE] = str(context.settings.root / launchpad.credentials_file)
    options = Options(instance=launchpad.instance, environment=environment)
    return stack.enter_context(contextlib.closing(open_archive(address, options)))


def _promote(
    context: StageContext, move: _Move, source: Archive, destination: Archive, changes_file: str
) -> Outcome:
    """Plan and apply as ppa-copy does, for the one package."""
    terms = Terms()
    sides = both_sides(source, destination, names={move.source}, source_past=True)
    selection = Selection((Wanted(move.source, move.version),))
    chosen = choose(sides[0], selection, (SeriesPair(move.series, move.series),))
    if chosen.missing:
        raise FarmTrouble(
            f"not promoted: {chosen.missing[0]}", resolution="Was it deleted there? Then there is nothing to copy."
        )
    facts, mine = gather(chosen.picks, source, destination, sides, terms)
    plan = plan_copy(chosen, mine, sides[1], facts, terms)
    if blocked := plan.of(Kind.BLOCKED):
        newer = why_too_low(move.version, Shelf(sides[1]).in_place(move.series, move.source))
        if newer:
            return Outcome(Verdict.SKIPPED, f"{move.there} has a newer version: {newer}")
        _refuse(context, move, blocked[0].reason, facts, sides[1])
    report = _apply(context, move, plan, source, destination)
    _check_report(move, report)
    return _tell(context, move, destination, changes_file, is_new=bool(plan.pending))


def _refuse(context: StageContext, move: _Move, reason: str, facts: Facts, there: Side) -> None:
    """Raise what the rules found: the package's fault, unless waiting or setting up may help."""
    words = f"not promoted to {move.there}, {move.series}: {reason}"
    known = there.series.get(move.series)
    if known is None or known.obsolete:
        raise FarmTrouble(words, resolution=f"Give {move.there} the series, or take it out of the recipe's.")
    builds = [one for its in facts.builds.values() for one in its]
    late = {one.architecture for one in builds if _may_still_come(one)}
    if move.here.backend == "local" and late - {*context.job.architectures}:
        raise PackageFault(
            words,
            resolution=f"{move.here} is also for {', '.join(sorted(late))}: list them under architectures: in the "
            "recipe, or publish to an archive that is only for those it is built for.",
        )
    if late or (facts.builds and not builds):
        raise FarmTrouble(words, resolution=TRIED_AGAIN)
    raise PackageFault(words, resolution="These are the rules of ppa-copy, which copies by hand.")


def _may_still_come(build: Build) -> bool:
    return build.state.is_under_way or (build.state is BuildState.BUILT and not build.published)


def _apply(context: StageContext, move: _Move, plan: Plan, source: Archive, destination: Archive) -> Report:
    """Apply a plan; its journal is the farm's own, so that an attempt that was cut is taken up by the next."""
    settings, job = context.settings, context.job
    instance = (
        str(settings.archive_root.resolve()) if move.there.backend == "local" else settings.launchpad.instance
    )
    environment = {STATE_VARIABLE: str((settings.home / STATE_DIRECTORY).resolve())}
    verified = any(is_asked_for(job, stage) for stage in VERIFYING)
    with open_journal(move.there, instance, environment=environment) as journal:
        report = apply_plan(
            plan,
            {move.here: source, move.there: destination},
            journal,
            wait_s=WAIT_S,
            why=f"{'verified' if verified else 'built'} by run {job.run_id}",
        )
    if move.there.backend == "local":  # what an attempt copied that was cut before the indexes were written
        with opened_archive(settings) as archive:
            archive.publish(move.there)
    return report


def _check_report(move: _Move, report: Report) -> None:
    if report.no_rights:
        raise NoRights(report.stopped)
    if report.stopped:
        raise DoorError(report.stopped)
    for one in report.bad:
        if one.outcome is Applied.FAILED and "which is newer" not in one.why:
            raise Refused(one.why)
        raise FarmTrouble(f"{move} is not in {move.there} yet: {one.why or one.outcome}", resolution=TRIED_AGAIN)


def _tell(context: StageContext, move: _Move, destination: Archive, changes_file: str, *, is_new: bool) -> Outcome:
    rows = destination.publications(names={move.source}, series={move.series}, statuses=ACTIVE)
    rows = tuple(row for row in rows if row.version == move.version)
    packages = {one.package: one.version for its in destination.binaries(rows).values() for one in its}
    facts = {
        "archive": str(move.there),
        "source": move.source,
        "version": move.version,
        "packages": packages,
        "from": str(move.here),
    }
    receipt_file = context.out / "receipt.json"
    write_json(receipt_file, facts | {"already": not is_new})
    how = f"copied from {move.here} to {move.there}" if is_new else f"already in {move.there}"
    return Outcome(
        Verdict.PASS,
        f"{move} {how}, {move.series}",
        inputs=(changes_file,),
        outputs=(context.workspace.relative(receipt_file),),
        assumed=() if is_new else (f"{move.there} has it already, from an earlier attempt or by hand",),
        facts=facts,
    )
