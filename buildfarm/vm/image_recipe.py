"""What goes into a machine's image: its packages, our files, how it is set up, and its key in the cache."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from buildfarm.build.apt_sources import AptSources, distribution_of, find_sources, read_host
from buildfarm.build.bootstrap import Bootstrap
from buildfarm.errors import UsageError
from buildfarm.settings import Settings

RECIPE_VERSION = 1
DISK_BYTES = 8 << 30
GUEST = Path(__file__).with_name("guest")
BASE_PACKAGES = ("ca-certificates", "iproute2", "kmod", "netbase", "procps", "systemd-sysv", "udev")
DEBIAN_KERNELS = {
    "amd64": "linux-image-cloud-amd64",
    "arm64": "linux-image-cloud-arm64",
    "armhf": "linux-image-armmp",
    "i386": "linux-image-686-pae",
    "ppc64el": "linux-image-powerpc64le",
}
# The gateway: the machine's only way out, and the only address it knows.
PROXY = "http://10.0.2.100/"


@dataclass(frozen=True)
class GuestFile:
    """A file of ours in the machine: its name below guest/, where it goes, its mode."""

    name: str
    target: str
    mode: int = 0o644


GUEST_FILES = (
    GuestFile("buildfarm-agent", "/usr/lib/buildfarm/agent", 0o755),
    GuestFile("buildfarm-firstboot.service", "/etc/systemd/system/buildfarm-firstboot.service"),
)
SETUP = GuestFile("setup.sh", "/buildfarm-setup")
INITRD_INIT = GUEST / "initrd-init"


@dataclass(frozen=True)
class ImageSpec:
    """What an image is made of. ``packages`` come on top of what every machine has."""

    series: str
    architecture: str
    sources: AptSources
    packages: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name of this image in the cache: hex SHA-256 over all that decides its content but the archive."""
        ours = [(file.target, file.mode, (GUEST / file.name).read_text()) for file in (*GUEST_FILES, SETUP)]
        content = [
            RECIPE_VERSION,
            self.series,
            self.architecture,
            image_packages(self),
            self.sources.text,
            apt_settings(self.sources),
            DISK_BYTES,
            ours,
            INITRD_INIT.read_text(),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def image_spec_for(settings: Settings, series: str, architecture: str, packages: Sequence[str] = ()) -> ImageSpec:
    """The image that the farm makes for a series and architecture; raises UsageError for an unknown series."""
    sources = find_sources(series, architecture, settings.series.get(series), read_host())
    return ImageSpec(series, architecture, sources, tuple(sorted(packages)))


def image_packages(spec: ImageSpec) -> tuple[str, ...]:
    """All packages that are asked for by name."""
    return tuple(sorted({*BASE_PACKAGES, kernel_package(spec.series, spec.architecture), *spec.packages}))


def kernel_package(series: str, architecture: str) -> str:
    """The kernel for a machine without hardware; a series of the farm's own names has one as Debian names it."""
    try:
        distribution = distribution_of(series)
    except UsageError:
        distribution = "debian"
    if distribution == "ubuntu":
        return "linux-image-virtual"
    return DEBIAN_KERNELS.get(architecture, f"linux-image-{architecture}")


def apt_settings(sources: AptSources) -> str:
    """The machine's apt.conf: all goes through the gateway, and else as the host's apt reaches its mirrors."""
    carried = [line for line in sources.settings if "proxy" not in line.partition(" ")[0].lower()]
    proxies = [f'Acquire::{scheme}::Proxy "{PROXY}";' for scheme in ("http", "https")]
    # Without apt-utils, which no machine has, preconfiguring only says that it is delayed, and takes a second.
    ours = (*proxies, 'Acquire::Languages "none";', "#clear DPkg::Pre-Install-Pkgs;")
    return "".join(f"{line}\n" for line in (*ours, *carried))


def image_bootstrap(spec: ImageSpec, epoch_s: int) -> Bootstrap:
    """The call of mmdebstrap; everything in the root is dated ``epoch_s`` at the latest."""
    hooks: list[str] = []
    for file in (*GUEST_FILES, SETUP):
        parent = str(PurePosixPath(file.target).parent)
        hooks += [
            f'mkdir -p "$1"{shlex.quote(parent)}',
            f"upload {shlex.quote(str(GUEST / file.name))} {shlex.quote(file.target)}",
            f'chmod {file.mode:o} "$1"{shlex.quote(file.target)}',
        ]
    settings = f"printf %s {shlex.quote(apt_settings(spec.sources))}"
    hooks += [
        f'chroot "$1" sh {SETUP.target}',
        f'rm "$1"{SETUP.target}',
        f'{settings} > "$1/etc/apt/apt.conf.d/80buildfarm"',
    ]
    return Bootstrap(
        spec.series,
        spec.architecture,
        "minbase",
        spec.sources,
        image_packages(spec),
        tuple(hooks),
        again=f"buildfarm vm image build --series {spec.series}",
        # The kernel's package would make a large initial RAM disk, slowly; ours is made apart.
        environment={"SOURCE_DATE_EPOCH": str(epoch_s), "INITRD": "No"},
    )
