"""Push hooks: what is put into a repository so that a commit there reaches the farm in a moment.

A bare git repository gets ``post-receive``. One with a working tree gets ``reference-transaction``, which sees
commits, merges, rebases and pushes alike where ``post-commit`` and ``post-merge`` miss some. A Bazaar branch gets
options in its branch.conf, and the user a breezy plugin that obeys them: Bazaar runs hooks in the process of
whoever writes the branch, never from the branch.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import UsageError
from buildfarm.files import write_atomically
from buildfarm.process import clean_environment, run

MARK = "# buildfarm push hook"
PLUGIN_NAME = "buildfarm_notify"
GIT_LIMIT_S = 30.0
# -I: neither the repository's directory nor PYTHON variables decide what the hook imports.
COMMAND = (sys.executable, "-I", "-m", "buildfarm")


@dataclass(frozen=True)
class Notice:
    """What a hook sends: to which farm, for which location as recipes name it, for which recipe ("" for any)."""

    url: str
    location: str = ""
    recipe: str = ""

    def words(self, location: str) -> list[str]:
        """The notice as arguments of ``buildfarm notify``; ``location`` where the notice names none."""
        fields = (("--url", self.url), ("--location", self.location or location), ("--recipe", self.recipe))
        return [f"{flag}={value}" for flag, value in fields if value]


def install_hook(repository: Path, notice: Notice) -> str:
    """Install or renew the hook; returns what was done, for people.

    Raises UsageError for what is no repository, and where a hook stands that is not ours.
    """
    return _install_in_bzr(repository, notice) if is_bzr(repository) else _install_in_git(repository, notice)


def remove_hook(repository: Path) -> str:
    """Take the hook away again, if it is ours; returns what was done, for people."""
    if is_bzr(repository):
        from buildfarm.trunk import breezy_room

        breezy_room.configure(repository, dict.fromkeys(_options(Notice(""), ""), ""))
        return f"{repository} no longer tells the farm of its revisions"
    hook = _git_hook(repository)[0]
    if not _is_ours(hook):
        raise UsageError(f"{repository} has no hook of the farm", where=str(hook))
    hook.unlink()
    return f"{hook} is removed"


def is_bzr(repository: Path) -> bool:
    """Whether a directory holds a Bazaar branch or repository."""
    return (repository / ".bzr").is_dir()


def git_hook_script(kind: str, words: list[str]) -> str:
    """The hook's text: for every branch that moved a notice in the background; it never fails and never waits."""
    command = shlex.join([*COMMAND, "notify", *words])
    only = '[ "$1" = committed ] || exit 0\n' if kind == "reference-transaction" else ""
    return f"""#!/bin/sh
{MARK}; `buildfarm hook remove` takes it away.
{only}while read -r old new ref; do
    case $ref in refs/heads/*) ;; *) continue ;; esac
    case $new in *[!0]*) ;; *) continue ;; esac
    {command} --branch="${{ref#refs/heads/}}" </dev/null >/dev/null 2>&1 &
done
exit 0
"""


def _install_in_git(repository: Path, notice: Notice) -> str:
    hook, location = _git_hook(repository)
    if (hook.exists() or hook.is_symlink()) and not _is_ours(hook):
        line = shlex.join([*COMMAND, "notify", *notice.words(location)])
        raise UsageError(
            "the repository has a hook of its own, which is left as it is",
            where=str(hook),
            resolution=f"Add this line to it:\n    {line} </dev/null >/dev/null 2>&1 &",
        )
    script = git_hook_script(hook.name, notice.words(location))
    write_atomically(hook, script.encode("utf-8", "surrogateescape"), mode=0o755)
    return f"{hook} tells {notice.url} of every push to {notice.location or location}"


def _git_hook(repository: Path) -> tuple[Path, str]:
    """The hook's file, and the repository's location as recipes name it."""
    words = (
        "rev-parse",
        "--path-format=absolute",
        "--is-bare-repository",
        "--git-common-dir",
        "--git-path",
        "hooks",
    )
    # The user's configuration counts here (core.hooksPath); the owner may be another one.
    asked = run(
        ["git", "-c", "safe.directory=*", "-C", repository.absolute(), *words],
        timeout_s=GIT_LIMIT_S,
        env=clean_environment(os.environ.get("HOME", "/nonexistent")),
    )
    if not asked.ok:
        raise UsageError(f"{repository} is neither a git repository nor a Bazaar branch", details=asked.tail(3))
    bare, common, hooks = os.fsdecode(asked.output).splitlines()
    own = Path(common).resolve()
    directory = Path(hooks).resolve()
    if not directory.is_relative_to(own if bare == "true" else own.parent):
        raise UsageError(
            f"the repository takes its hooks from {directory} (core.hooksPath)",
            where=str(repository),
            resolution="A hook there would speak for other repositories, too. Unset core.hooksPath for this one.",
        )
    location = own if bare == "true" or own.name != ".git" else own.parent
    return directory / ("post-receive" if bare == "true" else "reference-transaction"), str(location)


def _is_ours(hook: Path) -> bool:
    try:
        return not hook.is_symlink() and MARK in hook.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return False


def _install_in_bzr(branch: Path, notice: Notice) -> str:
    # Asked before breezy_room is imported: that one looks away from the user's configuration.
    from breezy.bedding import config_dir

    plugin = Path(config_dir()) / "plugins" / PLUGIN_NAME
    from buildfarm.trunk import breezy_room

    location = str(breezy_room.configure(branch, {}))
    breezy_room.configure(branch, _options(notice, location))
    source = Path(__file__).with_name("breezy_plugin") / "__init__.py"
    write_atomically(plugin / "__init__.py", source.read_bytes())
    write_atomically(plugin / "command.json", json.dumps(COMMAND).encode())
    return (
        f"{branch} tells {notice.url} of every new revision of {notice.location or location},\n"
        f"for all who write it with the plugin {plugin}.\n"
        "Others who write the branch (a smart server's user, say) run the same command once themselves."
    )


def _options(notice: Notice, location: str) -> dict[str, str]:
    """The options in branch.conf that the breezy plugin reads."""
    return {
        "buildfarm_notify": notice.url,
        "buildfarm_location": notice.location or location,
        "buildfarm_recipe": notice.recipe,
    }
