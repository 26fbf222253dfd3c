"""Text of strangers without what a terminal would do instead of show."""

from __future__ import annotations

import re

_SEQUENCES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # with text: OSC, DCS and others
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # with numbers: CSI
    r"|\x1b[ -/]*[0-~]"
)
_CONTROL = re.compile(  # what moves a cursor, turns text around or is not seen, and what UTF-8 does not have
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    r"\ufff9-\ufffb\U000e0000-\U000e0fff]"
)


def plain(text: str) -> str:
    """Text without escape sequences, and with spaces for control characters but tabs and newlines."""
    if text.isprintable():
        return text
    return _CONTROL.sub(" ", _SEQUENCES.sub("", text))


def plain_line(text: str) -> str:
    """Text as ``plain``, on one line."""
    return plain(text).replace("\n", " ").replace("\t", " ")
