"""YAML text to a tree of values that know their place, within limits, running no tag and expanding no bomb."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

from buildfarm.recipe.problem import Place, Problem, RecipeFault, fault_at, problem_at

SIZE_LIMIT_BYTES = 1024 * 1024
DEPTH_LIMIT = 32
VALUES_LIMIT = 10_000

Kind = Literal["recipe", "template", "matrix"]
Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Node:
    """One YAML value: a scalar, a tuple of nodes, or a mapping of text to nodes.

    ``keys`` places a mapping's keys. ``text`` is a scalar's text; ``bare`` says that it stands without quotes
    on one line, as it is. ``indent`` is the number of columns before the content of a literal block (``|``),
    None for every other style. ``kind`` says what sort of place the value was given in.
    """

    value: Scalar | tuple[Node, ...] | Mapping[str, Node]
    place: Place
    kind: Kind = "recipe"
    keys: Mapping[str, Place] = field(default_factory=dict)
    text: str = ""
    bare: bool = False
    indent: int | None = None

    @property
    def entries(self) -> Mapping[str, Node]:
        """The mapping's values; nothing for any other value."""
        return self.value if isinstance(self.value, Mapping) else {}

    @property
    def items(self) -> tuple[Node, ...]:
        """The list's items; nothing for any other value."""
        return self.value if isinstance(self.value, tuple) else ()

    def with_entry(self, key: str, value: Node, place: Place | None = None) -> Node:
        """This mapping with one entry set."""
        return replace(
            self,
            value={**self.entries, key: value},
            keys={**self.keys, key: place or self.keys.get(key, value.place)},
        )

    def without(self, *keys: str) -> Node:
        """This mapping with some entries left out."""
        return replace(self, value={key: value for key, value in self.entries.items() if key not in keys})

    def at(self, *path: str) -> Node | None:
        """The value at a path of keys, or None."""
        node: Node | None = self
        for key in path:
            node = node.entries.get(key) if node is not None else None
        return node

    def plain(self) -> Any:
        """The value as plain Python: lists are tuples, so that a frozen model takes them as they are."""
        if isinstance(self.value, tuple):
            return tuple(item.plain() for item in self.value)
        if isinstance(self.value, Mapping):
            return {key: value.plain() for key, value in self.value.items()}
        return self.value


def read_tree(file: Path, kind: Kind = "recipe") -> Node:
    """The tree of a YAML file; raises RecipeFault for whatever is wrong with the file."""
    start = Place(file)
    try:
        # A pipe or a device named like a recipe would never end.
        if file.exists() and not file.is_file():
            raise fault_at(start, "this is no regular file", "Remove it, or put a recipe there.")
        with file.open("rb") as stream:
            content = stream.read(SIZE_LIMIT_BYTES + 1)
    except OSError as error:
        raise fault_at(start, f"cannot be read: {error.strerror}", "Make the file readable.") from error
    if len(content) > SIZE_LIMIT_BYTES:
        raise fault_at(start, "the file is larger than 1 MiB", "A recipe is a page of text; is this one?")
    return parse_tree(_decode(content, file), file, kind)


def parse_tree(text: str, file: Path, kind: Kind = "recipe") -> Node:
    """The tree of YAML text; raises RecipeFault for syntax errors, duplicate keys and what exceeds the limits."""
    reader = _Reader(file, text, kind)
    try:
        tree = reader.read()
    except ReaderError as error:
        raise fault_at(
            _place_of_offset(text, error.position, file),
            f"the character {text[error.position]!r} is not allowed in YAML",
            "Remove it, or write it as an escape in a quoted text.",
        ) from error
    except MarkedYAMLError as error:
        raise RecipeFault(_syntax_problem(error, file)) from error
    except (YAMLError, ValueError, OverflowError) as error:
        raise fault_at(reader.last_place, f"not valid YAML: {error}", "YAML 1.2 is wanted.") from error
    if reader.problems:
        raise RecipeFault(*reader.problems)
    return tree


def _decode(content: bytes, file: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        raise fault_at(
            _place_of_offset(before, len(before), file),
            f"the byte 0x{content[error.start]:02x} is not UTF-8",
            "Save the file as UTF-8.",
        ) from error


def _place_of_offset(text: str, offset: int, file: Path) -> Place:
    before = text[:offset]
    return Place(file, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def _syntax_problem(error: MarkedYAMLError, file: Path) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = Place(file, mark.line + 1, mark.column + 1) if mark is not None else Place(file)
    told = " ".join(str(part).strip() for part in (error.context, error.problem) if part)
    return problem_at(place, f"not valid YAML: {told}", _syntax_hint(str(error.problem)))


def _syntax_hint(problem: str) -> str:
    if "\\t" in problem:
        return "Indent with spaces; YAML does not take tabs."
    if "mapping values are not allowed" in problem:
        return "A text with ': ' in it stands in quotes; and keys of one mapping begin in the same column."
    if "could not find expected ':'" in problem:
        return "Write 'key: value', with a space after the colon."
    if "block end" in problem:
        return "Keys of one mapping, and dashes of one list, begin in the same column."
    if "cannot start any token" in problem:
        return "A text that begins with this character stands in quotes."
    return "Look at this line and the one before: indentation, quotes, brackets."


class _Reader:
    """Builds the tree from the parser's events; depth and number of values are counted on the way."""

    def __init__(self, file: Path, text: str, kind: Kind) -> None:
        self.problems: list[Problem] = []
        self.last_place = Place(file)
        self._file = file
        self._text = text
        self._lines = re.split(r"\r\n|[\r\n\u0085\u2028\u2029]", text)
        self._kind: Kind = kind
        self._anchors: dict[str, Node | None] = {}
        self._sizes: dict[str, int] = {}
        self._count = 0

    def read(self) -> Node:
        self._events: Iterator[Event] = iter(YAML(typ="safe", pure=True).parse(self._text))
        tree: Node | None = None
        for event in self._events:
            if isinstance(event, DocumentStartEvent) and tree is not None:
                raise fault_at(self._place(event), "a second document begins", "One file holds one recipe.")
            if isinstance(event, ScalarEvent | SequenceStartEvent | MappingStartEvent | AliasEvent):
                tree = self._node(event, 0)
            if isinstance(event, StreamEndEvent):
                break
        return tree if tree is not None else Node(None, Place(self._file), self._kind)

    def _place(self, event: Event) -> Place:
        mark = event.start_mark
        self.last_place = Place(self._file, mark.line + 1, mark.column + 1)
        return self.last_place

    def _node(self, event: Event, depth: int) -> Node:
        place = self._place(event)
        if isinstance(event, AliasEvent):
            return self._alias(event, place)
        if not isinstance(event, ScalarEvent | SequenceStartEvent | MappingStartEvent):
            raise fault_at(place, "a value is wanted here", "Look at the brackets and the indentation.")
        self._take(1, place)
        if depth > DEPTH_LIMIT:
            raise fault_at(
                place, f"nested deeper than {DEPTH_LIMIT} levels", "A recipe needs four levels at most."
            )
        if event.tag is not None:
            raise fault_at(
                place, f"the tag {event.tag} is not allowed here", "Write the plain value, without a tag."
            )
        anchor = event.anchor
        before = self._count
        if anchor is not None:
            self._anchors[anchor] = None
        node = self._value(event, place, depth)
        if anchor is not None:
            self._anchors[anchor] = node
            self._sizes[anchor] = self._count - before + 1
        return node

    def _take(self, values: int, place: Place) -> None:
        self._count += values
        if self._count > VALUES_LIMIT:
            raise fault_at(
                place,
                f"more than {VALUES_LIMIT} values, aliases expanded",
                "A recipe needs a few dozen; share values by a template (extends:), not by aliases.",
            )

    def _alias(self, event: AliasEvent, place: Place) -> Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            inside = event.anchor in self._anchors
            message = "contains itself" if inside else "is not defined before this line"
            raise fault_at(
                place,
                f"the alias *{event.anchor} {message}",
                "Write the value in full; a text that begins with * stands in quotes.",
            )
        self._take(self._sizes[event.anchor], place)
        return node

    def _value(self, event: Event, place: Place, depth: int) -> Node:
        if isinstance(event, ScalarEvent):
            plain = event.style is None and event.implicit[0]
            value = plain_scalar(event.value) if plain else event.value
            bare = plain and event.start_mark.line == event.end_mark.line
            return Node(value, place, self._kind, text=event.value, bare=bare, indent=self._indent(event))
        if isinstance(event, SequenceStartEvent):
            items = []
            while not isinstance(item := next(self._events), SequenceEndEvent):
                items.append(self._node(item, depth + 1))
            return Node(tuple(items), place, self._kind)
        entries: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        while not isinstance(item := next(self._events), MappingEndEvent):
            key, key_place = self._key(item)
            value_node = self._node(next(self._events), depth + 1)
            if value_node.bare and not value_node.text:  # an empty value stands nowhere: show its key
                value_node = replace(value_node, place=key_place)
            if key in entries:
                self.problems.append(
                    problem_at(
                        key_place,
                        f"the key {key!r} appears twice",
                        f"It is first given on line {keys[key].line}; keep one of the two.",
                    )
                )
                continue
            entries[key], keys[key] = value_node, key_place
        return Node(entries, place, self._kind, keys)

    def _key(self, event: Event) -> tuple[str, Place]:
        place = self._place(event)
        self._take(1, place)
        if not isinstance(event, ScalarEvent) or event.tag is not None:
            raise fault_at(place, "a key must be plain text", "Write 'key: value'.")
        if event.value == "<<" and event.style is None:
            raise fault_at(place, "merge keys (<<) are not taken", "Share values by a template: 'extends: NAME'.")
        return event.value, place

    def _indent(self, event: ScalarEvent) -> int | None:
        if event.style != "|":
            return None
        for number, content in enumerate(event.value.split("\n")):
            line = event.start_mark.line + 1 + number
            if content and line < len(self._lines):
                return len(self._lines[line]) - len(content)
        return None


_INTEGER = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: Mapping[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


def plain_scalar(text: str) -> Scalar:
    """The value of an unquoted scalar by YAML 1.2's core schema: yes, no, on and off are text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    return float(text) if _NUMBER.fullmatch(text) else text
