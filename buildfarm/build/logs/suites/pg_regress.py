"""PostgreSQL's pg_regress: ``test foo ... FAILED  12 ms``; since version 16 ``not ok 12 + foo  12 ms``."""

from __future__ import annotations

import re
from typing import ClassVar

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.suites.base import Suite

_OLD = re.compile(r"^(?:test| {4}) ?(?P<name>\S+)(?P<pad> +)\.\.\. (?P<result>ok|FAILED|failed)(?P<rest>.*)$")
_NEW = re.compile(r"^(?P<not>not )?ok \d+ +[-+] (?P<name>\S+) +\d+ ms$")
_END = re.compile(r"^(?:# )?(?: ?All (?P<all>\d+) tests passed| ?(?P<failed>\d+) of (?P<of>\d+) tests failed)")


class PgRegress(Suite):
    """``(ignored)`` after a failure makes it none. A run ends with its sentence of counts."""

    kind = "pg_regress"
    runs_others = True
    needles: ClassVar[tuple[bytes, ...]] = (
        b" ... ok",
        b" ... FAILED",
        b" ... failed",
        b"\nok ",
        b"\nnot ok ",
        b" tests passed",
        b" tests failed",
    )

    def read(self, line: Line) -> int:
        """Take a test's line, or the last."""
        if match := _NEW.match(line.text):
            run = self.open(line)
            run.count("failed" if match["not"] else "passed")
            if match["not"]:
                run.fail(match["name"], line)
        elif match := _OLD.match(line.text):
            # Rust's harness writes `test name ... ok` with one blank and no time
            if len(match["pad"]) == 1 and " ms" not in match["rest"] and self.run is None:
                return 0
            run = self.open(line)
            bad = match["result"] != "ok" and "(ignored)" not in match["rest"]
            run.count("failed" if bad else "passed")
            if bad:
                run.fail(match["name"], line)
        elif self.run is not None and _END.match(line.text):
            self.open(line)
            self.close()
        return 0
