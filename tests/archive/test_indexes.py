"""Indexes are cut by their content: what was written step by step is what would be written at once."""

from __future__ import annotations

import random
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppa_tools.archives import blocks
from ppa_tools.archives.compression import FORMS

NAMES = [f"package-{number}" for number in range(3000)]
CUTS = [name for name in NAMES if blocks.begins_block(name)]

# Names that begin blocks are few: they are drawn as often as all others together.
changes = st.lists(
    st.tuples(st.one_of(st.sampled_from(CUTS), st.sampled_from(NAMES)), st.integers(0, 2)), max_size=30
)


def at_once(held: dict[str, int]) -> list[blocks.Text]:
    return list(blocks.cut(stanzas(held, blocks.Span(0, 0, "", None))))


def stanzas(held: dict[str, int], span: blocks.Span) -> list[tuple[str, str]]:
    """As the history gives them; a name has as many stanzas as ``held`` says."""
    inside = [n for n in sorted(held) if span.first <= n and (span.before is None or n < span.before)]
    return [(name, f"Package: {name}\nVersion: {n}\n") for name in inside for n in range(held[name])]


def change(table: tuple[blocks.Text, ...], held: dict[str, int], names: set[str]) -> tuple[blocks.Text, ...]:
    spans = blocks.touched(table, names)
    rendered = [(span, list(blocks.cut(stanzas(held, span)))) for span in spans]
    return blocks.splice(table, rendered, lambda: blocks.Text("", b""))


def test_the_names_that_begin_blocks_are_one_in_128_or_so() -> None:
    assert 12 < len(CUTS) < 40


@given(st.sets(st.sampled_from(NAMES), max_size=400), st.lists(changes, max_size=6))
def test_an_index_changed_step_by_step_is_the_index_rendered_at_once(
    start: set[str], steps: list[list[tuple[str, int]]]
) -> None:
    held = dict.fromkeys(start, 1)
    table = change((), held, set())
    for step in steps:
        held.update(step)
        table = change(table, held, {name for name, _ in step})
        assert list(table) == (at_once(held) or [blocks.Text("", b"")])


@given(changes, st.randoms(use_true_random=False))
def test_the_bytes_do_not_depend_on_the_order_in_which_packages_came(
    step: list[tuple[str, int]], shuffled: random.Random
) -> None:
    final = dict(step)
    tables = []
    for _ in range(2):
        order = list(final.items())
        shuffled.shuffle(order)
        held: dict[str, int] = {}
        table = change((), held, set())
        for name, count in order:
            held[name] = count
            table = change(table, held, {name})
        tables.append(table)
    assert tables[0] == tables[1]


def test_a_change_to_one_name_touches_two_blocks_at_most() -> None:
    table = change((), dict.fromkeys(NAMES, 1), set())
    for name in NAMES[::7] + CUTS:
        spans = blocks.touched(table, {name})
        assert len(spans) == 1
        assert spans[0].stop - spans[0].start <= 2


@pytest.mark.parametrize(
    ("form", "unpack"),
    [
        ("", ["cat"]),
        ("gz", ["gzip", "-dc"]),
        ("xz", ["xz", "-dc", "--single-stream"]),
        ("zst", ["zstd", "-dc"]),
    ],
)
@given(pieces=st.lists(st.binary(max_size=5000), min_size=1, max_size=5))
@settings(max_examples=20, deadline=None)
def test_the_tools_read_what_was_compressed_piece_by_piece(
    form: str, unpack: list[str], pieces: list[bytes]
) -> None:
    compression = FORMS[form]
    whole = b"".join(compression.join([compression.compress(piece) for piece in pieces]))
    done = subprocess.run(unpack, input=whole, capture_output=True, check=True)
    assert done.stdout == b"".join(pieces)
