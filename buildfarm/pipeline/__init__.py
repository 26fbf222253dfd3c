"""Recipe and revision to the tasks to run: which follow which, when to try again, what a run came to (pure)."""

from buildfarm.pipeline.plan import (
    GROUPS,
    Group,
    TaskKey,
    is_verified,
    needs,
    ready_tasks,
    retry_delay_s,
    run_verdict,
    stages_of,
    tasks_of,
)

__all__ = [
    "GROUPS",
    "Group",
    "TaskKey",
    "is_verified",
    "needs",
    "ready_tasks",
    "retry_delay_s",
    "run_verdict",
    "stages_of",
    "tasks_of",
]
