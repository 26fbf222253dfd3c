"""``buildfarm worker``: be a latent worker, with the credentials that its master gave to this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from buildfarm.latent import CREDENTIALS
from buildfarm.parts import be_latent_worker
from buildfarm.settings import load_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.epilog = "Exit status: 0 no master has wanted it for a while, 2 the credentials are unusable."
    parser.add_argument(
        "--credentials", type=Path, default=Path(CREDENTIALS), metavar="FILE", help=f"default: {CREDENTIALS}"
    )


def run(args: argparse.Namespace) -> int:
    """Run the worker in the foreground, until no master wants it any more."""
    be_latent_worker(load_settings(), args.credentials)
