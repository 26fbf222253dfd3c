"""Images that somebody else made: fetched within bounds, checked against their checksum, and looked into before
anything opens them.

An image may name other files, of the host's, as what lies under it or holds its data. Whoever opens such an image
reads those files, so the header is read here first, and one that names any is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

import requests

from buildfarm import process
from buildfarm.build.bootstrap import locked, own_directory, say
from buildfarm.errors import FarmTrouble, UsageError
from buildfarm.settings import ImageSettings
from buildfarm.vm.images import Image, find_image, images_directory, keep_image

LIMIT_BYTES = 16 << 30
DISK_LIMIT_BYTES = 512 << 30
FETCH_TIMEOUT_S = 3600
SILENCE_TIMEOUT_S = 60
INFO_TIMEOUT_S = 60
INFO_MEMORY_BYTES = 1 << 30
CHUNK_BYTES = 1 << 20
QCOW2_MAGIC = b"QFI\xfb"
EXTERNAL_DATA = 1 << 2  # of the incompatible features


def cloud_image_key(given: ImageSettings) -> str:
    """The name of such an image in the cache: its content, and what we are told of it."""
    told = [given.sha256, given.series, given.architecture, given.format, given.firmware]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def get_cloud_image(
    name: str, given: ImageSettings, root: Path, cache: Path, log: BinaryIO, *, limit_bytes: int = LIMIT_BYTES
) -> Image:
    """The image that the settings call ``name``, from the cache or from its location; a path counts from ``root``.

    Raises UsageError when it is not what the settings say, FarmTrouble when it cannot be fetched.
    """
    key, directory = cloud_image_key(given), images_directory(cache)
    with locked(directory / f"{key}.lock"):
        if (kept := find_image(cache, key)) is not None:
            return kept
        with own_directory(directory / f".making-{key}") as making:
            made = making / "image"
            made.mkdir()
            disk = made / f"disk.{given.format}"
            where = f"vm.images.{name}"
            say(log, f"fetching {given.location}")
            _fetch(where, given, root, disk, limit_bytes)
            disk.chmod(0o444)
            check_disk(where, disk, given.format)
            image = Image(
                key,
                given.series,
                given.architecture,
                time.time(),
                given.sha256,
                disk.stat().st_size,
                (),
                directory / f"{key[:40]}-{given.sha256[:24]}",
                kind="cloud",
                disk_format=given.format,
                firmware=given.firmware,
            )
            keep_image(made, image)
            return image


def check_disk(where: str, disk: Path, wanted: str) -> None:
    """Raise UsageError unless the file is a disk of the format ``wanted`` and refers to no other file."""
    with disk.open("rb") as file:
        header = file.read(104)
    looks_qcow2 = header.startswith(QCOW2_MAGIC)
    if looks_qcow2 != (wanted == "qcow2"):
        raise UsageError(
            f"the image is not {wanted}" + (", but qcow2" if looks_qcow2 else ""),
            where=where,
            resolution='Set format to "qcow2" or "raw", as the image is; qemu-img convert makes others so.',
        )
    if looks_qcow2:
        _refuse_references(where, header)
    finished = process.run(
        [
            *("prlimit", f"--as={INFO_MEMORY_BYTES}", f"--cpu={INFO_TIMEOUT_S}", "--"),
            *("qemu-img", "info", "--output=json", "-f", wanted, disk),
        ],
        timeout_s=INFO_TIMEOUT_S,
    )
    if not finished.ok:
        raise UsageError(
            f"the image cannot be opened as {wanted}",
            where=where,
            details=finished.tail(3),
            resolution="Fetch it anew, and compare its checksum with its maker's.",
        )
    told = json.loads(finished.text)
    if told.get("backing-filename") or told.get("encrypted"):
        raise UsageError("the image has another under it, or is encrypted: it is refused", where=where)
    if not 0 < told.get("virtual-size", 0) <= DISK_LIMIT_BYTES:
        raise UsageError(
            f"the image's disk has {told.get('virtual-size', 0)} bytes, and may have {DISK_LIMIT_BYTES}",
            where=where,
        )


def _refuse_references(where: str, header: bytes) -> None:
    version, backing = int.from_bytes(header[4:8]), int.from_bytes(header[8:16])
    external = version >= 3 and int.from_bytes(header[72:80]) & EXTERNAL_DATA
    if backing or external:
        what = "has another file under it (a backing file)" if backing else "keeps its data in another file"
        raise UsageError(
            f"the image {what}: it is refused",
            where=where,
            resolution="Such an image can read any file of this machine. Make a whole one of it where you trust "
            "it: qemu-img convert -O qcow2 IMAGE WHOLE.",
        )


def _fetch(where: str, given: ImageSettings, root: Path, disk: Path, limit_bytes: int) -> None:
    digest, size = hashlib.sha256(), 0
    with disk.open("xb") as file, contextlib.closing(_chunks(where, given, root)) as chunks:
        for chunk in chunks:
            size += len(chunk)
            if size > limit_bytes:
                raise UsageError(f"the image is larger than {limit_bytes >> 20} MiB", where=where)
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != given.sha256:
        raise UsageError(
            f"the image's checksum is {digest.hexdigest()}, and {given.sha256} was wanted ({size} bytes)",
            where=where,
            resolution="Was it published anew? Compare with the checksums its maker publishes, and mend sha256.",
        )


def _chunks(where: str, given: ImageSettings, root: Path) -> Generator[bytes]:
    if not given.location.startswith(("http://", "https://")):
        path = root / given.location
        if not path.is_file():
            raise UsageError(
                f"{path} is no file", where=where, resolution="Put the image there, or mend location."
            )
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
        return
    deadline = time.monotonic() + FETCH_TIMEOUT_S
    try:
        with requests.get(given.location, stream=True, timeout=SILENCE_TIMEOUT_S) as answer:
            answer.raise_for_status()
            for chunk in answer.iter_content(CHUNK_BYTES):
                if time.monotonic() > deadline:
                    raise FarmTrouble(f"the image was not there after {FETCH_TIMEOUT_S} s", where=where)
                yield chunk
    except requests.RequestException as error:
        raise FarmTrouble(
            "the image cannot be fetched",
            where=where,
            details=str(error),
            resolution=f"Try: curl -I {given.location}",
        ) from error
