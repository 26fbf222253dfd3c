"""Runs as people watch them in a terminal: a live table of stages with times; plain lines where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from buildfarm.history import History, Run
from buildfarm.history.explain import explain
from buildfarm.pipeline import stages_of, tasks_of
from buildfarm.settings import Settings
from buildfarm.verdict import Verdict

STYLES = {
    "pass": "green",
    "fail": "bold red",
    "error": "yellow",
    "skipped": "dim",
    "running": "cyan",
    "waiting": "dim",
    "": "dim",
}
MARKS = {"pass": "✓", "fail": "✗", "error": "!", "skipped": "–", "running": "▸", "waiting": "·", "": "·"}
REFRESH_S = 0.25
SHOWN_RUNS = 3


def follow(
    history: History,
    select: Callable[[], Sequence[Run]],
    console: Console,
    *,
    done: Callable[[Sequence[Run]], bool],
    note: Callable[[], str] = lambda: "",
    limit_s: float = float("inf"),
) -> tuple[Run, ...]:
    """Show the selected runs until ``done`` says so or ``limit_s`` has passed; returns them as they are."""
    deadline = time.monotonic() + limit_s
    if console.is_terminal:
        with Live(console=console, refresh_per_second=8, transient=False) as live:
            while True:
                runs = tuple(select())
                waiting = Text(note(), style="dim")
                live.update(Group(*(run_table(history, run, time.time()) for run in runs), waiting))
                if done(runs) or time.monotonic() > deadline:
                    live.update(Group(*(run_table(history, run, time.time()) for run in runs)))
                    return runs
                time.sleep(REFRESH_S)
    said: set[tuple[str, ...]] = set()
    while True:
        runs = tuple(select())
        for run in runs:
            for line in new_lines(history, run, said):
                console.print(line, highlight=False, markup=False, soft_wrap=True)
        if done(runs) or time.monotonic() > deadline:
            return runs
        time.sleep(REFRESH_S)


def run_table(history: History, run: Run, now: float) -> Table:
    """One run: a row a stage with its state, its time and what it came to."""
    table = Table(box=None, padding=(0, 1), show_header=False, expand=True, title_justify="left")
    table.title = run_title(run, now)
    table.add_column(width=1)
    table.add_column(no_wrap=True, min_width=10)
    table.add_column(no_wrap=True, justify="right", min_width=8)
    table.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
    rows = {(row.stage, row.target): row for row in history.stage_rows(run)}
    for task in tasks_of(run.job):
        for stage, series, architecture in stages_of(run.job, task):
            target = "-".join(part for part in (series, architecture) if part)
            state, seconds, reason = stage_state(rows.get((stage, target)), now, ended=run.verdict is not None)
            style = STYLES[state]
            table.add_row(
                Text(MARKS[state], style=style),
                Text(f"{stage} {target}".rstrip(), style="" if state else "dim"),
                Text(f"{seconds:.1f} s" if seconds is not None else "", style="dim"),
                Text(reason, style=style if state in ("fail", "error") else "dim"),
            )
    return table


def run_title(run: Run, now: float) -> Text:
    """A run's headline: which commit of what, and how it stands."""
    state = run.verdict.value if run.verdict else "running"
    seconds = (run.ended_at or now) - run.seen_at
    title = Text(f"{run.run_id}  ", style="bold")
    title.append(f"{short_revision(run)} ", style="not bold")
    title.append(run.summary[:60], style="not bold italic")
    title.append(f"  {MARKS[state]} {state if run.verdict else 'running'} {seconds:.0f} s", style=STYLES[state])
    return title


def short_revision(run: Run) -> str:
    """A revision as people write it: its number in Bazaar, with the start of its id in git."""
    return f"r{run.revno} {run.revision[:10]}" if run.job.trunk.vcs == "git" else f"r{run.revno}"


def stage_state(row: Any, now: float, *, ended: bool) -> tuple[str, float | None, str]:
    """A stage's state for people: verdict or ``running`` or "", seconds so far, and its reason."""
    if row is None:
        return "", None, ""
    if row.verdict is None:
        return ("", None, "") if ended else ("running", now - row.started_at, "")
    return row.verdict, row.finished_at - row.started_at, row.reason


def new_lines(history: History, run: Run, said: set[tuple[str, ...]]) -> list[str]:
    """What has ended since the last look, a line each; ``said`` is kept up to date."""
    lines = []
    for row in history.stage_rows(run):
        key = (run.run_id, row.stage, row.target, str(row.attempt), row.verdict or "")
        if row.verdict and key not in said:
            said.add(key)
            name = f"{row.stage} {row.target}".rstrip()
            seconds = row.finished_at - row.started_at
            lines.append(
                f"{run.run_id:18} {MARKS[row.verdict]} {row.verdict:7} {name:26} {seconds:7.1f} s  {row.reason}"
            )
    if run.verdict is not None and (run.run_id, "end") not in said:
        said.add((run.run_id, "end"))
        seconds = (run.ended_at or 0.0) - run.seen_at
        lines.append(
            f"{run.run_id:18} {MARKS[run.verdict.value]} {run.verdict:7} in all {seconds:.0f} s: {run.summary}"
        )
    return lines


def shown_runs(history: History, recipe: str = "") -> tuple[Run, ...]:
    """What is worth a table now: the open runs that have begun, or else the last one that ended."""
    begun = tuple(run for run in history.open_runs(recipe) if history.stage_rows(run))
    return begun[:SHOWN_RUNS] or history.recent_runs(1, recipe)


def waiting_words(history: History, recipe: str = "") -> str:
    """What ``shown_runs`` leaves out, in a line."""
    waiting = len(history.open_runs(recipe)) - sum(run.verdict is None for run in shown_runs(history, recipe))
    more = f"{waiting} more {'waits' if waiting == 1 else 'wait'}; " if waiting > 0 else "waiting for commits; "
    return more + "Ctrl-C ends"


def state_words(history: History, run: Run, now: float) -> tuple[str, str]:
    """How a run stands: its verdict, ``running`` or ``waiting``; and why it waits, where it is to try again."""
    if run.verdict is not None:
        return run.verdict.value, ""
    tasks = history.tasks(run)
    later = [task for task in tasks if task.state == "waiting" and task.not_before > now]
    if any(task.state == "submitted" for task in tasks):
        return "running", ""
    if later:
        return "waiting", f"tries again in {later[0].not_before - now:.0f} s: {later[0].reason}"
    return "waiting", ""


def failures(history: History, runs: Sequence[Run], settings: Settings) -> list[str]:
    """What a person reads about each stage that did not pass, as on its page."""
    texts = []
    for run in runs:
        for row in history.stage_rows(run):
            result = history.stage_result(run, row.stage, row.target)
            if result is not None and result.verdict in (Verdict.FAIL, Verdict.ERROR):
                texts.append(explain(run, result, settings))
    return texts


def all_ended(runs: Sequence[Run]) -> bool:
    """Whether every run has its verdict."""
    return all(run.verdict is not None for run in runs)


def worst(runs: Sequence[Run]) -> Verdict:
    """The worst verdict among runs that have ended."""
    verdicts = {run.verdict for run in runs}
    return next((v for v in (Verdict.FAIL, Verdict.ERROR) if v in verdicts), Verdict.PASS)
