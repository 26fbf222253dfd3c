"""Sides and publications for tables of rules, in a line each."""

from __future__ import annotations

from collections.abc import Mapping

from ppa_tools.address import parse_address
from ppa_tools.plan.actions import Action, Plan
from ppa_tools.publication import Publication, SeriesFacts, Side, Status

SERIES = {name: SeriesFacts(name, ("amd64", "arm64")) for name in ("jammy", "noble")}
SERIES["lucid"] = SeriesFacts("lucid", obsolete=True)


def pub(text: str, series: str = "noble", status: Status = Status.PUBLISHED, **more: float) -> Publication:
    """``hello=1.0``: its key is ``hello=1.0@noble``; a word more makes another key of it: ``hello=1.0 again``."""
    name, _, version = text.partition(" ")[0].partition("=")
    return Publication(f"{text}@{series}", name, version, series, status, **more)


def side(
    name: str,
    *publications: str | Publication,
    private: bool = False,
    series: Mapping[str, SeriesFacts] = SERIES,
) -> Side:
    rows = tuple(pub(one) if isinstance(one, str) else one for one in publications)
    return Side(parse_address(name), private, series, rows)


def lines(plan: Plan) -> list[str]:
    """A plan in short words."""
    return [line(action) for action in plan.actions]


def line(action: Action) -> str:
    words = [str(action.kind), f"{action.source}={action.version}", action.to_series]
    if action.replaces:
        words.append(f"over {action.replaces}")
    return " ".join(words) + (f": {action.reason}" if action.reason else "")
