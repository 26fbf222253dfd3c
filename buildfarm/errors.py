"""The two kinds of trouble the farm tells apart, each with what happened, where, and what to do."""

from __future__ import annotations


class FarmError(Exception):
    """Trouble a person can act on.

    ``brief`` is one sentence: what happened. ``where`` places it (``file:line:column``, package, stage).
    ``details`` is evidence (a tool's last lines). ``resolution`` says what to do next.
    """

    def __init__(self, brief: str, *, where: str = "", details: str = "", resolution: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.where = where
        self.details = details
        self.resolution = resolution

    def __str__(self) -> str:
        head = f"{self.where}: {self.brief}" if self.where else self.brief
        return "\n".join(part for part in (head, self.details, self.resolution) if part)


class PackageFault(FarmError):
    """The package is at fault: the stage's verdict is ``fail`` and nobody tries again."""


class FarmTrouble(FarmError):
    """The farm's own trouble: the verdict is ``error``, tried again and never blamed on the package."""


class UsageError(FarmError):
    """A person gave input that cannot be used: a clear message and exit status 2."""
