"""Packages to measure archives with: tiny but real, always the same, and made by the ten thousand in seconds.

A package is a source in format 3.0 (quilt) with one binary of the same name. Stanzas have the size of Debian's
median: about 700 bytes in Packages and 1.3 kB in Sources. Files are written by hand (ar, tar and gzip): dpkg-deb
takes longer to start than all of this takes for a package.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

ARCHITECTURE = "amd64"
VERSION = "1.2.3-1"
UPSTREAM = VERSION.partition("-")[0]
DATE = "Thu, 01 Jan 2026 00:00:00 +0000"
EPOCH_S = 1767225600
PERSON = "A Maintainer of Packages <maintainer@example.com>"
DIRECTORY_HOLDS = 1000

CONSONANTS, VOWELS = "bdfgjklmnprstvxz", "aeiou"
SYLLABLES = tuple(map("".join, product(CONSONANTS, VOWELS)))
LIBRARIES = (
    "libc6 (>= 2.34)",
    "libgcc-s1 (>= 3.0)",
    "libglib2.0-0 (>= 2.37.3)",
    "libstdc++6 (>= 11)",
    "libssl3 (>= 3.0.0)",
    "python3:any",
    "zlib1g (>= 1:1.2.0)",
    "libsqlite3-0 (>= 3.35.4)",
)
PROSE = """
a access and archive building by collection command configuration data documentation each fast files for format
from in into is it library line manage modules network of on or other package programs provides reading server
simple support system that the this to tool used user with writing
"""
WORDS = PROSE.split()


@dataclass(frozen=True)
class Package:
    """A source and its binary, both ``name`` in ``VERSION``; their files lie in ``directory``, alone."""

    number: int
    directory: Path

    @property
    def name(self) -> str:
        """Its name."""
        return package_name(self.number)

    @property
    def dsc(self) -> Path:
        """The source package's description."""
        return self.directory / f"{self.name}_{VERSION}.dsc"

    @property
    def tarballs(self) -> tuple[Path, ...]:
        """The other files of the source."""
        return (
            self.directory / f"{self.name}_{UPSTREAM}.orig.tar.gz",
            self.directory / f"{self.name}_{VERSION}.debian.tar.gz",
        )

    @property
    def deb(self) -> Path:
        """The binary package."""
        return self.directory / f"{self.name}_{VERSION}_{ARCHITECTURE}.deb"

    @property
    def files(self) -> tuple[Path, ...]:
        """All four."""
        return (self.dsc, *self.tarballs, self.deb)


def package_name(number: int) -> str:
    """The name of package ``number``: another for each number, spread over the alphabet as names are."""
    digest = hashlib.sha256(str(number).encode()).digest()
    word = "".join(SYLLABLES[byte % len(SYLLABLES)] for byte in digest[: 2 + digest[31] % 3])
    return ("lib" if digest[30] < 50 else "") + f"{word}-{number:x}"


def make_packages(store: Path, numbers: Iterable[int]) -> list[Package]:
    """These packages, from the store where it has them; ``store`` may be used again and again."""
    packages = []
    for number in numbers:
        package = Package(number, store / f"{number // DIRECTORY_HOLDS}" / package_name(number))
        if not package.dsc.exists():  # it is written last
            package.directory.mkdir(parents=True, exist_ok=True)
            write_package(package)
        packages.append(package)
    return packages


def write_package(package: Package, sign: Callable[[bytes], bytes] | None = None) -> None:
    """Write a package's files, its .dsc last; ``sign`` clear-signs that."""
    name, texts = package.name, draw_texts(package.number)
    orig, debian = package.tarballs
    orig.write_bytes(_tar_gz({f"{name}-{UPSTREAM}/README": texts.description.encode()}))
    changelog = f"{name} ({VERSION}) stable; urgency=medium\n\n  * A change.\n\n -- {PERSON}  {DATE}\n"
    tree = {
        "debian/changelog": changelog,
        "debian/control": f"Source: {name}\nSection: misc\nPriority: optional\nMaintainer: {PERSON}\n\n"
        f"Package: {name}\nArchitecture: any\nDescription: {texts.summary}\n",
        "debian/source/format": "3.0 (quilt)\n",
    }
    debian.write_bytes(_tar_gz({path: text.encode() for path, text in tree.items()}))
    package.deb.write_bytes(_deb(name, binary_control(name, texts), texts.description))
    text = source_control(name, texts) + checksums((orig, debian))
    package.dsc.write_bytes(sign(text.encode()) if sign else text.encode())


def write_changes(package: Package, series: str, files: Sequence[Path], words: str, suffix: str) -> Path:
    """A .changes beside a package's files that names some of them; not signed. ``words``: its architectures."""
    path = package.directory / f"{package.name}_{VERSION}_{suffix}.changes"
    path.write_text(
        f"Format: 1.8\nDate: {DATE}\nSource: {package.name}\nBinary: {package.name}\nArchitecture: {words}\n"
        f"Version: {VERSION}\nDistribution: {series}\nUrgency: medium\nMaintainer: {PERSON}\n"
        f"Changed-By: {PERSON}\nDescription:\n {package.name} - a package\n"
        f"Changes:\n {package.name} ({VERSION}) {series}; urgency=medium\n .\n   * A change.\n"
        + checksums(files, section="misc optional "),
        encoding="utf-8",
    )
    return path


def checksums(files: Sequence[Path], section: str = "") -> str:
    """The three lists of files that a .dsc and a .changes have."""
    contents = {path.name: path.read_bytes() for path in files}
    lists: Mapping[str, tuple[str, str]] = {
        "Checksums-Sha1": ("sha1", ""),
        "Checksums-Sha256": ("sha256", ""),
        "Files": ("md5", section),
    }
    return "".join(
        f"{field}:\n"
        + "".join(
            f" {hashlib.new(kind, data).hexdigest()} {len(data)} {more}{name}\n" for name, data in contents.items()
        )
        for field, (kind, more) in lists.items()
    )


@dataclass(frozen=True)
class Texts:
    """What a package says of itself."""

    summary: str
    description: str
    depends: str
    homepage: str


def draw_texts(number: int) -> Texts:
    """The texts of package ``number``, always the same."""
    rng = random.Random(number)
    return Texts(
        summary=" ".join(rng.choices(WORDS, k=6)),
        description="".join(f" {' '.join(rng.choices(WORDS, k=10))}\n" for _ in range(rng.randint(1, 3))),
        depends=", ".join(rng.sample(LIBRARIES, rng.randint(2, 5))),
        homepage=f"https://{rng.choice(WORDS)}.example.com/{rng.randrange(10**6)}",
    )


def source_control(name: str, texts: Texts) -> str:
    """The fields of a .dsc, but for its files."""
    return (
        f"Format: 3.0 (quilt)\nSource: {name}\nBinary: {name}\nArchitecture: any\nVersion: {VERSION}\n"
        f"Maintainer: {PERSON}\nHomepage: {texts.homepage}\nStandards-Version: 4.6.2\n"
        f"Vcs-Browser: {texts.homepage}/browse\nVcs-Git: {texts.homepage}.git\n"
        "Build-Depends: debhelper-compat (= 13), dh-python, pkgconf, python3-all\n"
        f"Package-List:\n {name} deb misc optional arch=any\n"
    )


def binary_control(name: str, texts: Texts) -> str:
    """The control file of the .deb."""
    return (
        f"Package: {name}\nVersion: {VERSION}\nArchitecture: {ARCHITECTURE}\nMaintainer: {PERSON}\n"
        f"Installed-Size: 24\nDepends: {texts.depends}\nSection: misc\nPriority: optional\nMulti-Arch: foreign\n"
        f"Homepage: {texts.homepage}\nDescription: {texts.summary}\n{texts.description}"
    )


def _deb(name: str, control: str, text: str) -> bytes:
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": _tar_gz({"./control": control.encode()}),
        "data.tar.gz": _tar_gz({f"./usr/share/doc/{name}/README": text.encode()}),
    }
    archive = b"!<arch>\n"
    for member, data in members.items():
        head = f"{member:<16}{EPOCH_S:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n"
        archive += head.encode() + data + b"\n" * (len(data) % 2)
    return archive


def _tar_gz(files: Mapping[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mtime = len(content), EPOCH_S
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), compresslevel=1, mtime=0)
