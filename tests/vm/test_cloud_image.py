"""Images that somebody else made: taken by their checksum alone, and never one that reaches for other files."""

from __future__ import annotations

import io
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from buildfarm.errors import FarmTrouble, UsageError
from buildfarm.settings import ImageSettings
from buildfarm.vm.cloud_image import get_cloud_image
from buildfarm.vm.images import Image, list_images


def make(path: Path, *options: str, size: str = "8M") -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, path, size], check=True)
    return path


def given(path: Path, **more: Any) -> ImageSettings:
    told = {"location": str(path), "sha256": sha256(path.read_bytes()).hexdigest()}
    return ImageSettings(**told | {"series": "bookworm", "architecture": "amd64"} | more)


def take(image: ImageSettings, tmp_path: Path, **more: Any) -> Image:
    return get_cloud_image("ours", image, tmp_path, tmp_path / "cache", io.BytesIO(), **more)


@contextmanager
def served(directory: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_file_is_taken_by_its_checksum(tmp_path: Path) -> None:
    image = take(given(make(tmp_path / "a.qcow2")), tmp_path)

    assert image.disk.read_bytes() == (tmp_path / "a.qcow2").read_bytes()
    assert (image.kind, image.kernel, image.append) == ("cloud", None, "")
    assert list_images(tmp_path / "cache") == [image]


def test_a_relative_path_counts_from_farm_toml(tmp_path: Path) -> None:
    assert take(given(make(tmp_path / "a.qcow2"), location="a.qcow2"), tmp_path).disk.is_file()


def test_what_is_in_the_cache_is_not_fetched_again(tmp_path: Path) -> None:
    path = make(tmp_path / "a.qcow2")
    image = given(path)
    taken = take(image, tmp_path)
    path.unlink()

    assert take(image, tmp_path) == taken


def test_a_url_is_fetched(tmp_path: Path) -> None:
    path = make(tmp_path / "a.qcow2")
    with served(tmp_path) as url:
        assert take(given(path, location=f"{url}/a.qcow2"), tmp_path).disk.read_bytes() == path.read_bytes()


def test_a_url_that_is_not_there_is_the_farms_trouble(tmp_path: Path) -> None:
    path = make(tmp_path / "a.qcow2")
    with served(tmp_path) as url, pytest.raises(FarmTrouble, match="cannot be fetched"):
        take(given(path, location=f"{url}/b.qcow2"), tmp_path)


def test_a_wrong_checksum_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="checksum"):
        take(given(make(tmp_path / "a.qcow2"), sha256="0" * 64), tmp_path)

    assert [path.name for path in (tmp_path / "cache/images").iterdir() if path.suffix != ".lock"] == []


def test_a_backing_file_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.qcow2", "-u", "-b", "/etc/shadow", "-F", "raw")

    with pytest.raises(UsageError, match="backing file"):
        take(given(path), tmp_path)


def test_an_external_data_file_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.qcow2", "-o", f"data_file={tmp_path}/data.raw")

    with pytest.raises(UsageError, match="in another file"):
        take(given(path), tmp_path)


def test_what_is_no_qcow2_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("<html>Not found</html>" * 100)

    with pytest.raises(UsageError, match="not qcow2"):
        take(given(path), tmp_path)


def test_a_qcow2_said_to_be_raw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not raw, but qcow2"):
        take(given(make(tmp_path / "a.qcow2"), format="raw"), tmp_path)


def test_a_broken_qcow2_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.qcow2")
    path.write_bytes(path.read_bytes()[:64])

    with pytest.raises(UsageError, match="cannot be opened"):
        take(given(path), tmp_path)


def test_a_disk_of_monstrous_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="and may have"):
        take(given(make(tmp_path / "a.qcow2", size="900G")), tmp_path)


def test_a_file_that_does_not_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "large.raw"
    with path.open("wb") as file:
        file.truncate(8 << 20)

    with pytest.raises(UsageError, match="larger than 4 MiB"):
        take(given(path, format="raw"), tmp_path, limit_bytes=4 << 20)
