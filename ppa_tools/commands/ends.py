"""How commands end: the exit statuses, which error has which, and what is said of it."""

from __future__ import annotations

import enum

from ppa_tools.archives.door import DoorError, NoRights, NotThere, Uncertain, Unreachable


class Exit(enum.IntEnum):
    """What a command's end says to whoever gave it; the words are those of help, man pages and reference."""

    DONE = 0
    IN_PART = 1
    USAGE = 2
    PENDING = 3
    GUARDED = 4
    NO_RIGHTS = 5
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EXIT_WORDS = {
    Exit.DONE: "done, or there was nothing to do",
    Exit.IN_PART: "failed, or done only in part: what is missing, and why, has been said",
    Exit.USAGE: "wrong usage: an option, an archive or a name that is not there; nothing was done",
    Exit.PENDING: "changes are pending, after --dry-run; or something was found, after --exit-code",
    Exit.GUARDED: "a guard stopped the plan; nothing was done",
    Exit.NO_RIGHTS: "no credentials, or they may not do this",
    Exit.INTERRUPTED: "interrupted with Ctrl-C",
}


class CommandError(Exception):
    """A command cannot go on: ``status`` is its end, ``resolution`` what to do."""

    def __init__(self, message: str, *, resolution: str = "", status: Exit = Exit.IN_PART) -> None:
        super().__init__(message)
        self.resolution = resolution
        self.status = status

    def __str__(self) -> str:
        said = super().__str__()
        return f"{said}\n  {self.resolution}" if self.resolution else said


def usage_error(message: str, resolution: str = "") -> CommandError:
    """What was asked for cannot be: the words are wrong."""
    return CommandError(message, resolution=resolution, status=Exit.USAGE)


def judged(error: DoorError) -> tuple[Exit, str]:
    """The exit status that an archive's error has, and what is said of it; it ends in what to do."""
    if isinstance(error, NoRights):
        return Exit.NO_RIGHTS, _with_advice(
            error, "Log in, or ask the owner of the archive for the rights; then give the same command again."
        )
    if isinstance(error, NotThere):
        return Exit.USAGE, str(error)
    if isinstance(error, Uncertain):
        return Exit.IN_PART, _with_advice(error, "Give the same command again: it looks first what was taken.")
    if isinstance(error, Unreachable):
        return Exit.IN_PART, _with_advice(error, "Give the same command again later: it goes on where it stopped.")
    return Exit.IN_PART, str(error)


def _with_advice(error: DoorError, advice: str) -> str:
    return str(error) if error.resolution else f"{error}\n  {advice}"
