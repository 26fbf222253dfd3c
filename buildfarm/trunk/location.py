"""Where a branch is: which locations are accepted, which are local, where their mirrors go."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.job import Branch
from buildfarm.process import clean_environment

SCHEMES = {
    "git": ("file", "git", "http", "https", "ssh"),
    "bzr": ("file", "bzr", "bzr+ssh", "http", "https", "lp", "sftp"),
}
LOCK_POLL_S = 0.05
# What the farm's user may need to reach a trunk. Nothing else of our environment reaches the tools.
REACHING_VARIABLES = (
    "SSH_AUTH_SOCK",
    *(name for pair in ("http_proxy", "https_proxy", "no_proxy", "all_proxy") for name in (pair, pair.upper())),
)
# What git-check-ref-format(1) forbids, and a leading dash.
_BAD_BRANCH = re.compile(r"[\x00-\x20~^:?*\[\\\x7f]|\.\.|@\{|//|/\.|\.lock(/|$)|^[-./]|[./]$")


def check_branch(branch: Branch) -> Branch:
    """The branch itself; raises PackageFault for a location or a name that no tool may be given."""
    location = branch.location
    scheme = scheme_of(location)
    wrong = ""
    if not location or location.startswith("-") or not location.isprintable():
        wrong = "it is empty, begins with a dash or holds unprintable characters"
    elif "::" in location.split("/", 1)[0]:
        wrong = "remote helpers (NAME::...) run programs"
    elif scheme and scheme not in SCHEMES[branch.vcs]:
        wrong = f"{scheme} is none of {', '.join(SCHEMES[branch.vcs])}"
    elif redact(location) != location:
        raise PackageFault(
            "the trunk's location holds a password or a token",
            where=redact(location),
            resolution="Take it out of the recipe and put it into ~/.netrc of the user that runs the farm.",
        )
    elif branch.branch and _BAD_BRANCH.search(branch.branch):
        wrong = f"{branch.branch!r} is no branch name"
    if wrong:
        raise PackageFault(
            f"the trunk's location cannot be used: {wrong}",
            where=redact(location),
            resolution="Correct the location in the recipe: a path or a URL that the farm can read.",
        )
    return branch


def scheme_of(location: str) -> str:
    """The URL scheme, in lower case; "" for a path and for git's ``host:path``."""
    if location.startswith("lp:"):
        return "lp"
    head, separator, _ = location.partition("://")
    return head.lower() if separator else ""


def local_path(location: str) -> Path | None:
    """The path that a location means on this machine, or None when it is elsewhere."""
    scheme = scheme_of(location)
    if scheme == "file":
        return Path(unquote(location.partition("://")[2].removeprefix("localhost")))
    # As git has it: a colon before the first slash makes it host:path.
    return None if scheme or ":" in location.split("/", 1)[0] else Path(location)


def redact(location: str) -> str:
    """The location, or a text with locations in it, without passwords.

    Over HTTP a name alone is one too: forges take a token in its place.
    """
    hidden = re.sub(r"(?i)\b(https?://)[^/\n]*@", r"\1***@", location)
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", hidden)


def mirror_path(cache: Path, branch: Branch, suffix: str) -> Path:
    """Where the copy of a branch's repository is kept."""
    key = branch.location if branch.vcs == "git" else f"{branch.location} {branch.branch}"
    return cache / "trunks" / (hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:24] + suffix)


def reaching_environment(**extra: str) -> dict[str, str]:
    """The environment for a tool that goes to a trunk: a home with keys and ~/.netrc, an agent, proxies."""
    kept = {name: os.environ[name] for name in REACHING_VARIABLES if name in os.environ}
    return clean_environment(os.environ.get("HOME", "/nonexistent"), **kept, **extra)


@contextlib.contextmanager
def locked(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold the lock file ``path``; raises FarmTrouble when another process keeps it longer than ``timeout_s``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise FarmTrouble(
                        f"the mirror is in use for more than {timeout_s:.0f} s",
                        where=str(path),
                        resolution="Another process is still bringing this trunk's content; it is tried again.",
                    ) from None
                time.sleep(LOCK_POLL_S)
        yield
