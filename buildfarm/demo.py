"""The demonstration's trunks: made from the samples, committed to as their authors would, in git and in Bazaar."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import FarmTrouble
from buildfarm.files import remove_tree, write_atomically
from buildfarm.process import clean_environment
from buildfarm.settings import SETTINGS_FILE, Settings

AUTHOR = "Demo Author <author@example.org>"
PREFERRED_PORTS = {"web": 8010, "archive": 8011, "workers": 9989}


@dataclass(frozen=True)
class DemoTrunk:
    """One trunk: its recipe and sample, where it is, and where its author works."""

    name: str
    vcs: str
    location: Path
    work: Path


@dataclass(frozen=True)
class Mistake:
    """An edit that breaks the sample: ``old`` becomes ``new`` in a file; a file that is not there yet is made."""

    summary: str
    file: str
    old: str
    new: str


# Mistakes in hello-farm: one that its unit test finds, and one that nothing finds before it is installed.
WRONG_GREETING = Mistake("Greet differently", "hello_farm/__init__.py", '"Hello, {name}!"', '"Hullo, {name}!"')
BROKEN_POSTINST = Mistake(
    "Tell the init system",
    "debian/postinst",
    "",
    "#!/bin/sh\nset -e\n#DEBHELPER#\nsystemctl start hello-farm.service  # which there is none of\n",
)


def demo_trunks(home: Path) -> tuple[DemoTrunk, DemoTrunk]:
    """The two trunks."""
    return (
        DemoTrunk(
            "hello-farm",
            "git",
            home / "trunks" / "hello-farm.git",
            home / "work" / "hello-farm",
        ),
        DemoTrunk(
            "motd-bazaar",
            "bzr",
            home / "trunks" / "motd-bazaar",
            home / "trunks" / "motd-bazaar",
        ),
    )


def write_settings(settings: Settings) -> None:
    """Give the demonstration's farm settings of its own, once: its recipes, and ports that are free here."""
    path = settings.home / SETTINGS_FILE
    if path.exists():
        return
    lines = [f'recipes = "{settings.home / "recipes"}"', "", "[farm]", 'name = "Demo Farm"']
    for table, port in PREFERRED_PORTS.items():
        lines += ["", f"[{table}]", f"port = {free_port(port)}"]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def free_port(preferred: int) -> int:
    """``preferred``, or another port of the loopback when somebody has that one."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            number: int = probe.getsockname()[1]
            return number
    raise FarmTrouble("no port is free on the loopback")


def write_recipes(settings: Settings, samples: Path) -> None:
    """Copy the samples' recipes, and the templates they extend, to the demonstration."""
    target = settings.home / "recipes"
    target.mkdir(parents=True, exist_ok=True)
    for recipe in (samples / "recipes").glob("*.yaml"):
        write_atomically(target / recipe.name, recipe.read_bytes())
    shutil.copytree(settings.root / "recipes" / "templates", target / "templates", dirs_exist_ok=True)


def make_trunk(trunk: DemoTrunk, tools: Author) -> bool:
    """Make an empty trunk with a push hook, and its author's working copy; False when it is there."""
    if trunk.location.exists():
        return False
    trunk.location.parent.mkdir(parents=True, exist_ok=True)
    trunk.work.parent.mkdir(parents=True, exist_ok=True)
    if trunk.vcs == "git":
        tools.call("git", "init", "--quiet", "--bare", "--initial-branch=main", str(trunk.location))
        remove_tree(trunk.work)
        tools.call("git", "clone", "--quiet", str(trunk.location), str(trunk.work))
        tools.call("git", "checkout", "--quiet", "-B", "main", cwd=trunk.work)
    else:
        tools.call(tools.brz, "init", "--quiet", str(trunk.location))
    tools.call(sys.executable, "-m", "buildfarm", "hook", "install", str(trunk.location))
    return True


def commit(
    trunk: DemoTrunk, sample: Path, summary: str, news: str, tools: Author, mistake: Mistake | None = None
) -> str:
    """Commit the sample's content, a line of news and perhaps a mistake, and push; returns the revision."""
    news_file = trunk.work / "NEWS"
    earlier = news_file.read_text(encoding="utf-8") if news_file.exists() else ""
    for path in trunk.work.iterdir():  # an earlier mistake may have made files
        if path.name not in (".git", ".bzr"):
            remove_tree(path)
    shutil.copytree(sample, trunk.work, dirs_exist_ok=True)
    write_atomically(news_file, (news + "\n" + earlier).encode())
    if mistake is not None:
        file = trunk.work / mistake.file
        text = file.read_text(encoding="utf-8") if mistake.old else ""
        if mistake.old not in text:
            raise FarmTrouble(f"{mistake.file} of the sample has no {mistake.old!r} to break")
        mode = file.stat().st_mode & 0o777 if file.exists() else 0o644
        write_atomically(
            file, (text.replace(mistake.old, mistake.new) if mistake.old else mistake.new).encode(), mode=mode
        )
    if trunk.vcs == "git":
        tools.call("git", "add", "--all", cwd=trunk.work)
        tools.call("git", "commit", "--quiet", f"--message={summary}", cwd=trunk.work)
        tools.call("git", "push", "--quiet", "origin", "main", cwd=trunk.work)
        return tools.call("git", "rev-parse", "HEAD", cwd=trunk.work).strip()
    tools.call(tools.brz, "add", "--quiet", cwd=trunk.work)
    tools.call(tools.brz, "commit", "--quiet", f"--message={summary}", cwd=trunk.work)
    return tools.call(tools.brz, "revision-info", cwd=trunk.work).split()[1]


@dataclass(frozen=True)
class Author:
    """The person who commits: their own home, so that nobody's configuration is read or changed."""

    home: Path
    environment: dict[str, str]

    @property
    def brz(self) -> str:
        """Breezy's command, beside our Python."""
        return str(Path(sys.executable).parent / "brz")

    def call(self, *argv: str, cwd: Path | None = None) -> str:
        """Run a command as the author; raises FarmTrouble when it fails.

        What it leaves running lives on, as in a terminal: a push hook tells the farm in the background.
        """
        done = subprocess.run(
            argv,
            cwd=cwd or self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            raise FarmTrouble(f"{' '.join(argv)} exited {done.returncode}", details=done.stdout + done.stderr)
        return done.stdout


def make_author(settings: Settings) -> Author:
    """The demonstration's author."""
    home = settings.home / "author"
    home.mkdir(parents=True, exist_ok=True)
    name, _, mail = AUTHOR.partition(" <")
    write_atomically(
        home / ".gitconfig",
        f"[user]\n\tname = {name}\n\temail = {mail.rstrip('>')}\n[safe]\n\tdirectory = *\n".encode(),
    )
    environment = clean_environment(
        home, BRZ_EMAIL=AUTHOR, BUILDFARM_HOME=str(settings.home), BUILDFARM_ROOT=str(settings.root)
    )
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    return Author(home, environment)
