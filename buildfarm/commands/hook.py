"""``buildfarm hook install|remove REPOSITORY``: a push there makes the farm look at once."""

from __future__ import annotations

import argparse
from pathlib import Path

from buildfarm.errors import UsageError
from buildfarm.settings import load_settings
from buildfarm.trunk.hooks import Notice, install_hook, remove_hook


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    install = actions.add_parser("install", help="install the hook, or renew it with other settings")
    remove = actions.add_parser("remove", help="take the hook away")
    for action in (install, remove):
        action.add_argument("repository", type=Path, help="a git repository or a Bazaar branch on this machine")
    install.add_argument("--recipe", default="", metavar="NAME", help="wake only this recipe")
    install.add_argument("--location", default="", metavar="URL", help="how recipes name it, if not by its path")
    install.add_argument("--url", default="", metavar="WEB_URL", help="the farm (default: from farm.toml)")


def run(args: argparse.Namespace) -> int:
    """Install or remove the hook, and say what was done."""
    if not args.repository.is_dir():
        raise UsageError(f"{args.repository} is no directory", resolution="Give the path of a repository.")
    if args.action == "remove":
        print(remove_hook(args.repository))
    else:
        url = args.url or load_settings().web_url
        print(install_hook(args.repository, Notice(url, args.location, args.recipe)))
    return 0
