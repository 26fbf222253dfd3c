"""OpenLDAP's own runner: ``>>>>> test000-rootdse failed for mdb after 2 seconds``."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.suites.base import LineSuite, Result


class OpenLdap(LineSuite):
    """A run is all scripts for all backends; a test's name has its backend in it."""

    kind = "OpenLDAP"
    needles: ClassVar[tuple[bytes, ...]] = (b">>>>> ",)
    results = re.compile(
        r"^>>>>> +(?P<name>\S+) +(?P<result>completed \S*OK\S*|failed)(?: for (?P<backend>[\w+-]+))?"
        r"|^>>>>> +(?P<skipped>[Ss]kipp(?:ed|ing)) "
    )
    words: ClassVar[dict[str, Result]] = {"failed": "failed"}
