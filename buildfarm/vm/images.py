"""Machines' images: disk, kernel and initial RAM disk, made once, shared, and never changed afterwards.

    images/NAME/             one making: disk.qcow2, vmlinuz, initrd, image.json (see ``Image``)
    images/NAME.lock         shared while a machine uses it, exclusive while it is removed
    images/KEY.lock          exclusive while an image of that key is made
    images/.making-KEY/      not complete; removed by whoever next takes the lock

NAME has the key and the disk's content in it: making an image again gives it a new name only if something in it is
different, and machines that run, or sleep in a file, keep the disk they began with. The modification time of
image.json is when the image was last used.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from buildfarm.build.bootstrap import (
    bootstrap,
    locked,
    own_directory,
    say,
    scratch_directory,
)
from buildfarm.build.roots import require_native
from buildfarm.errors import FarmError
from buildfarm.files import read_json, remove_tree, sha256_of, write_json
from buildfarm.job import from_plain
from buildfarm.vm.image_archive import Release, newest_date, read_archive
from buildfarm.vm.image_disk import make_disk
from buildfarm.vm.image_recipe import ImageSpec, image_bootstrap, image_spec_for
from buildfarm.vm.initrd import make_initrd, read_kernel

__all__ = ["Image", "ImageSpec", "get_image", "image_spec_for", "list_images", "use_image"]

DAY_S = 86400
MAX_AGE_S = 7 * DAY_S
CONSOLES = {"arm64": "ttyAMA0", "armhf": "ttyAMA0", "ppc64el": "hvc0"}
# What an emulated processor would spend time on and a throwaway machine has no use for: checks at boot, guards
# against other tenants of the same processor. A panic ends the machine at once.
KERNEL_WORDS = (
    "rw root=/dev/vda rootfstype=ext4 quiet panic=-1 mitigations=off cryptomgr.notests random.trust_cpu=on"
)
AMD64_WORDS = "no_timer_check pti=off"


@dataclass(frozen=True)
class Image:
    """An image in the cache. ``sha256`` is the disk file's; ``made_at`` seconds since the epoch, UTC; ``packages``
    are "name=version", ``extra`` those asked for by name; ``archive`` is where the sources' suites stood, and
    ``current_at`` when they were last seen to stand there still.
    A ``cloud`` image was given by the farm's settings and starts by its own firmware. ``note`` tells what is not
    as wished, for a stage's ``assumed``.
    """

    key: str
    series: str
    architecture: str
    made_at: float
    sha256: str
    size_bytes: int
    packages: tuple[str, ...]
    directory: Path
    note: str = ""
    kind: Literal["built", "cloud"] = "built"
    disk_format: Literal["qcow2", "raw"] = "qcow2"
    firmware: Literal["bios", "uefi"] = "bios"
    has_initrd: bool = False
    kernel_version: str = ""
    extra: tuple[str, ...] = ()
    archive: tuple[Release, ...] = ()
    current_at: float = 0

    @property
    def disk(self) -> Path:
        """The disk, which no machine may write to."""
        return self.directory / f"disk.{self.disk_format}"

    @property
    def kernel(self) -> Path | None:
        """The kernel that a machine starts with; None: its firmware finds one on the disk."""
        return self.directory / "vmlinuz" if self.kind == "built" else None

    @property
    def initrd(self) -> Path | None:
        """The initial RAM disk, if the kernel wants one."""
        return self.directory / "initrd" if self.has_initrd else None

    @property
    def append(self) -> str:
        """The kernel's command line."""
        if self.kind != "built":
            return ""
        console = CONSOLES.get(self.architecture, "ttyS0")
        words = f" {AMD64_WORDS}" if self.architecture in ("amd64", "i386") else ""
        return f"console={console} {KERNEL_WORDS}{words}"


def images_directory(cache: Path) -> Path:
    """Where the images lie."""
    return cache / "images"


def get_image(spec: ImageSpec, cache: Path, log: BinaryIO, *, max_age_s: float = MAX_AGE_S) -> Image:
    """The image for ``spec``: from the cache while it is young, or older and its archive has not moved; else made.

    With a ``max_age_s`` of 0 it is made in any case. Raises FarmTrouble when it cannot be made and there is no
    older one to use.
    """
    kept = find_image(cache, spec.key)
    if kept is not None and time.time() - max(kept.made_at, kept.current_at) < max_age_s:
        return kept
    with locked(images_directory(cache) / f"{spec.key}.lock"):
        kept = find_image(cache, spec.key)
        if kept is not None and time.time() - max(kept.made_at, kept.current_at) < max_age_s:
            return kept
        try:
            archive = read_archive(spec.sources)
            if kept is not None and max_age_s > 0 and kept.archive == archive:
                say(log, f"the archive of {spec.series} has not moved: the image is as a new one would be")
                return _record(replace(kept, current_at=time.time()))
            return make_image(spec, cache, archive, log)
        except FarmError as error:
            if kept is None:
                raise
            days = (time.time() - kept.made_at) / DAY_S
            return replace(kept, note=f"the image is {days:.0f} days old: making it again failed ({error.brief})")


def refresh_image(spec: ImageSpec, cache: Path, log: BinaryIO) -> Image:
    """The image for ``spec``, made anew unless its archive stands where it stood when it was made."""
    return get_image(spec, cache, log, max_age_s=1e-9)


def make_image(spec: ImageSpec, cache: Path, archive: tuple[Release, ...], log: BinaryIO) -> Image:
    """Make the image now and put it in the cache; the caller holds the key's lock."""
    require_native(spec.architecture)
    directory = images_directory(cache)
    epoch_s = newest_date(archive)
    with contextlib.ExitStack() as stack:
        making = stack.enter_context(own_directory(directory / f".making-{spec.key}"))
        scratch = stack.enter_context(scratch_directory(making))
        say(log, f"making an image of {spec.series} for {spec.architecture} (about a minute)")
        started = time.monotonic()
        tarball = scratch / "root.tar"
        packages = bootstrap(image_bootstrap(spec, epoch_s), tarball, scratch, log)
        parts = read_kernel(tarball)
        initrd = make_initrd(parts)
        made = making / "image"
        made.mkdir()
        (made / "vmlinuz").write_bytes(parts.kernel)
        if initrd is not None:
            (made / "initrd").write_bytes(initrd)
        make_disk(tarball, scratch, made / "disk.qcow2", spec.key, epoch_s)
        sha256 = sha256_of(made / "disk.qcow2")
        image = Image(
            spec.key,
            spec.series,
            spec.architecture,
            time.time(),
            sha256,
            sum(path.stat().st_size for path in made.iterdir()),
            packages,
            directory / f"{spec.key[:40]}-{sha256[:24]}",
            has_initrd=initrd is not None,
            kernel_version=parts.version,
            extra=spec.packages,
            archive=archive,
        )
        keep_image(made, image)
        say(log, f"made in {time.monotonic() - started:.0f} s: {image.size_bytes / 1e6:.0f} MB")
    remove_superseded(cache, image)
    return image


def keep_image(made: Path, image: Image) -> None:
    """Put a complete directory into its place in the cache; one that is there already only gets the new record."""
    if not (image.directory / "image.json").is_file():
        remove_tree(image.directory)
        write_json(made / "image.json", _plain(image))
        made.rename(image.directory)
    else:
        _record(image)


@contextlib.contextmanager
def use_image(spec: ImageSpec, cache: Path, log: BinaryIO, *, max_age_s: float = MAX_AGE_S) -> Iterator[Image]:
    """The image for ``spec`` (see ``get_image``), kept in use for the ``with`` block: nobody removes it."""
    while True:
        image = get_image(spec, cache, log, max_age_s=max_age_s)
        with in_use(image) as there:
            if there:
                yield image
                return


@contextlib.contextmanager
def in_use(image: Image) -> Iterator[bool]:
    """Keep an image in use for the ``with`` block; False when it was removed before that."""
    with locked(image.directory.with_suffix(".lock"), shared=True):
        record = image.directory / "image.json"
        there = record.is_file()
        if there:
            os.utime(record)
        yield there


def find_image(cache: Path, key: str) -> Image | None:
    """The youngest image of ``key`` in the cache, whatever its age."""
    return next((image for image in list_images(cache) if image.key == key), None)


def list_images(cache: Path) -> list[Image]:
    """All images in the cache, the youngest first."""
    found = (read_image(path.parent) for path in images_directory(cache).glob("*/image.json"))
    return sorted((image for image in found if image is not None), key=lambda image: -image.made_at)


def read_image(directory: Path) -> Image | None:
    """The image in a directory of the cache, or None."""
    try:
        data = read_json(directory / "image.json")
        image = from_plain(Image, data | {"directory": directory})
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return image if image.disk.is_file() else None


def last_used_at(image: Image) -> float:
    """When an image was last used, seconds since the epoch; 0: it is gone."""
    try:
        return (image.directory / "image.json").stat().st_mtime
    except FileNotFoundError:
        return 0


def collect_images(cache: Path, *, max_age_s: float, max_bytes: int, now: float) -> list[Image]:
    """Remove images not used for ``max_age_s``, then the longest unused until ``max_bytes`` suffice, and those
    that a younger one of the same key has taken the place of; what is in use stays. Returns what went."""
    for going in images_directory(cache).glob(".going-*"):  # whoever removed it was killed
        remove_tree(going)
    gone, kept_bytes = [], 0
    for image in sorted(list_images(cache), key=lambda image: (-last_used_at(image), -image.made_at)):
        current = find_image(cache, image.key)
        superseded = current is not None and current.directory != image.directory
        too_much = kept_bytes + image.size_bytes > max_bytes
        old = now - last_used_at(image) > max_age_s
        if (superseded or too_much or old) and _remove(image):
            gone.append(image)
        else:
            kept_bytes += image.size_bytes
    return gone


def remove_superseded(cache: Path, image: Image) -> None:
    """Remove the older images of the same key that nobody uses."""
    for other in list_images(cache):
        if other.key == image.key and other.directory != image.directory:
            _remove(other)


def _remove(image: Image) -> bool:
    with image.directory.with_suffix(".lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        going = image.directory.with_name(f".going-{image.directory.name}")
        with contextlib.suppress(FileNotFoundError):
            image.directory.rename(going)
        remove_tree(going)
    return True


def _record(image: Image) -> Image:
    write_json(image.directory / "image.json", _plain(image))
    return image


def _plain(image: Image) -> dict[str, Any]:
    return {name: value for name, value in asdict(image).items() if name not in ("directory", "note")}
