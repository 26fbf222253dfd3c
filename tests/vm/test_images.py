"""Machines' images: what decides them, that two makings are alike, and that nobody loses what he uses."""

from __future__ import annotations

import io
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from buildfarm.build.apt_sources import AptSources
from buildfarm.build.bootstrap import native_architecture
from buildfarm.errors import FarmTrouble
from buildfarm.files import sha256_of, write_json
from buildfarm.settings import Settings
from buildfarm.vm import image_recipe, images
from buildfarm.vm.image_archive import Release, newest_date, release_addresses
from buildfarm.vm.images import (
    DAY_S,
    Image,
    ImageSpec,
    collect_images,
    get_image,
    image_spec_for,
    in_use,
    list_images,
    make_image,
    refresh_image,
    use_image,
)

SOURCES = AptSources("Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n")
SPEC = ImageSpec("bookworm", native_architecture(), SOURCES)
ARCHIVE = (Release("http://mirror.example/debian/dists/bookworm/InRelease", "a" * 64, 1_700_000_000),)


def put(cache: Path, spec: ImageSpec = SPEC, *, sha256: str = "1" * 64, age_days: float = 0) -> Image:
    """An image in the cache, of nothing."""
    directory = cache / "images" / f"{spec.key[:40]}-{sha256[:24]}"
    directory.mkdir(parents=True)
    (directory / "disk.qcow2").write_bytes(b"disk")
    made_at = time.time() - age_days * DAY_S
    made = Image(spec.key, "bookworm", "amd64", made_at, sha256, 4, ("a=1",), directory, archive=ARCHIVE)
    write_json(directory / "image.json", images._plain(made))
    os.utime(directory / "image.json", (made_at, made_at))
    return made


@pytest.fixture
def makings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every making, which takes no time and puts an image of other content in the cache."""
    made: list[str] = []

    def make(spec: ImageSpec, cache: Path, archive: tuple[Release, ...], log: object) -> Image:
        made.append(spec.key)
        return put(cache, spec, sha256=f"{len(made) + 1:064}")

    monkeypatch.setattr(images, "make_image", make)
    monkeypatch.setattr(images, "read_archive", lambda sources: ARCHIVE)
    return made


def test_whatever_decides_the_content_is_in_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    others = {
        ImageSpec("trixie", SPEC.architecture, SOURCES).key,
        ImageSpec("bookworm", "riscv64", SOURCES).key,
        ImageSpec("bookworm", SPEC.architecture, replace(SOURCES, text=SOURCES.text + "\n")).key,
        ImageSpec("bookworm", SPEC.architecture, replace(SOURCES, settings=('Acquire::Retries "3";',))).key,
        ImageSpec("bookworm", SPEC.architecture, SOURCES, ("hello",)).key,
    }
    before = SPEC.key
    guest = tmp_path / "guest"
    guest.mkdir()
    for path in image_recipe.GUEST.iterdir():
        (guest / path.name).write_bytes(path.read_bytes())
    (guest / "buildfarm-agent").write_text("#!/bin/bash\n# another\n")
    monkeypatch.setattr(image_recipe, "GUEST", guest)

    assert len({before, SPEC.key, *others}) == 7


def test_the_hosts_proxies_do_not_reach_the_machine() -> None:
    sources = replace(
        SOURCES, settings=('Acquire::http::Proxy "http://10.1.1.1:3142/";', 'Acquire::Check-Date "false";')
    )

    text = image_recipe.apt_settings(sources)

    assert "3142" not in text
    assert 'Acquire::http::Proxy "http://10.0.2.100/";' in text
    assert 'Acquire::Check-Date "false";' in text
    assert (
        ImageSpec("bookworm", "amd64", sources).key
        == replace(
            ImageSpec("bookworm", "amd64", sources), sources=replace(sources, settings=sources.settings[1:])
        ).key
    )


@pytest.mark.parametrize(
    ("series", "architecture", "kernel"),
    [
        ("bookworm", "amd64", "linux-image-cloud-amd64"),
        ("bookworm", "arm64", "linux-image-cloud-arm64"),
        ("bookworm", "s390x", "linux-image-s390x"),
        ("noble", "amd64", "linux-image-virtual"),
        ("our-own", "amd64", "linux-image-cloud-amd64"),
    ],
)
def test_every_series_has_a_kernel_for_machines(series: str, architecture: str, kernel: str) -> None:
    assert image_recipe.kernel_package(series, architecture) == kernel


def test_every_suite_of_the_sources_tells_where_its_archive_stands() -> None:
    text = (
        "Types: deb\nURIs: http://one.example/debian/ http://two.example\nSuites: bookworm bookworm-updates\n\n"
        "Types: deb\nURIs: http://flat.example\nSuites: ./\n"
    )

    assert list(release_addresses(AptSources(text))) == [
        "http://one.example/debian/dists/bookworm/InRelease",
        "http://one.example/debian/dists/bookworm-updates/InRelease",
        "http://two.example/dists/bookworm/InRelease",
        "http://two.example/dists/bookworm-updates/InRelease",
        "http://flat.example/InRelease",
    ]
    assert newest_date((*ARCHIVE, Release("x", "b" * 64, 5))) == 1_700_000_000


def test_a_young_image_is_not_made_again(tmp_path: Path, makings: list[str]) -> None:
    put(tmp_path, age_days=6)

    get_image(SPEC, tmp_path, io.BytesIO())

    assert not makings


def test_an_old_image_is_as_good_as_new_while_the_archive_stands_still(
    tmp_path: Path, makings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, age_days=8)

    assert get_image(SPEC, tmp_path, io.BytesIO()).sha256 == "1" * 64
    assert not makings
    monkeypatch.setattr(images, "read_archive", lambda sources: ())
    get_image(SPEC, tmp_path, io.BytesIO())
    assert not makings, "for a week nobody asks again"


def test_an_old_image_whose_archive_moved_is_made_again(
    tmp_path: Path, makings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, age_days=8)
    monkeypatch.setattr(images, "read_archive", lambda sources: (replace(ARCHIVE[0], sha256="b" * 64),))

    assert get_image(SPEC, tmp_path, io.BytesIO()).sha256 != "1" * 64


def test_a_refresh_asks_the_archive_of_a_young_image_too(
    tmp_path: Path, makings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path)
    refresh_image(SPEC, tmp_path, io.BytesIO())
    assert not makings

    monkeypatch.setattr(images, "read_archive", lambda sources: (replace(ARCHIVE[0], sha256="b" * 64),))
    refresh_image(SPEC, tmp_path, io.BytesIO())

    assert len(makings) == 1


def test_an_old_image_is_better_than_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_sources: object) -> None:
        raise FarmTrouble("the mirror is away")

    put(tmp_path, age_days=9)
    monkeypatch.setattr(images, "read_archive", fail)

    found = get_image(SPEC, tmp_path, io.BytesIO())

    assert found.note == "the image is 9 days old: making it again failed (the mirror is away)"
    with pytest.raises(FarmTrouble, match="mirror is away"):
        get_image(replace(SPEC, packages=("hello",)), tmp_path, io.BytesIO())


def test_the_images_that_were_used_last_are_kept(tmp_path: Path) -> None:
    old = put(tmp_path, sha256="1" * 64, age_days=20)
    other = put(tmp_path, replace(SPEC, packages=("hello",)), sha256="2" * 64, age_days=3)
    young = put(tmp_path, replace(SPEC, packages=("sed",)), sha256="3" * 64, age_days=1)
    with in_use(old) as there:
        assert there  # its use makes it the one used last

    gone = collect_images(tmp_path, max_age_s=14 * DAY_S, max_bytes=8, now=time.time())

    assert [image.directory for image in gone] == [other.directory]
    assert {image.directory for image in list_images(tmp_path)} == {old.directory, young.directory}


def test_what_is_in_use_stays(tmp_path: Path, makings: list[str]) -> None:
    put(tmp_path)
    later = time.time() + 99 * DAY_S
    with use_image(SPEC, tmp_path, io.BytesIO()) as image:
        assert not collect_images(tmp_path, max_age_s=0, max_bytes=0, now=later)
        assert image.disk.is_file()

    assert len(collect_images(tmp_path, max_age_s=0, max_bytes=0, now=later)) == 1
    assert not image.directory.exists()


def test_a_superseded_image_goes_when_its_last_user_does(tmp_path: Path) -> None:
    old, _new = put(tmp_path, sha256="1" * 64, age_days=2), put(tmp_path, sha256="2" * 64)
    with in_use(old):
        assert not collect_images(tmp_path, max_age_s=14 * DAY_S, max_bytes=1 << 30, now=time.time())

    gone = collect_images(tmp_path, max_age_s=14 * DAY_S, max_bytes=1 << 30, now=time.time())

    assert [image.directory for image in gone] == [old.directory]


def test_an_image_that_was_removed_is_not_used(tmp_path: Path) -> None:
    image = put(tmp_path)
    collect_images(tmp_path, max_age_s=-1, max_bytes=0, now=time.time())

    with in_use(image) as there:
        assert not there


def test_the_image_is_whole(image: Image) -> None:
    assert sha256_of(image.disk) == image.sha256
    assert image.kernel is not None
    assert image.kernel.stat().st_size > 1 << 20
    assert any(package.startswith("systemd-sysv=") for package in image.packages)
    assert not any(package.startswith("python3") for package in image.packages)


def test_owners_capabilities_and_our_files_are_on_the_disk(image: Image, tmp_path: Path) -> None:
    raw = tmp_path / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", image.disk, raw], check=True)

    def debugfs(request: str) -> str:
        return subprocess.run(["debugfs", "-R", request, raw], capture_output=True, text=True, check=True).stdout

    assert "Mode:  0755" in debugfs("stat /usr/lib/buildfarm/agent")
    assert "Mode:  0640" in debugfs("stat /etc/shadow")
    assert "Group:    42" in debugfs("stat /etc/shadow")
    assert "10.0.2.100" in debugfs("cat /etc/apt/apt.conf.d/80buildfarm")
    assert debugfs("cat /etc/machine-id") == ""
    assert subprocess.run(["e2fsck", "-fn", raw], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_two_makings_of_the_same_archive_are_the_same(
    image: Image, tmp_path: Path, host_series: str, farm_settings: Settings
) -> None:
    spec = image_spec_for(farm_settings, host_series, native_architecture(), ("iputils-ping",))
    one, two = (make_image(spec, tmp_path / name, image.archive, io.BytesIO()) for name in ("one", "two"))

    assert one.sha256 == two.sha256
    raw = tmp_path / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", one.disk, raw], check=True)
    told = subprocess.run(
        ["debugfs", "-R", "ea_list /usr/bin/ping", raw], capture_output=True, text=True, check=True
    )
    assert "security.capability" in told.stdout
