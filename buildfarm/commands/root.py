"""``buildfarm root make|list|gc``: the root file systems and layers that clean builds start from."""

from __future__ import annotations

import argparse
import sys
import time

from buildfarm.build.bootstrap import native_architecture
from buildfarm.build.collecting import collect_environments
from buildfarm.build.layers import last_used_at, list_layers
from buildfarm.build.roots import (
    DAY_S,
    MAX_AGE_S,
    collect_roots,
    get_root,
    list_roots,
    spec_for,
)
from buildfarm.errors import UsageError
from buildfarm.settings import Settings, load_settings

MAX_LAYERS_BYTES = 20 << 30


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    make = actions.add_parser("make", help="make a root now, unless a young one is there")
    make.add_argument("--series", required=True, help="the series, such as bookworm or noble")
    make.add_argument("--architecture", default="", help="a Debian architecture (default: this machine's)")
    make.add_argument("--again", action="store_true", help="make it even when a young one is there")
    actions.add_parser("list", help="list roots and layers, their age and size")
    collect = actions.add_parser("gc", help="remove old roots, and layers that nobody uses")
    collect.add_argument("--days", type=float, default=2 * MAX_AGE_S / DAY_S, help="keep what is younger")
    collect.add_argument("--gigabytes", type=float, default=MAX_LAYERS_BYTES / (1 << 30), help="of layers to keep")


def run(args: argparse.Namespace) -> int:
    """Carry out the action."""
    settings = load_settings()
    return {"make": _make, "list": _list, "gc": _collect}[args.action](args, settings)


def _make(args: argparse.Namespace, settings: Settings) -> int:
    spec = spec_for(settings, args.series, args.architecture or native_architecture())
    age = 0 if args.again else MAX_AGE_S
    root = get_root(spec, settings.cache, sys.stdout.buffer, max_age_s=age)
    if root.note:
        print(root.note, file=sys.stderr)
        return 1
    print(
        f"{root.tarball}\n{len(root.packages)} packages, {root.size_bytes / 1e6:.0f} MB, made {_ago(root.made_at)}"
    )
    return 0


def _list(_args: argparse.Namespace, settings: Settings) -> int:
    for root in list_roots(settings.cache):
        print(
            f"root   {root.key[:12]}  {root.series:10} {root.architecture:8} {root.size_bytes / 1e6:6.0f} MB  "
            f"made {_ago(root.made_at)}, {len(root.packages)} packages"
        )
    for layer in list_layers(settings.cache):
        used = _ago(last_used_at(settings.cache, layer))
        print(
            f"layer  {layer.key[:12]}  {layer.series:10} {layer.architecture:8} {layer.size_bytes / 1e6:6.0f} MB  "
            f"used {used}, {', '.join(layer.contents) or 'the root alone'}"
        )
    return 0


def _collect(args: argparse.Namespace, settings: Settings) -> int:
    if args.days < 0 or args.gigabytes < 0:
        raise UsageError("--days and --gigabytes are zero or more")
    now, age_s = time.time(), args.days * DAY_S
    layers = collect_environments(
        settings.cache, max_age_s=age_s, max_bytes=int(args.gigabytes * (1 << 30)), now=now
    )
    roots = collect_roots(settings.cache, max_age_s=age_s, now=now)
    freed = sum(layer.size_bytes for layer in layers) + sum(root.size_bytes for root in roots)
    print(f"removed {len(roots)} roots and {len(layers)} layers, {freed / 1e6:.0f} MB")
    return 0


def _ago(then: float) -> str:
    age_s = max(0.0, time.time() - then)
    for size, name in ((DAY_S, "days"), (3600, "hours"), (60, "minutes")):
        if age_s >= 2 * size:
            return f"{age_s / size:.0f} {name} ago"
    return f"{age_s:.0f} s ago"
