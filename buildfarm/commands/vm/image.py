"""``buildfarm vm image list|build|fetch|refresh|gc``: machines' images in the cache."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from buildfarm.build.bootstrap import native_architecture
from buildfarm.errors import FarmTrouble, UsageError
from buildfarm.settings import Settings
from buildfarm.vm.cloud_image import get_cloud_image
from buildfarm.vm.images import (
    DAY_S,
    Image,
    collect_images,
    get_image,
    image_spec_for,
    last_used_at,
    list_images,
    refresh_image,
)
from buildfarm.vm.snapshot import collect_snapshots

KEEP_DAYS = 14.0
KEEP_GIGABYTES = 20.0


def configure(actions: Any) -> None:
    """Describe the arguments."""
    parser = actions.add_parser("image", help="machines' images: list, build, fetch, refresh, remove")
    images = parser.add_subparsers(dest="what", metavar="ACTION", required=True)
    _add(images, "list", "list the images in the cache, their age and size", _list)
    build = _add(images, "build", "make an image now, unless a young one is there", _build)
    build.add_argument("--series", required=True, help="the series, such as bookworm or noble")
    build.add_argument("--architecture", default="", help="a Debian architecture (default: this machine's)")
    build.add_argument("--package", action="append", default=[], metavar="NAME", help="a package more in it")
    build.add_argument("--again", action="store_true", help="make it even when a young one is there")
    fetch = _add(images, "fetch", "fetch an image that farm.toml names", _fetch)
    fetch.add_argument("name", help="NAME of a table [vm.images.NAME]")
    refresh = _add(images, "refresh", "make those images anew whose archive has moved since", _refresh)
    refresh.add_argument("--series", default="", help="those of this series alone")
    refresh.add_argument("--architecture", default="", help="those of this architecture alone")
    collect = _add(images, "gc", "remove images, and machines asleep, that nobody used for long", _collect)
    collect.add_argument("--days", type=float, default=KEEP_DAYS, help="keep what was used since (default: 14)")
    collect.add_argument("--gigabytes", type=float, default=KEEP_GIGABYTES, help="of images to keep (default: 20)")


def _add(
    actions: Any, name: str, summary: str, act: Callable[[Settings, argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + ".", allow_abbrev=False
    )
    parser.set_defaults(act=act)
    return parser


def _list(settings: Settings, _args: argparse.Namespace) -> int:
    images = list_images(settings.cache)
    for image in images:
        told = f"{len(image.packages)} packages" if image.kind == "built" else f"cloud image, {image.firmware}"
        print(
            f"{image.key[:12]}  {image.series:10} {image.architecture:8} {image.size_bytes / 1e6:6.0f} MB  "
            f"made {_ago(image.made_at)}, used {_ago(last_used_at(image))}, {told}"
        )
    if not images:
        print("no images yet; buildfarm vm image build --series NAME makes one", file=sys.stderr)
    return 0


def _build(settings: Settings, args: argparse.Namespace) -> int:
    spec = image_spec_for(settings, args.series, args.architecture or native_architecture(), args.package)
    max_age_s = 0 if args.again else settings.vm.image_max_age_days * DAY_S
    return _show(get_image(spec, settings.cache, sys.stdout.buffer, max_age_s=max_age_s))


def _fetch(settings: Settings, args: argparse.Namespace) -> int:
    given = settings.vm.images.get(args.name)
    if given is None:
        known = ", ".join(sorted(settings.vm.images)) or "none"
        raise UsageError(
            f"farm.toml has no [vm.images.{args.name}]", resolution=f"It names these images: {known}."
        )
    return _show(get_cloud_image(args.name, given, settings.root, settings.cache, sys.stdout.buffer))


def _refresh(settings: Settings, args: argparse.Namespace) -> int:
    native = native_architecture()
    wanted = {
        (image.series, image.architecture, image.extra)
        for image in list_images(settings.cache)
        if image.kind == "built"
        and args.series in ("", image.series)
        and args.architecture in ("", image.architecture)
    }
    if args.series and not wanted:
        wanted = {(args.series, args.architecture or native, ())}
    failed = 0
    for series, architecture, extra in sorted(wanted):
        try:
            spec = image_spec_for(settings, series, architecture, extra)
            failed |= _show(refresh_image(spec, settings.cache, sys.stdout.buffer))
        except FarmTrouble as error:
            print(error, file=sys.stderr)
            failed = 3
    if not wanted:
        print("no images yet; buildfarm vm image build --series NAME makes one", file=sys.stderr)
    return failed


def _collect(settings: Settings, args: argparse.Namespace) -> int:
    if args.days < 0 or args.gigabytes < 0:
        raise UsageError("--days and --gigabytes are zero or more")
    gone = collect_images(
        settings.cache,
        max_age_s=args.days * DAY_S,
        max_bytes=int(args.gigabytes * (1 << 30)),
        now=time.time(),
    )
    left = {image.directory.name for image in list_images(settings.cache)}
    asleep = collect_snapshots(settings.cache, left, max_age_s=args.days * DAY_S, now=time.time())
    size_bytes = sum(image.size_bytes for image in gone) + sum(one.size_bytes for one in asleep)
    print(f"removed {len(gone)} images and {len(asleep)} machines asleep, {size_bytes / 1e6:.0f} MB")
    return 0


def _show(image: Image) -> int:
    print(image.directory)
    told = f"{len(image.packages)} packages, " if image.packages else ""
    print(f"{image.series} for {image.architecture}: {told}{image.size_bytes / 1e6:.0f} MB, ", end="")
    print(f"made {_ago(image.made_at)}", flush=True)
    if image.note:
        print(image.note, file=sys.stderr)
        return 1
    return 0


def _ago(then: float) -> str:
    age_s = max(0.0, time.time() - then)
    for size, name in ((DAY_S, "days"), (3600, "hours"), (60, "minutes")):
        if age_s >= 2 * size:
            return f"{age_s / size:.0f} {name} ago"
    return f"{age_s:.0f} s ago"
