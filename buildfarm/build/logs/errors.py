"""Which line of a log is its first error: the true cause, not what repeats it and not what was survived.

Errors, ranked by ``rules``, count for the **step** they stand in (dh's ``dh_auto_build``, ...): a step that was
left behind was survived, so only the last one's are kept.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field, replace

from buildfarm.build.logs.lines import Line
from buildfarm.build.logs.rules import BY_WORD, ECHO, NOISE, NOISE_EXCEPT, Rank

MAX_FIRST = 60
MAX_RECENT = 60
MAX_EXTRA = 40
# How far above make's first complaint the output of what failed begins, in lines: of a compiler or a whole build,
# and of tests, which like to print errors that they provoked.
BUILD_WINDOW = 1000
TEST_WINDOW = 80
TRACEBACK_LINES = 200
DIFF_LINES = 400
MAX_DUMPS = 100


@dataclass(frozen=True)
class Found:
    """A telling line: of which kind, what it says without the place, the line itself.

    ``general``: the same words in another package mean the same cause.
    """

    line_number: int
    text: str
    rank: Rank
    kind: str
    message: str
    general: bool = True
    line: Line | None = None


_MAKE = re.compile(r"^g?make(?:\[\d+\])?: \*\*\* \[(?:[^\]]*: )?(?P<target>[^\]:]+)\] (?P<how>.+)$")
_FORGIVEN = re.compile(r"^g?make(?:\[\d+\])?: \[.*\] .*\(ignored\)$")
_STEP = re.compile(r"^(?:   (?P<dh>dh_\w+|debian/rules \w+)| (?P<target>debian/rules [\w-]+|dpkg-\w+ [\w -]*))")
_BOX = re.compile(r"^\| (?P<name>\S.*?) +\|$")
_DUMP = re.compile(r"^==> \S.* <==$")
_SYMBOLS = re.compile(r"^dpkg-gensymbols: (?:error|warning): some ")
_SYMBOL = re.compile(r"^(?P<symbol>(?:\+#MISSING|\+ |- )[^@]*@\S+)")
_TRACEBACK = re.compile(r"^(?P<indent>[ E]*)Traceback \(most recent call last\):")


@dataclass
class Step:
    """A step of the build: its name, the line it began with, and what was found in it."""

    name: str
    line_number: int
    first: list[Found] = field(default_factory=list)
    recent: deque[Found] = field(default_factory=lambda: deque(maxlen=MAX_RECENT))
    echoes: list[Found] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    dump_line: int = 0

    @property
    def tests(self) -> bool:
        """Whether the step runs tests."""
        return "test" in self.name or "check" in self.name

    def add(self, found: Found) -> None:
        """Keep the first findings of a step and the last ones."""
        if found.rank is not Rank.ECHO:
            (self.first if len(self.first) < MAX_FIRST else self.recent).append(found)
        elif len(self.echoes) < MAX_FIRST:
            self.echoes.append(found)
        else:
            self.echoes[-1] = found

    def found(self, rank: Rank) -> list[Found]:
        """What was found of a rank, in the log's order."""
        return self.echoes if rank is Rank.ECHO else [f for f in (*self.first, *self.recent) if f.rank is rank]


class ErrorReader:
    """Finds the first error; see the module."""

    needles = (
        b"rror:",
        b"rror ",
        b"rror[",
        b"ERROR",
        b"\nE: ",
        b"*** ",
        b"Traceback (most recent",
        b"Exception: ",
        b"undefined reference",
        b"undefined symbol",
        b"multiple definition",
        b"cannot find ",
        b"Cannot find ",
        b"Cannot allocate",
        b"Permission denied",
        b"not found\n",
        b"No such file or directory",
        b"Can't locate ",
        b"Segmentation fault",
        b"Aborted",
        b"Killed",
        b"Bus error",
        b"Illegal instruction",
        b"Exec format error",
        b"relocation ",
        b"DSO missing",
        b"panicked at",
        b"\npanic: ",
        b"\nterminate called",
        b".go:",
        b"FAIL",
        b"dh_missing: ",
        b"dpkg-gensymbols: ",
        b"failure: ",
        b"\n   dh_",
        b"\n   debian/rules ",
        b"\n debian/rules ",
        b"\n dpkg-",
        b"\n| ",
        b"\nninja: build stopped",
        b"\n==> ",
    )

    def __init__(self) -> None:
        self.step = Step("", 0)
        self.traceback: str | None = None
        self.diff_until = 0
        self.dumps: list[tuple[int, int]] = []

    def read(self, line: Line) -> int:
        """Take a telling line, or one after the beginning of a traceback."""
        text = line.text
        if match := _BOX.match(text):
            if match["name"] in SECTIONS:  # sbuild's own: errors of one that was left were survived
                self.step = Step(match["name"], line.number)
        elif match := _STEP.match(text):
            self.step = Step(match["dh"] or match["target"], line.number)
            self.traceback = None
        elif _DUMP.match(text):
            self.step.dump_line = self.step.dump_line or line.number
            self.traceback = None
        elif self.step.dump_line:
            self._read_in_dump(line)
        elif self.traceback is not None:
            return self._read_traceback(line)
        elif match := _TRACEBACK.match(text):
            self.traceback = match["indent"]
            return TRACEBACK_LINES
        elif _SYMBOLS.match(text):
            self.diff_until = line.number + DIFF_LINES
            self._judge(line)
            return DIFF_LINES
        elif line.number <= self.diff_until and (match := _SYMBOL.match(text)):
            if len(self.step.extra) < MAX_EXTRA:
                self.step.extra.append(match["symbol"])
        else:
            self._judge(line)
        return 0

    def _read_in_dump(self, line: Line) -> None:
        """debhelper shows the log files of what failed: all in them is told already, or was survived."""
        if ECHO.match(line.text) and line.text.startswith(("dh", "make", "gmake", "dpkg-buildpackage")):
            if line.text.startswith("dh"):
                self.dumps.append((self.step.dump_line, line.number))
                self.dumps = self.dumps[-MAX_DUMPS:]
            self._echo(line)

    def _read_traceback(self, line: Line) -> int:
        """The first line that is not indented any more is the exception."""
        indent = self.traceback or ""
        rest = line.text.removeprefix(indent)
        if not rest.startswith(" ") and rest.strip():
            self.traceback = None
            if re.match(r"[\w.]+(?::|$)", rest) and not self._known(line):
                self._add(line, Rank.CAUSE, "exception", rest, general=True)
        return 0

    def _known(self, line: Line) -> bool:
        for word, rule in BY_WORD:
            if rule.rank is Rank.CAUSE and word in line.text and (match := rule.pattern.search(line.text)):
                self._add(line, rule.rank, rule.kind, match["message"], rule.general)
                return True
        return False

    def _judge(self, line: Line) -> None:
        text = line.text
        if ECHO.match(text):
            self._echo(line)
        elif _FORGIVEN.match(text):
            self.step = Step(self.step.name, line.number)
        elif not NOISE.search(text) or NOISE_EXCEPT.match(text):
            for word, rule in BY_WORD:
                if word in text and (match := rule.pattern.search(text)):
                    self._add(line, rule.rank, rule.kind, match["message"], rule.general)
                    break

    def _echo(self, line: Line) -> None:
        """``Error 127`` is the shell's word for a program that is missing: then the line that may say so does."""
        if line.text.endswith(" Error 127") and (maybes := self.step.found(Rank.MAYBE)):
            last = maybes[-1]
            if last.kind == "missing program" and line.number - last.line_number < BUILD_WINDOW:
                self.step.add(_as_cause(last))
        match = _MAKE.match(line.text)
        message = f"{match['target']} {match['how']}" if match else line.text
        self._add(line, Rank.ECHO, "failed command", message, general=False)

    def _add(self, line: Line, rank: Rank, kind: str, message: str, general: bool) -> None:
        self.step.add(Found(line.number, line.text.strip(), rank, kind, message.strip(), general, line.pinned()))

    def causes(self) -> tuple[Found, ...]:
        """The lines that may be the cause, the likeliest first: the rest of its rank follow in the log's order."""
        step = self.step
        window = TEST_WINDOW if step.tests else BUILD_WINDOW
        anchor = step.dump_line or _chain_start(step.echoes)
        for ranks in ((Rank.CAUSE, Rank.ERROR), (Rank.MAYBE,), (Rank.ECHO,)):
            found = _order([f for rank in ranks for f in step.found(rank)], anchor, window, step.tests)
            if found:
                return found
        return ()


SECTIONS = frozenset(
    (
        "Build",
        "Build environment",
        "Check architectures",
        "Chroot Setup Commands",
        "Fetch source files",
        "Install package build dependencies",
        "Post Build",
        "Update chroot",
    )
)


def _as_cause(found: Found) -> Found:
    return replace(found, rank=Rank.CAUSE)


def _chain_start(echoes: list[Found]) -> int:
    """The first of the last complaints that follow each other: those before were survived, or another job's."""
    start = 0  # none: all is near
    for before, after in zip([None, *echoes], echoes, strict=False):
        if before is None or after.line_number - before.line_number > TEST_WINDOW:
            start = after.line_number
    return start


def _order(found: list[Found], anchor: int, window: int, tests: bool) -> tuple[Found, ...]:
    """Those above the anchor and near it, a cause before a mere error; where there are none, the last one above.

    Among tests' mere errors the nearest is the likeliest: those before were provoked.
    """
    found = sorted(found, key=lambda f: f.line_number)
    above = [f for f in found if f.line_number <= anchor] if anchor else found
    near = [f for f in above if f.line_number >= anchor - window] or above[-1:] or found
    turn = -1 if tests else 1
    return tuple(sorted(near, key=lambda f: (f.rank, f.line_number * (turn if f.rank is Rank.ERROR else 1))))
