"""``buildfarm demo``: from a commit to an installed package, before your eyes."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildfarm.errors import FarmTrouble

if TYPE_CHECKING:
    from buildfarm.demo import Mistake

COMMIT_SEEN_LIMIT_S = 60.0
RUN_LIMIT_S = 3600.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--stop", action="store_true", help="stop the demonstration's farm")
    what.add_argument("--clean", action="store_true", help="stop it and forget all it made")


def run(args: argparse.Namespace) -> int:
    """Tell the story, or end it."""
    from buildfarm.settings import find_root

    # The demonstration is a farm of its own beside yours: its state is in var/demo.
    root = find_root(Path.cwd())
    os.environ["BUILDFARM_HOME"] = str(root / "var" / "demo")
    os.environ["BUILDFARM_ROOT"] = str(root)
    if args.stop or args.clean:
        return _end(forget=args.clean)
    return _Story().tell()


def _end(*, forget: bool) -> int:
    from buildfarm.build.namespaces import remove_owned_tree
    from buildfarm.commands import down
    from buildfarm.settings import load_settings

    settings = load_settings()
    if settings.home.exists():
        down.run(argparse.Namespace(wait=False))
        if forget:
            remove_owned_tree(settings.home)
            print(f"forgotten: {settings.home}")
    return 0


class _Story:
    """The demonstration, scene by scene."""

    def __init__(self) -> None:
        from rich.console import Console

        from buildfarm import demo
        from buildfarm.settings import load_settings

        self.console = Console(highlight=False)
        settings = load_settings()
        settings.home.mkdir(parents=True, exist_ok=True)
        demo.write_settings(settings)
        self.settings = load_settings()
        self.samples = self.settings.root / "samples"
        demo.write_recipes(self.settings, self.samples)
        self.trunks = demo.demo_trunks(self.settings.home)
        self.author = demo.make_author(self.settings)

    def tell(self) -> int:
        """All scenes; the exit status is 0 when each came to what it should."""
        from buildfarm import demo
        from buildfarm.verdict import Verdict

        self.scene("Starting the farm: archive, signer, master, worker")
        self.start()
        self.scene("Committing to two trunks: hello-farm in git, motd-bazaar in Bazaar")
        runs = self.follow(self.commit_to_both())
        if any(run.verdict is not Verdict.PASS for run in runs):
            self.explain(runs)
            return 1
        self.console.print(
            "Each was installed in a machine that booted for it, called back, and was tested there; what held was "
            "promoted to local:demo/stable."
        )
        self.scene("Installing both packages with stock apt in a clean root, from local:demo/stable")
        self.install()
        self.scene("Pushing a commit to hello-farm whose unit test fails")
        self.commit_mistake(
            demo.WRONG_GREETING, "trunk", "Nothing was published for it: the archive holds what it held before."
        )
        self.scene("Pushing a commit to hello-farm whose package breaks when it is installed")
        self.commit_mistake(
            demo.BROKEN_POSTINST,
            "stable",
            "It is in local:demo/trunk, and was not promoted: local:demo/stable holds what it held before.",
        )
        self.farewell()
        return 0

    def scene(self, title: str) -> None:
        """Say what comes next."""
        self.console.print()
        self.console.rule(f"[bold]{title}", align="left")

    def start(self) -> None:
        """The farm and its trunks."""
        from buildfarm import demo
        from buildfarm.build.roots import get_root, spec_for
        from buildfarm.commands.up import start_farm
        from buildfarm.farm import open_farm
        from buildfarm.job import MachineRules
        from buildfarm.verify.machines import MachineRoom

        farm = open_farm()
        recipe = farm.book.recipes["hello-farm"]
        self.series, self.architecture = recipe.series[0], recipe.architectures[0]
        with (
            (self.settings.home / "root.log").open("wb") as log,
            self.console.status(f"making a root file system of {self.series}, once (half a minute or so)"),
        ):
            get_root(spec_for(self.settings, self.series, self.architecture), self.settings.cache, log)
        self.console.print(f"root file system of {self.series}/{self.architecture} is ready")
        with (
            (self.settings.home / "image.log").open("wb") as log,
            self.console.status(f"making an image of {self.series} for machines, once (a minute or so)"),
        ):
            room = MachineRoom(
                self.settings, MachineRules(), self.series, self.architecture, "", "", self.settings.home, log
            )
            room.image()
        self.console.print(
            f"image of {self.series}/{self.architecture} is ready; {room.host().note or room.host().accel}"
        )
        start_farm(farm)
        for trunk in self.trunks:
            made = demo.make_trunk(trunk, self.author)
            self.console.print(f"trunk {trunk.location} {'made' if made else 'is there'}")

    def commit_to_both(self) -> list[tuple[str, str]]:
        """A commit to each trunk; returns (recipe, revision) pairs."""
        from buildfarm import demo

        now = time.strftime("%Y-%m-%d %H:%M:%S")
        return [
            (trunk.name, demo.commit(trunk, self.samples / trunk.name, "Say something new", now, self.author))
            for trunk in self.trunks
        ]

    def commit_mistake(self, mistake: Mistake, ppa: str, moral: str) -> None:
        """A commit to the git trunk that must fail, and leave what a PPA holds as it was."""
        from buildfarm import demo
        from buildfarm.verdict import Verdict

        trunk = self.trunks[0]
        before = self.published(ppa, trunk.name)
        revision = demo.commit(
            trunk, self.samples / trunk.name, mistake.summary, mistake.summary, self.author, mistake
        )
        runs = self.follow([(trunk.name, revision)])
        if runs[0].verdict is not Verdict.FAIL:
            raise FarmTrouble(f"the broken commit came to {runs[0].verdict}, and should have failed")
        self.explain(runs)
        if self.published(ppa, trunk.name) != before:
            raise FarmTrouble(f"local:demo/{ppa} changed for a commit that failed")
        self.console.print(moral)

    def follow(self, commits: Sequence[tuple[str, str]]) -> Sequence[Any]:
        """Watch the commits' runs to their end."""
        from buildfarm import terminal
        from buildfarm.history import open_history

        history = open_history(self.settings.history_file)
        deadline = time.monotonic() + COMMIT_SEEN_LIMIT_S
        while any(history.run_of(*commit) is None for commit in commits):
            if time.monotonic() > deadline:
                raise FarmTrouble(
                    "the farm did not see the commit", resolution="`buildfarm --home var/demo logs` tells why."
                )
            time.sleep(0.05)
        return terminal.follow(
            history,
            lambda: [found for commit in commits if (found := history.run_of(*commit)) is not None],
            self.console,
            done=terminal.all_ended,
            limit_s=RUN_LIMIT_S,
        )

    def explain(self, runs: Sequence[Any]) -> None:
        """How failures read."""
        from buildfarm.history import open_history
        from buildfarm.terminal import failures

        for text in failures(open_history(self.settings.history_file), runs, self.settings):
            self.console.print(text, markup=False, style="red", soft_wrap=True)

    def install(self) -> None:
        """Both packages by apt, and what their programs say."""
        from buildfarm.build.installing import clean_root, install_from

        names = [trunk.name for trunk in self.trunks]
        with clean_root(self.settings, self.series, self.architecture) as root:
            install_from(
                root, self.sources_text(), names, lambda command: self.console.print(f"[dim]#[/dim] {command}")
            )
            for name in names:
                self.console.print(f"[dim]$[/dim] {name}\n[green]{root.run(name).strip()}[/green]")

    def sources_text(self) -> str:
        """The archive's .sources file, as it is served."""
        import urllib.request

        url = f"{self.settings.archive_url}/demo/stable/stable-{self.series}.sources"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 (our own http address)
            text: str = answer.read().decode()
        return text

    def published(self, ppa: str, source: str) -> str:
        """What a PPA holds of a source, as the archive's API tells it."""
        import urllib.request

        url = f"{self.settings.archive_url}/api/demo/{ppa}/publications?source={source}"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
            text: str = answer.read().decode()
        return text

    def farewell(self) -> None:
        """Where to look further."""
        settings = self.settings
        self.scene("The farm stays up")
        self.console.print(f"web status  {settings.web_url}   (log in as admin, password in")
        self.console.print(f"            {settings.secrets / 'admin-password'})")
        self.console.print(f"archive     {settings.archive_url}/demo/trunk/ and .../demo/stable/")
        self.console.print(f"trunks      {self.trunks[0].work}   (git: commit and push)")
        self.console.print(f"            {self.trunks[1].work}   (Bazaar: brz commit)")
        self.console.print("`make demo-stop` stops it, `make demo-clean` forgets it.")
