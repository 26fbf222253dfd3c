"""A line of a log without what differs from build to build and from package to package."""

from __future__ import annotations

import re

WORDS_LIMIT = 300

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_QUOTES = str.maketrans({"‘": "'", "’": "'", "`": "'", "“": '"', "”": '"'})
_BUILD_DIRECTORY = re.compile(
    r"(?:/?<<\w+>>|/build/(?:reproducible-path|tree|(?=[^/\s]+-\w{6}/)[^/\s]+))(?:/[\w.+~]+-\d[\w.+~-]*(?![\w.+~-]))?/?"
)
_TEMPORARY = re.compile(
    r"(?:/var)?/(?:tmp|dev/shm)/[^\s:'\",;)]*|\btmp[.\w]*[0-9_][\w.]*\b|\bcc[A-Za-z0-9]{6}\.[os]\b"
)
_ABSOLUTE = re.compile(r"(?<![\w.>])(?:/[\w.+@%~=-]+)+/")
_PLACE = re.compile(r"(?<![\w/])(?:[\w.+@-]+/)*[\w+@-]+\.\w{1,5}:\d+(?::\d+)*:?|\b(?:at )?line \d+\b|\(line \d+\)")
_TIME = re.compile(
    r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?(?:Z|[+-]\d\d:?\d\d)?\b|\b\d\d?:\d\d:\d\d(?:\.\d+)?\b"
    r"|\b\d+(?:\.\d+)? ?(?:ms|us|ns|s|secs?|seconds?|minutes?)\b"
)
_HEX = re.compile(r"\b0x[0-9a-fA-F]+\b|\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{7,}(?:-[0-9a-f]{4,}){0,4}\b")
# What a library is called by the linker is no version of a package: libfoo.so.7 stays.
_NUMBER = re.compile(r"(?P<soname>\S+\.so(?:\.\d+)+)|\b[vV]?\d+(?:\.\d+)+(?:[.+~-]\w+)*|\b\d+\b")
# By default an error in one compiler's eyes, by a flag in another's: the option that tells of it is the same.
_WARNING = re.compile(r"\[-Werror=([\w+-]+)=?\]")
_PACKAGE = r"(?<![A-Za-z0-9]){}(?![A-Za-z0-9])"


def normalise(text: str, package: str = "") -> str:
    """``text`` without paths, places in files, temporary names, times, addresses, versions, numbers, ``package``.

    What a relative path names stays (``frob/frob.h: No such file``); of an absolute one its last part does.
    """
    text = _ANSI.sub("", text).translate(_QUOTES)
    text = "".join(char if char.isprintable() else " " for char in text)
    text = _WARNING.sub(r"[-W\1]", text)
    text = _TIME.sub("TIME", text)
    text = _BUILD_DIRECTORY.sub("", text)
    text = _TEMPORARY.sub("TMP", text)
    text = _PLACE.sub("", text)
    text = _ABSOLUTE.sub("", text)
    if len(package) > 2:
        text = re.sub(_PACKAGE.format(re.escape(package)), "PACKAGE", text, flags=re.IGNORECASE)
    text = _HEX.sub("HEX", text)
    text = _NUMBER.sub(lambda match: match["soname"] or "N", text)
    return " ".join(text.split()).strip(" :;,.")[:WORDS_LIMIT]
