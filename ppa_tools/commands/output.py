"""Rows as a table for people, and as JSON, CSV or lines for programs; nothing in them harms a terminal."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from ppa_tools.plain_text import plain, plain_line

STYLES = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "new": "36", "": ""}
GAP = "  "
MORE_CONTROL = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What JSON lets stand in texts: a terminal's other escapes, and marks that turn the writing around."""

NARROWEST = 24  # a last column that would be narrower is not folded

Cell = Any


def moment_text(at: float | None) -> str:
    """A moment for people, in UTC: 2026-11-01 12:00; "-" for none."""
    if at is None:
        return "-"
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d %H:%M")


def moment_iso(at: float | None) -> str | None:
    """A moment for programs: 2026-11-01T12:00:00Z."""
    if at is None:
        return None
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def age_text(seconds: float) -> str:
    """How long something is or was, with one unit: 40 s, 12 min, 5 h, 20 days."""
    for unit, length_s in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= (2 if unit == "days" else 1) * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun: 1 package, 1,200 packages."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def words_text(value: Cell) -> str:
    """A value as it stands; "-" for nothing, a comma between several."""
    if value is None or value == "":
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


@dataclass(frozen=True)
class Column:
    """A column: its ``name`` for programs, its ``heading`` for people; one that is empty hides it.

    ``say`` turns a value into words for people, ``tell`` into what JSON has; ``style`` names one of ``STYLES``.
    """

    name: str = ""
    heading: str = ""
    number: bool = False
    say: Callable[[Cell], str] = words_text
    tell: Callable[[Cell], Cell] = lambda value: value
    style: Callable[[Cell], str] = lambda _: ""


def moment_column(name: str, heading: str) -> Column:
    """A column of moments."""
    return Column(name, heading, say=moment_text, tell=moment_iso)


@dataclass(frozen=True)
class Table:
    """Rows with a value for each column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def values(self) -> list[dict[str, Cell]]:
        """For JSON: an object a row."""
        return [
            {column.name: column.tell(cell) for column, cell in zip(self.columns, row, strict=True) if column.name}
            for row in self.rows
        ]


def print_rows(table: Table, how: str, *, nothing: str = "", out: TextIO | None = None) -> None:
    """Print rows in one of the formats; people read ``nothing`` where there are none."""
    out = out or sys.stdout
    if how == "json":
        print_json(table.values(), out)
    elif how == "csv":
        import csv

        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(column.name for column in table.columns if column.name)
        writer.writerows(map(plain_line, row) for row in _plain_rows(table))
    elif how == "lines":
        out.writelines("\t".join(map(plain_line, row)) + "\n" for row in _plain_rows(table))
    elif table.rows:
        out.writelines(line + "\n" for line in table_lines(table, colours=has_colours(out), width=_width(out)))
    elif nothing:
        print(nothing, file=out)
    out.flush()  # what is said beside it comes after it


def print_json(value: object, out: TextIO | None = None) -> None:
    """For programs; what a terminal would obey, and what ``out`` cannot encode, is written as numbers."""
    out = out or sys.stdout
    narrow = (out.encoding or "utf-8").lower().replace("-", "") != "utf8"
    text = json.dumps(value, indent=2, ensure_ascii=narrow)
    print(MORE_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text), file=out)


def table_lines(table: Table, *, colours: bool = False, width: int = 0) -> list[str]:
    """The lines of a table: numbers to the right, the last column folded where a terminal's ``width`` is given."""
    shown = [(at, column) for at, column in enumerate(table.columns) if column.heading]
    cells = [[plain_line(column.say(row[at])) for at, column in shown] for row in table.rows]
    styles = [[column.style(row[at]) for at, column in shown] for row in table.rows]
    heads = [column.heading for _, column in shown]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    room = width - sum(widths[:-1]) - len(GAP) * (len(widths) - 1)
    lines = [_line(heads, [""] * len(heads), shown, widths)]
    for texts, paints in zip(cells, styles, strict=True):
        folded = [texts[-1]]
        if room >= NARROWEST and len(texts[-1]) > room:
            folded = textwrap.wrap(texts[-1], room, break_long_words=False, break_on_hyphens=False)
        lines.append(_line([*texts[:-1], folded[0]], paints if colours else [""] * len(paints), shown, widths))
        indent = " " * (sum(widths[:-1]) + len(GAP) * (len(widths) - 1))
        lines += [indent + more for more in folded[1:]]
    return lines


def _line(
    texts: Sequence[str], paints: Sequence[str], shown: Sequence[tuple[int, Column]], widths: Sequence[int]
) -> str:
    parts = []
    for text, style, (_, column), width in zip(texts, paints, shown, widths, strict=True):
        space = " " * (width - len(text))
        painted = paint(text, style)
        parts.append(space + painted if column.number else painted + space)
    return GAP.join(parts).rstrip()


def _plain_rows(table: Table) -> Iterable[list[str]]:
    for row in table.rows:
        told = (column.tell(cell) for column, cell in zip(table.columns, row, strict=True) if column.name)
        yield ["" if value is None else _plain(value) for value in told]


def _plain(value: Cell) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return " ".join(map(_plain, value))
    if isinstance(value, dict):
        return " ".join(f"{key}={_plain(one)}" for key, one in value.items())
    return str(value)


def has_colours(out: TextIO) -> bool:
    """Whether colours are wanted: on a terminal, unless NO_COLOR is set (https://no-color.org)."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str) -> str:
    """Text in one of the styles."""
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if STYLES[style] and text else text


def _width(out: TextIO) -> int:
    return shutil.get_terminal_size().columns if out.isatty() else 0


def note(text: str) -> None:
    """Say something beside the output, in as many lines as it has."""
    print(plain(text), file=sys.stderr, flush=True)
