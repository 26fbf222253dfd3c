"""Figures of a benchmark: medians, tables for people, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

BAR_WIDTH = 48


@dataclass(frozen=True)
class Figure:
    """One measured value; ``peer`` says what it is held against, with ``peer_value`` in the same unit."""

    name: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None


@dataclass(frozen=True)
class Span:
    """A piece of a waterfall: from and to in seconds since the push began; ``work_s`` is the tools' share."""

    name: str
    start_s: float
    end_s: float
    work_s: float

    @property
    def duration_s(self) -> float:
        """From its start to its end."""
        return self.end_s - self.start_s


def write_figures(path: Path, figures: Iterable[Figure]) -> None:
    """Write ``{"figures": [...]}``, rounded to what a measurement can tell."""
    rows = [
        asdict(figure)
        | {
            "value": round(figure.value, 4),
            "peer_value": None if figure.peer_value is None else round(figure.peer_value, 4),
        }
        for figure in figures
    ]
    path.write_text(json.dumps({"figures": rows}, indent=2) + "\n", encoding="utf-8")


def median_spans(runs: Sequence[Sequence[Span]]) -> tuple[Span, ...]:
    """One waterfall of several with the same spans in the same order: each number's median."""
    names = [span.name for span in runs[0]]
    if any([span.name for span in run] != names for run in runs):
        raise ValueError("the waterfalls are of different stages")
    return tuple(
        Span(
            name,
            median(run[n].start_s for run in runs),
            median(run[n].end_s for run in runs),
            median(run[n].work_s for run in runs),
        )
        for n, name in enumerate(names)
    )


def steps_of(spans: Sequence[Span]) -> dict[str, float]:
    """What each span adds to the way: from the end of the one before it to its own end, waiting included."""
    ends = [0.0, *(span.end_s for span in spans)]
    return {span.name: span.end_s - before for span, before in zip(spans, ends, strict=False)}


def median_steps(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Each step's median over several runs that have the same steps."""
    return {name: median(run[name] for run in runs) for name in runs[0]}


def draw_waterfall(spans: Sequence[Span]) -> list[str]:
    """A line a span: where it lies, from, to, and how much of it is the stage's own work."""
    scale = BAR_WIDTH / max(span.end_s for span in spans)
    width = max(len(span.name) for span in spans)
    lines = [f"{'':{width}}  {'from':>7} {'to':>7} {'took':>7} {'work':>7}"]
    for span in spans:
        first = min(int(span.start_s * scale), BAR_WIDTH - 1)
        bar = " " * first + "█" * max(1, round(span.end_s * scale) - first)
        lines.append(
            f"{span.name:{width}}  {span.start_s:7.2f} {span.end_s:7.2f} {span.duration_s:7.2f} "
            f"{span.work_s:7.2f}  {bar}"
        )
    return lines


def draw_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns as wide as they need; the first to the left, the others to the right."""
    lines = [head, *rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
