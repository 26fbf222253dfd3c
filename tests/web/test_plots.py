"""Plots say what the numbers say: heights in proportion, nothing outside, axes that count as people do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.web.plots import (
    BOTTOM,
    HEIGHT,
    LEFT,
    NICE,
    THINNEST,
    TOP,
    WIDTH,
    Column,
    nice_step,
    stacked,
    time_unit,
)

LAYERS = (("one", "first"), ("two", "second"))
values = st.tuples(*[st.floats(0, 1e7, allow_subnormal=False)] * 2)


def plot_of(*columns: tuple[float, float] | None) -> object:
    return stacked("p", "title", "unit", LAYERS, [Column(str(n), one, "") for n, one in enumerate(columns)])


@given(st.lists(st.one_of(st.none(), values), max_size=80))
def test_nothing_leaves_the_figure_and_layers_are_stacked(
    columns: list[tuple[float, float] | None],
) -> None:
    plot = plot_of(*columns)
    assert len(plot.stacks) == sum(one is not None for one in columns)
    for stack in plot.stacks:
        base = HEIGHT - BOTTOM
        for bar in stack.bars:
            assert bar.y + bar.height == pytest.approx(base, abs=0.03)
            base = bar.y
            assert LEFT <= bar.x <= bar.x + bar.width <= WIDTH
        assert base >= TOP - 2 * THINNEST - 0.03
    assert all(TOP - 0.1 <= tick.at <= HEIGHT - BOTTOM for tick in plot.y_ticks)
    assert 2 <= len(plot.y_ticks) <= 6


@given(values, values)
def test_heights_are_in_proportion(one: tuple[float, float], other: tuple[float, float]) -> None:
    plot = plot_of(one, other)
    top = float(plot.y_ticks[-1].text)
    scale = (HEIGHT - TOP - BOTTOM) / top
    for stack, told in zip(plot.stacks, (one, other), strict=True):
        heights = [bar.height for bar in stack.bars]
        assert heights == [pytest.approx(max(value * scale, THINNEST), abs=0.01) for value in told if value > 0]


@given(st.floats(1e-6, 1e9))
def test_steps_are_numbers_that_people_count_in(wanted: float) -> None:
    step = nice_step(wanted)
    assert step >= wanted * 0.999
    digits = float(f"{step:e}".partition("e")[0])
    assert digits in NICE


def test_durations_are_in_the_unit_that_suits_the_longest() -> None:
    assert [time_unit(one)[0] for one in (5, 179, 180, 7199, 7200)] == [
        "seconds", "seconds", "minutes", "minutes", "hours",
    ]  # fmt: skip
