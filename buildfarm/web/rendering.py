"""Pages from templates: everything is escaped, and what is no character is left out."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from buildfarm.regress.report_forms import seconds_words, tests_words
from buildfarm.web import words
from buildfarm.web.addresses import Links
from buildfarm.web.answers import PAGE_POLICY, Answer, NotFound

HERE = Path(__file__).parent
TEMPLATES, STATIC = HERE / "templates", HERE / "static"


@cache
def environment() -> Environment:
    """The templates and what they may call."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"clock": words.clock, "took": seconds_words, "size": words.size, "tests": tests_words}
    made.filters |= {"utc": _utc, "web": _web}
    made.globals |= {
        "mark": words.mark_of,
        "count": words.count,
        "kinds": words.KINDS,
        "outcomes": words.OUTCOMES,
        "zone": words.zone,
    }
    return made


def page(template: str, links: Links, *, status: int = 200, **values: Any) -> Answer:
    """A page of a template."""
    text = environment().get_template(template).render(links=links, **values)
    return Answer(text.encode("utf-8", "replace"), status=status, headers={"Content-Security-Policy": PAGE_POLICY})


def refusal(trouble: NotFound, links: Links, status: int = 404) -> Answer:
    """A page that says that there is none, and what to do."""
    return page("refusal.html", links, status=status, brief=trouble.brief, advice=trouble.advice)


def _finalize(value: Any) -> Any:
    return words.clean(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _web(address: str) -> str:
    """An address that may be followed, or "": no other scheme than the web's is ever a link."""
    return address if address.startswith(("http://", "https://")) else ""
