"""What lines tell of errors: of which rank and kind each is, and what of it is noise.

A line's **rank** says how much it tells of the cause: it names one (a compiler's error, a missing header), it
speaks of some error, it may (``not found``), or it only repeats that something below it failed (make's
``*** [x] Error 2``).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field


class Rank(enum.IntEnum):
    """How much a line says of the cause."""

    CAUSE = 0
    ERROR = 1
    MAYBE = 2
    ECHO = 3


@dataclass(frozen=True)
class Rule:
    """Lines that match ``expression`` are of this kind; its group ``message`` is what they say.

    ``words``: only a line with one of them can match, which is told much faster.
    """

    kind: str
    words: tuple[str, ...]
    expression: str
    rank: Rank = Rank.CAUSE
    general: bool = True
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", re.compile(self.expression))


_TOOLS = r"(?:[\w-]+-)?(?:gcc|g\+\+|cc|c\+\+|clang|clang\+\+|cc1|cc1plus|as|gfortran|rustc|javac)(?:-\d+)?"
_WHERE = r"(?:\{standard input\}|[^\s:][^:]*?)(?::\d+)+"

MAKE_WORDS = ("make[", "make: ")
_SIGNALS = ("Segmentation fault", "Aborted", "Killed", "Bus error", "Illegal instruction")
_LD = r"\bld(?:\.\w+)?: "
_MAKE_SAYS = r"^g?make(?:\[\d+\])?: "
_ERROR_IN = r"(?:fatal |internal compiler )?[Ee]rror(?:\[\w+\])?: "

NOISE = re.compile(
    r"^\s*checking |conftest|^configure:\d+:|\(ignored\)$|^\s*(?:ok|PASS(?:ED)?|XFAIL|SKIP)\b|^\[ +OK \]"
    r"|\b(?:no|0|zero|without) (?:errors?|failures?)\b|\b(?:errors?|failures?)(?:: *|=)(?:0|none)\s*(?:[,.;)]|$)"
    r"|^\s*(?:\S*/)?" + _TOOLS + r"\s|^libtool: |^\s*\[ *\d+%\]|^\s*(?:@?echo|printf|if|for|test|cd|rm|sed|grep) "
    r"|^[^:]+:\d+(?::\d+)?: (?:warning|note): |^\s+\d* *\| |^I: |^W: |^FAILED: ",
)
NOISE_EXCEPT = re.compile(r"^dh_\w+: warning: |^dpkg-\w+: warning: some ")
ECHO = re.compile(
    r"^g?make(?:\[\d+\])?: \*\*\* (?:\[|Waiting|Deleting|wait)"
    r"|^dh_\w+: error: (?:.* returned exit code|[Ff]ailing due to earlier|Aborting due to|missing files, aborting)"
    r"|^dpkg-buildpackage: error"
    r"|^E: (?:Build failure|pybuild .*(?:exit code|failed with)|Package installation failed|Caught signal)"
    r"|^collect2: error|^ninja: build stopped|^FAIL\t"
    r"|^error: (?:aborting due to|could not compile|test failed|command .* failed|\d+ targets? failed)"
    r"|^\S+: (?:all|some) warnings being treated as errors|^compilation terminated|^Errors while running CTest"
    r"|^npm ERR!|^scons: |^\*\*\* \d+ failures? (?:is|are) detected|^debuild: |^subprocess\.CalledProcessError"
)

RULES: tuple[Rule, ...] = (
    Rule(
        "missing module",
        ("No module named",),
        r"(?:ModuleNotFoundError|ImportError): (?P<message>No module named .+)",
    ),
    Rule("missing module", ("Can't locate",), r"(?P<message>Can't locate \S+) in @INC"),
    Rule("missing module", ("Cannot find module",), r"Error: (?P<message>Cannot find module '[^']+')"),
    Rule("syntax", ("Error: ",), r"^(?:E +)?(?P<message>(?:SyntaxError|IndentationError): .+)", general=False),
    Rule("missing library", ("loading shared",), r"error while loading shared libraries: (?P<message>.+)"),
    Rule(
        "missing library",
        ("shared object",),
        r"ImportError: (?P<message>\S+\.so[.\d]*: cannot open shared object.*)",
    ),
    Rule("missing symbol", ("symbol",), r"(?P<message>symbol lookup error: .+|undefined symbol: \S+)"),
    Rule("missing program", ("Exec format",), r"(?P<message>Exec format error)"),
    Rule(
        "missing program",
        MAKE_WORDS,
        rf"{_MAKE_SAYS}(?P<message>\S+: (?:No such file or directory|Command not found))$",
    ),
    Rule("link", ("undefined reference",), r"(?P<message>undefined reference to .+)"),
    Rule("link", ("multiple definition",), r"(?P<message>multiple definition of [^;]+)"),
    Rule("link", ("cannot find",), rf"{_LD}(?P<message>cannot find \S+)"),
    Rule("link", ("ld",), rf"{_LD}(?:error: )?(?P<message>.*(?:relocation|DSO missing|undefined symbol).*)"),
    Rule("configure", ("configure: error",), r"^configure: error: (?P<message>.+)"),
    Rule("configure", ("CMake Error",), r"^CMake Error(?: at (?P<where>\S+)| in \S+)?(?P<message>.*)"),
    Rule("configure", ("meson.build",), r"^\S*meson\.build:\d+:\d+: ERROR: (?P<message>.+)"),
    Rule("compile", ("rror",), rf"^(?:{_WHERE}|{_TOOLS}): {_ERROR_IN}(?P<message>.+)"),
    Rule("compile", ("{standard",), r"^\{standard input\}: (?:Fatal )?[Ee]rror: (?P<message>.+)"),
    Rule("compile", ("error[",), r"^(?P<message>error\[E\d+\]: .+)"),
    Rule("compile", ("error: ",), r"^error: (?P<message>.+)", Rank.ERROR),
    Rule("compile", (".go:",), r"^(?:\./)?[\w./-]+\.go:\d+:\d+: (?P<message>.+)"),
    Rule("make", ("No rule to",), rf"{_MAKE_SAYS}\*\*\* (?P<message>No rule to make target .+)", general=False),
    Rule(
        "make", ("Stop.",), rf"(?:{_MAKE_SAYS})?(?:^|\S+:\d+: )\*\*\* (?P<message>.+?)\.  Stop\.$", general=False
    ),
    Rule("packaging", ("dh: error",), r"^dh: error: (?P<message>.+)"),
    Rule(
        "packaging",
        ("dh_missing",),
        r"^dh_missing: (?:warning|error): (?P<message>\S+ exists in .+)",
        general=False,
    ),
    Rule("packaging", ("dh_",), r"^dh_\w+: warning: (?P<message>Cannot find .+)", general=False),
    Rule(
        "packaging", ("gensymbols",), r"^dpkg-(?P<message>gensymbols: (?:error|warning): some .*)", general=False
    ),
    Rule("packaging", ("dh_",), r"^dh_\w+: error: (?P<message>.+)", general=False),
    Rule("packaging", ("dpkg-",), r"^(?P<message>dpkg-(?!buildpackage)\w+: (?:error|failure): .+)"),
    Rule("shell", ("yntax error",), r"^\S+: (?:line )?\d+: (?P<message>[Ss]yntax error.+)", general=False),
    Rule("error", ("E: ",), r"^E: (?P<message>.+)", Rank.ERROR, general=False),
    Rule(
        "error",
        ("ERROR", "Error"),
        r"^(?:\W+|\w+ )?(?:[Ff]atal )?(?:ERROR|Error):? (?P<message>.+)",
        Rank.ERROR,
        False,
    ),
    Rule("exception", ("Error: ", "Exception: "), r"^(?P<message>[\w.]*(?:Error|Exception): .+)", Rank.ERROR),
    Rule("crash", ("panic: ",), r"^(?P<message>panic: .+)", Rank.ERROR, general=False),
    Rule(
        "crash",
        ("panicked at", "terminate called"),
        r"(?P<message>panicked at .+|terminate called .+)",
        Rank.ERROR,
        False,
    ),
    Rule("error", ("error",), r"(?:^|[\s:])(?:fatal )?error(?:: | )(?P<message>.+)", Rank.ERROR, general=False),
    Rule("failed test", ("FAIL",), r"^(?P<message>FAIL(?:ED|URE)?\b.*|.*\bFAIL: .*)", Rank.ERROR, general=False),
    Rule(
        "signal", tuple(_SIGNALS), rf"(?:^|: |\d )(?P<message>{'|'.join(_SIGNALS)})\b", Rank.ERROR, general=False
    ),
    Rule("missing program", ("not found",), r"(?P<message>\S+: (?:command )?not found)$", Rank.MAYBE),
    Rule("missing file", ("No such file",), r"(?P<message>\S+: No such file or directory)", Rank.MAYBE),
    Rule(
        "missing file",
        ("cannot find ", "Permission"),
        r"(?P<message>cannot find .+|Permission denied)",
        Rank.MAYBE,
    ),
    Rule("memory", ("Cannot allocate",), r"(?P<message>Cannot allocate memory)", Rank.MAYBE, general=False),
)
BY_WORD = tuple((word, rule) for rule in RULES for word in rule.words)
EXPLAINS_TESTS = frozenset({"syntax", "missing module", "missing library", "missing symbol"})
