"""What pydantic found wrong, told in the recipe's words: the place, what stands there, what would be right."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from buildfarm.recipe.problem import Place, Problem, nearest, problem_at, suggest
from buildfarm.recipe.yaml_tree import Node

Location = tuple[str | int, ...]

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "model_type": "a mapping (key: value)",
    "mapping_type": "a mapping (key: value)",
    "dict_type": "a mapping (key: value)",
}


def explain(error: ValidationError, tree: Node, model: type[BaseModel], *, partial: bool = False) -> list[Problem]:
    """The problems of a tree that ``model`` refused; with ``partial`` missing keys are none."""
    found = error.errors(include_url=False)
    return [
        _explain_one(one, tree, model)
        for one in found
        if not (partial and one["type"] == "missing") and not _is_aftermath(one, found)
    ]


def _is_aftermath(error: ErrorDetails, found: Sequence[ErrorDetails]) -> bool:
    """Items that are refused leave their list too short: that is no mistake of its own."""
    size = len(error["loc"])
    return error["type"] == "too_short" and any(
        len(other["loc"]) > size and other["loc"][:size] == error["loc"] for other in found
    )


def _explain_one(error: ErrorDetails, tree: Node, model: type[BaseModel]) -> Problem:
    kind, context = error["type"], error.get("ctx", {})
    location: Location = (*error["loc"], *context.get("at", ()))
    if location and location[-1] == "[key]":
        return problem_at(_key_place(tree, location[:-1]), f"{_told(error)}", context.get("hint", ""))
    name = _dotted(location)
    if kind == "missing":
        return _explain_missing(tree, location, name, _example(model, location))
    if kind == "extra_forbidden":
        return problem_at(_key_place(tree, location), f"unknown key {name!r}", _known(model, location))
    node = find(tree, location)
    if kind == "rule":
        return problem_at(_shifted(node, context["offset"]), f"{name}: {_told(error)}", context["hint"])
    if kind == "literal_error":
        choices = _choices(_field(model, location))
        hint = suggest(str(node.value), choices, "values") if choices else _told(error)
        return problem_at(node.place, f"{name} is {describe(node)}", hint)
    if kind in _WANTED:
        message = f"{name}: {_WANTED[kind]} is wanted, not {describe(node)}"
        return problem_at(node.place, message, _type_hint(kind, node, model, location))
    return problem_at(node.place, f"{name} is {describe(node)}: {_told(error)}", _example(model, location))


def _told(error: ErrorDetails) -> str:
    return error["msg"][:1].lower() + error["msg"][1:]


def _dotted(location: Sequence[str | int]) -> str:
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".") or "the recipe"


def find(tree: Node, location: Location) -> Node:
    """The node at a location, or the nearest above it that exists."""
    for step in location:
        if isinstance(step, str) and step in tree.entries:
            tree = tree.entries[step]
        elif isinstance(step, int) and step < len(tree.items):
            tree = tree.items[step]
        else:
            break
    return tree


def _key_place(tree: Node, location: Location) -> Place:
    return find(tree, location[:-1]).keys.get(str(location[-1]), find(tree, location).place)


def _explain_missing(tree: Node, location: Location, name: str, hint: str) -> Problem:
    """A missing key belongs to its mapping's key; to the recipe itself when a template began the mapping."""
    file, owner = tree.place.file, location[:-1]
    if not owner:
        return problem_at(Place(file), f"{name} is missing", hint)
    place = find(tree, owner).place if isinstance(owner[-1], int) else _key_place(tree, owner)
    if place.file != file:
        hint = f"The template at {place} leaves it to the recipe. {hint}"
        place = Place(file)
    return problem_at(place, f"{name} is missing", hint)


def _shifted(node: Node, offset: int) -> Place:
    """The place of a character of a bare scalar; quoted texts and blocks are placed at their beginning."""
    return replace(node.place, column=node.place.column + offset) if node.bare else node.place


def describe(node: Node) -> str:
    """A value in words."""
    value = node.value
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, tuple):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the truth value {node.text}"
    if isinstance(value, str):
        return f"the text {_short(value)!r}"
    return f"the number {_short(node.text)}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _type_hint(kind: str, node: Node, model: type[BaseModel], location: Location) -> str:
    scalar = not isinstance(node.value, tuple | Mapping) and node.value is not None
    if kind == "string_type" and scalar:
        return f"Write it in quotes: {json.dumps(node.text)}"
    if kind == "tuple_type" and scalar:
        return f"Write a list: [{_short(node.text)}]"
    if kind in ("int_type", "float_type") and isinstance(node.value, str):
        try:
            float(node.value)
        except ValueError:
            return _example(model, location)
        return f"Write it without quotes: {node.value}"
    return _example(model, location)


def _example(model: type[BaseModel], location: Location) -> str:
    """How the key at a location is written: its example, and what it means."""
    field = _field(model, location)
    if field is None:
        return "See the reference of recipes."
    key = next((step for step in reversed(location) if isinstance(step, str)), "")
    meaning = " ".join((field.description or "").split())
    if not field.examples:
        return meaning
    return f"For example '{key}: {_flow(field.examples[0])}'. {meaning}"


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and "{" in value:
        return json.dumps(value)
    return str(value)


def _known(model: type[BaseModel], location: Location) -> str:
    """The hint for an unknown key: the nearest known one here, or the section it belongs to."""
    key = str(location[-1])
    owner = _model_at(model, location[:-1])
    here = list(owner.model_fields) if owner is not None else []
    if not nearest(key, here):
        elsewhere = [path for path in dotted_keys(model) if path.rpartition(".")[2] == key]
        if elsewhere:
            return f"It is written as {' or '.join(elsewhere)}. {suggest('', here, 'keys here')}"
    return suggest(key, here, "keys here")


def _choices(field: FieldInfo | None) -> list[str]:
    annotation = field.annotation if field is not None else None
    return list(typing.get_args(annotation)) if typing.get_origin(annotation) is typing.Literal else []


def _field(model: type[BaseModel], location: Location) -> FieldInfo | None:
    """The field a location lies in: the last step that names one."""
    found = None
    here: type[BaseModel] | None = model
    for step in location:
        if isinstance(step, int):
            continue
        if here is None or step not in here.model_fields:
            break
        found = here.model_fields[step]
        here = _model_in(found.annotation)
    return found


def _model_at(model: type[BaseModel], location: Location) -> type[BaseModel] | None:
    if not any(isinstance(step, str) for step in location):
        return model
    field = _field(model, location)
    return _model_in(field.annotation) if field is not None else None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is, has as an option, or has as its items."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (types.UnionType, typing.Union, tuple):
        models = (_model_in(argument) for argument in typing.get_args(annotation))
        return next((found for found in models if found is not None), None)
    return None


def dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of a model, dotted, sections and what is in them; not the keys of list items."""
    for name, field in model.model_fields.items():
        yield prefix + name
        inner = _model_in(field.annotation)
        if inner is not None and typing.get_origin(field.annotation) is not tuple:
            yield from dotted_keys(inner, f"{prefix}{name}.")
