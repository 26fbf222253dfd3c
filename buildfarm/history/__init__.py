"""What the farm saw and did: commits, runs, their tasks and stage results, in SQL."""

from buildfarm.history.store import History, NewRun, Run, Task, open_history

__all__ = ["History", "NewRun", "Run", "Task", "open_history"]
