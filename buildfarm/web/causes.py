"""A cause's page: every package and night that it hit, and what people know of it."""

from __future__ import annotations

import re

from buildfarm.regress.model import Subject
from buildfarm.web.addresses import Links
from buildfarm.web.answers import Answer, NotFound
from buildfarm.web.lookups import CAUSE_ROWS, Hit, Reading
from buildfarm.web.rendering import page

FINGERPRINT = re.compile(r"[0-9A-Za-z._:-]{1,80}")
PACKAGES_SHOWN = 300


def cause_page(reading: Reading, links: Links, fingerprint: str) -> Answer:
    """The page; raises NotFound."""
    label = reading.labels().get(fingerprint)
    hits = reading.hits_of_cause(fingerprint) if FINGERPRINT.fullmatch(fingerprint) else ()
    if not hits and label is None:
        raise NotFound(
            f"No failure of the cause {fingerprint[:40]!r} is on record.",
            "A cause's name stands on the page of each build that failed of it.",
        )
    packages: dict[Subject, list[Hit]] = {}
    for one in hits:
        packages.setdefault(one.subject, []).append(one)
    newest = next((one.build for one in hits if one.build), None)
    build = reading.build(newest) if newest is not None else None
    nights = sorted({one.night for one in hits})
    return page(
        "cause.html",
        links,
        fingerprint=fingerprint,
        label=label,
        build=build,
        packages=sorted(packages.items(), key=lambda item: (-item[1][0].night, str(item[0])))[:PACKAGES_SHOWN],
        count_packages=len(packages),
        nights=nights,
        is_cut=len(hits) == CAUSE_ROWS or len(packages) > PACKAGES_SHOWN,
        begun={one.number: one.started_at for one in (reading.night(nights[0]), reading.night(nights[-1])) if one}
        if nights
        else {},
    )
