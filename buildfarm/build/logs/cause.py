"""The cause of a failure in words that are the same in every build and every package it breaks, and their hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from buildfarm.build.logs.judging import Judgement
from buildfarm.build.logs.normalise import normalise
from buildfarm.build.logs.reading import FirstError, LogReading
from buildfarm.build.logs.signs import is_sure

MAX_NAMES = 50
SHOWN_NAMES = 5

_DEPENDENCY = re.compile(r"^(?P<name>[^\s:(]+)(?::\S+)?(?: \((?P<relation>[^)]*)\))? but (?P<state>.*)$")


@dataclass(frozen=True)
class Cause:
    """A cause: ``fingerprint`` (16 hex digits; "" is none) is equal where it is the same, ``words`` say it."""

    fingerprint: str = ""
    words: str = ""


def find_cause(reading: LogReading, judgement: Judgement) -> Cause:
    """Name the cause of what ``judge`` said.

    The rule: the words are the kind of the first error and what it says, normalised (``normalise``: no paths, no
    places in files, versions, times, numbers, addresses, nor the package's own name). The fingerprint is the first
    16 hex digits of their SHA-256.

    - Words that name something outside the package (a compiler's error, a missing header, module, library or
      program, an undefined symbol, a configure script's demand) are **general**: the same words in twenty packages
      are one cause.
    - All else (failing tests, a crash, a file that dh_install misses, an error of no known kind) means something
      only within its package, so its name is part of the words.
    - Of failing tests the set of their names is the cause, in no order, at most ``MAX_NAMES`` of them.
    - Of unmet dependencies it is the set of their names, each with whether it is missing or too old.
    - Of the farm's own trouble it is the stage and the first sign, whichever package it hit.
    - A build that passed has none.
    """
    if judgement.outcome == "pass":
        return Cause()
    if judgement.outcome == "dependency-wait":
        return _cause("unmet", _unmet(text for text in reading.unmet if is_sure(text)))
    if judgement.outcome == "error":
        return _cause("infrastructure", _trouble(reading, judgement))
    package = reading.package
    if reading.stalled_minutes:
        return _cause("silence", f"{package}: said nothing in {reading.step or 'the build'} and was stopped")
    first = reading.first_error
    if first is None:
        return _cause("unknown", f"{package}: failed in {reading.step or judgement.stage} without an error")
    if first.kind == "tests":
        return name_tests(package, reading.failing_tests)
    words = _words(first, package)
    return _cause(first.kind, words if first.general and words else f"{package}: {words or reading.step}")


def _cause(kind: str, words: str) -> Cause:
    text = f"{kind}: {words}"
    return Cause(hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16], text)


def _words(first: FirstError, package: str) -> str:
    message = first.message
    if first.text.startswith("CMake Error"):
        after = [text.strip() for number, text in first.context if number > first.line_number and text.strip()]
        message = " ".join((message, *after[:2]))
        if "required package" in message:  # which one, pkg-config says above
            message += "".join(
                text for number, text in first.context if number < first.line_number and "not found" in text
            )
    extra = "; ".join(first.extra)
    return normalise(f"{message} {extra}" if extra else message, package)


def name_tests(package: str, names: tuple[str, ...]) -> Cause:
    """The cause that these failing tests of a package are."""
    known = sorted({normalise_name(name) for name in names})[:MAX_NAMES]
    cause = _cause("tests", f"{package}: {'; '.join(known)}")
    more = f" and {len(known) - SHOWN_NAMES} more" if len(known) > SHOWN_NAMES else ""
    return Cause(cause.fingerprint, f"tests of {package}: {', '.join(known[:SHOWN_NAMES])}{more}")


def normalise_name(name: str) -> str:
    """A test's name without what a build adds: directories of its own, temporary names, addresses."""
    name = re.sub(r"/?<<\w+>>/|(?:/var)?/tmp/[^\s:'\",;)]*|/build/[^/\s]+/(?:[^/\s]+-\d[^/\s]*/)?", "", name)
    return re.sub(r"\b0x[0-9a-f]+\b", "HEX", name).strip()


def _unmet(texts: Iterable[str]) -> str:
    names = set()
    for text in texts:
        match = _DEPENDENCY.match(text)
        if match is None:
            names.add(normalise(text))
            continue
        missing = "not installable" in match["state"] or "virtual" in match["state"]
        names.add(f"{match['name']} {'is missing' if missing else 'is of another version'}")
    return "; ".join(sorted(names))


def _trouble(reading: LogReading, judgement: Judgement) -> str:
    if reading.machine:
        return _machine_class(reading.machine[0])
    if judgement.reason.startswith("the mirror failed"):
        return "the mirror failed"
    if reading.unmet and "build-dependencies" in judgement.reason:
        return f"cannot install {_names(reading.unmet)}"
    return normalise(judgement.reason)


def _names(unmet: tuple[str, ...]) -> str:
    return ", ".join(sorted({text.split()[0].partition(":")[0] for text in unmet}))


def _machine_class(sign: str) -> str:
    for words in ("No space left on device", "signal terminated program", "self-detected stall"):
        if words in sign:
            return words
    return normalise(sign)
