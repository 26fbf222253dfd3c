"""Where a stage's machines come from: of its target's series, as its recipe wants them, reaching its archive."""

from __future__ import annotations

from collections.abc import Sequence

from buildfarm.stages.published import Published
from buildfarm.stages.runner import StageContext
from buildfarm.verify.machines import MachineRoom


def machine_room(context: StageContext, published: Published, tools: Sequence[str] = ()) -> MachineRoom:
    """The machines of a stage; ``tools`` are packages of ours that their image has."""
    return MachineRoom(
        context.settings,
        context.job.machine,
        context.series,
        context.architecture,
        context.job.run_id,
        published.sources,
        context.out,
        context.log,
        tools=tuple(tools),
    )
