"""The firstboot stage: what was built makes a machine image, which has to boot in a machine and say so."""

from __future__ import annotations

from functools import partial

from buildfarm.errors import PackageFault
from buildfarm.job import FirstbootJob
from buildfarm.stages.boot import PROXY
from buildfarm.stages.published import Published, find_published, require_built, superseded_by
from buildfarm.stages.rooms import machine_room
from buildfarm.stages.runner import StageContext
from buildfarm.stages.scripts import find_script
from buildfarm.verdict import Outcome, Verdict
from buildfarm.verify.firstboot import EMULATORS, ROOM_MIB, Founding, FoundingEnd, found
from buildfarm.verify.installing import Subject
from buildfarm.verify.machines import MachineRoom
from buildfarm.vm.callbacks import Callbacks


def run(context: StageContext) -> Outcome:
    """Pass when the image boots and calls home; skipped where nothing can be installed, or nothing emulates."""
    job = context.job.firstboot
    if job is None:
        return Outcome(Verdict.SKIPPED, "the recipe names no script that makes an image")
    emulator = EMULATORS.get(context.architecture)
    if emulator is None:
        return Outcome(Verdict.SKIPPED, f"no machine inside a machine is known for {context.architecture}")
    published = find_published(context)
    if isinstance(published, str):
        return Outcome(Verdict.SKIPPED, published)
    require_built(published, job.packages, "firstboot: packages")
    find_script(context, job.script)
    rules = context.job.machine
    if job.memory_mib + ROOM_MIB > rules.memory_mib:
        raise PackageFault(
            f"the image's machine is to have {job.memory_mib} MiB, inside one of {rules.memory_mib} MiB",
            where="firstboot: memory_mib",
            resolution=f"Set machine: memory_mib to {job.memory_mib + ROOM_MIB} at least.",
        )
    room = machine_room(context, published, (emulator.package,))
    callbacks = Callbacks(context.job.run_id, room.order("image").name)
    end = found(
        Founding(
            job,
            Subject(published.version, published.packages, published.sources),
            context.tree,
            emulator,
            callbacks,
            partial(room.machine, "builder", nested=(callbacks,)),
            context.out,
            context.log,
            context.say,
            {"http_proxy": PROXY, "https_proxy": PROXY},
        )
    )
    if "installed" not in end.phases and (newer := superseded_by(context, published)):
        return Outcome(Verdict.SKIPPED, f"superseded by {newer} meanwhile")
    return _tell(context, job, published, room, end)


def _tell(
    context: StageContext, job: FirstbootJob, published: Published, room: MachineRoom, end: FoundingEnd
) -> Outcome:
    fault = end.fault
    kept = sorted(path for path in context.out.iterdir() if path.is_file() and path.name != "log")
    if fault is None:
        reason = (
            f"{job.script} made an image of {end.image_bytes / 1e6:.0f} MB, which booted and called "
            f"{end.phases['called'] - end.phases['made']:.0f} s later"
        )
    else:
        reason = fault.brief
    return Outcome(
        Verdict.PASS if fault is None else Verdict.FAIL,
        reason,
        inputs=("job.json",),
        outputs=tuple(context.workspace.relative(path) for path in kept),
        assumed=tuple(room.assumed),
        facts={
            "source": published.source,
            "version": published.version,
            "phases": end.phases,
            "image_bytes": end.image_bytes,
            "how_far": end.how_far,
            "note": end.note,
            "refused_calls": end.refused,
            "accel": room.host().accel,
            "image": room.image().directory.name,
        },
        details="\n".join(text for text in (fault.where, fault.details, fault.resolution) if text)
        if fault
        else "",
    )
