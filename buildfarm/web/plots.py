"""Plots of a package over its nights as plain SVG: numbers in, coordinates out; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 8.0, 12.0, 34.0
STEPS = 4
WIDEST_BAR = 28.0
THINNEST = 2.0  # what is there at all is seen
LABEL_EACH = 44.0  # of width, so that labels stay apart
NICE = (1, 2, 2.5, 5, 10)
MINUTE_S, HOUR_S = 60.0, 3600.0


@dataclass(frozen=True)
class Column:
    """What stands at a place of the x axis: its label, values in the order of the layers, words for a pointer."""

    label: str
    values: tuple[float, ...] | None
    title: str
    href: str = ""


@dataclass(frozen=True)
class Bar:
    """A rectangle of a layer, in the figure's units."""

    layer: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and what is written there."""

    at: float
    text: str


@dataclass(frozen=True)
class Stack:
    """All that stands above one place of the x axis."""

    bars: tuple[Bar, ...]
    title: str
    href: str


@dataclass(frozen=True)
class Plot:
    """A figure of stacked bars. ``layers`` are names and words, from the bottom up; ``unit`` is of the y axis."""

    name: str
    title: str
    unit: str
    layers: tuple[tuple[str, str], ...]
    stacks: tuple[Stack, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]

    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    bottom: float = HEIGHT - BOTTOM
    top: float = TOP


def stacked(
    name: str, title: str, unit: str, layers: Sequence[tuple[str, str]], columns: Sequence[Column]
) -> Plot:
    """A figure of these columns, oldest first; a column without values leaves its place empty."""
    highest = max((sum(one.values) for one in columns if one.values is not None), default=0.0)
    step = nice_step(highest / STEPS)
    top = max(step, math.ceil(highest / step - 1e-9) * step)
    scale = (HEIGHT - TOP - BOTTOM) / top
    slot = (WIDTH - LEFT - RIGHT) / max(1, len(columns))
    bar = min(WIDEST_BAR, slot * 0.72)
    stacks, x_ticks = [], []
    every = max(1, math.ceil(LABEL_EACH / slot))
    for number, column in enumerate(columns):
        middle = LEFT + slot * (number + 0.5)
        if (len(columns) - 1 - number) % every == 0:
            x_ticks.append(Tick(round(middle, 1), column.label))
        if column.values is not None:
            bars = _bars(column.values, layers, middle - bar / 2, bar, scale)
            stacks.append(Stack(bars, column.title, column.href))
    y_ticks = [
        Tick(round(HEIGHT - BOTTOM - step * number * scale, 1), plain(step * number))
        for number in range(round(top / step) + 1)
    ]
    return Plot(name, title, unit, tuple(layers), tuple(stacks), tuple(x_ticks), tuple(y_ticks))


def _bars(
    values: Sequence[float], layers: Sequence[tuple[str, str]], x: float, width: float, scale: float
) -> tuple[Bar, ...]:
    bars, base = [], HEIGHT - BOTTOM
    for (layer, _words), value in zip(layers, values, strict=True):
        height = value * scale
        base -= max(height, THINNEST) if height > 0 else 0.0
        if height > 0:
            bars.append(Bar(layer, round(x, 1), round(base, 2), round(width, 1), round(max(height, THINNEST), 2)))
    return tuple(bars)


def nice_step(wanted: float) -> float:
    """The next greater number that people count in: 1, 2, 2.5 or 5, times a power of ten."""
    if not 0 < wanted < math.inf:
        return 1.0
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(one * power for one in NICE if one * power >= wanted * (1 - 1e-9))


def time_unit(longest_s: float) -> tuple[str, float]:
    """The unit that durations up to this one are shown in, and its seconds."""
    if longest_s >= 2 * HOUR_S:
        return "hours", HOUR_S
    return ("minutes", MINUTE_S) if longest_s >= 3 * MINUTE_S else ("seconds", 1.0)


def plain(value: float) -> str:
    """A number without zeros that say nothing."""
    return f"{value:.10g}"
