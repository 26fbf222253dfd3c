"""A request as the rooms of the double see it, its answer, and how parameters are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

TEXT, JSON, HTML, WADL = "text/plain", "application/json", "text/html", "application/vnd.sun.wadl+xml"


@dataclass
class Request:
    """One request.

    ``path`` has no slash at its begin and is still quoted; ``number`` counts requests; the names of ``headers``
    are in title case.
    """

    number: int
    method: str
    path: str
    query: dict[str, list[str]]
    form: dict[str, list[str]]
    headers: dict[str, str]
    who: str = ""
    may_change: bool = False

    @property
    def parameters(self) -> dict[str, list[str]]:
        return self.form if self.method == "POST" else self.query

    @property
    def operation(self) -> str:
        return (self.parameters.get("ws.op") or [""])[0]

    @property
    def flat_query(self) -> dict[str, str]:
        return {name: values[0] for name, values in self.query.items()}


@dataclass
class Answer:
    """What is sent back."""

    status: int = 200
    body: bytes = b""
    type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


class Stop(Exception):
    """The request ends here, with an answer that says why."""

    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.answer = Answer(status, text.encode(), TEXT, headers)


def split_target(target: str) -> tuple[str, dict[str, list[str]]]:
    """Path and query of a request line."""
    parts = urlsplit(target)
    return parts.path.lstrip("/"), parse_qs(parts.query, keep_blank_values=True)


def as_json(value: object) -> Answer:
    return Answer(body=json.dumps(value).encode())


class Parameters:
    """Parameters as lazr.restful reads them: JSON where it is JSON, else the plain text.

    So an unquoted version ``1.10`` is the number 1.1, and becomes the text "1.1".
    """

    def __init__(self, raw: Mapping[str, list[str]]) -> None:
        self._raw = raw

    def text(self, name: str, *, required: bool = False) -> str | None:
        value = self._value(name)
        if value is None:
            if required:
                raise Stop(400, f"{name}: Required input is missing.")
            return None
        return str(value)

    def needed(self, name: str) -> str:
        value = self.text(name, required=True)
        assert value is not None
        return value

    def flag(self, name: str, *, otherwise: bool = False) -> bool:
        value = self._value(name)
        if value is not None and not isinstance(value, bool):
            raise Stop(400, f"{name}: got '{type(value).__name__}', expected bool: {value!r}")
        return otherwise if value is None else bool(value)

    def texts(self, name: str) -> list[Any]:
        """A list: in JSON, or as the parameter said several times."""
        raw = self._raw.get(name)
        if not raw:
            raise Stop(400, f"{name}: Required input is missing.")
        if len(raw) > 1:
            return [_decode(one) for one in raw]
        value = _decode(raw[0])
        return value if isinstance(value, list) else [value]

    def _value(self, name: str) -> Any:
        raw = self._raw.get(name)
        return _decode(raw[0]) if raw else None


def _decode(text: str) -> Any:
    if text == "":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
