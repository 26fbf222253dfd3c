"""Tiny real Debian packages, made when somebody asks for them: .dsc, tarballs and .debs that dpkg unpacks."""

from __future__ import annotations

import functools
import hashlib
import zlib

from tests.doubles.launchpad.model import BinaryRelease, BinarySpec, Release

MAINTAINER = "Packager <packager@example.com>"
SIZE_KEPT = 20000
GZIP_SMALL_WINDOW = 16 + 9
"""For zlib: gzip, with the least memory to set up; there are thousands of tiny files."""

RULES = """#!/usr/bin/make -f
build build-arch build-indep clean:
binary binary-arch binary-indep:
\tset -e; for one in `dh_listpackages 2>/dev/null || sed -n 's/^Package: //p' debian/control`; do \\
\t  mkdir -p debian/$$one/DEBIAN; \\
\t  dpkg-gencontrol -p$$one -Pdebian/$$one; dpkg-deb --root-owner-group --build debian/$$one ..; done
.PHONY: build build-arch build-indep clean binary binary-arch binary-indep
"""


class Packages:
    """The files of releases, kept once they are made: the same key always gives the same bytes."""

    def __init__(self) -> None:
        self._source: dict[tuple[str, ...], dict[str, bytes]] = {}
        self._debs: dict[int, bytes] = {}

    def source_files(self, release: Release) -> dict[str, bytes]:
        """The .dsc and what it names."""
        key = (release.name, release.version, release.content, release.orig)
        found = self._source.get(key)
        if found is None:
            found = self._source[key] = make_source(release)
        return found

    def deb(self, binary: BinaryRelease) -> bytes:
        found = self._debs.get(binary.id)
        if found is None:
            found = self._debs[binary.id] = make_deb(binary)
        return found

    @staticmethod
    @functools.lru_cache(maxsize=SIZE_KEPT)
    def sha256(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    @staticmethod
    @functools.lru_cache(maxsize=SIZE_KEPT)
    def sha1(data: bytes) -> str:
        return hashlib.sha1(data).hexdigest()

    @staticmethod
    @functools.lru_cache(maxsize=SIZE_KEPT)
    def md5(data: bytes) -> str:
        return hashlib.md5(data).hexdigest()


def make_source(release: Release) -> dict[str, bytes]:
    """A 3.0 (quilt) source, or 3.0 (native) where the version has no revision."""
    stem = f"{release.name}_{release.noepoch}"
    debian = {
        "debian/changelog": (
            f"{release.name} ({release.version}) unstable; urgency=medium\n\n  * Version {release.version}."
            f"\n\n -- {MAINTAINER}  Thu, 01 Jan 2026 00:00:00 +0000\n"
        ),
        "debian/control": source_control(release),
        "debian/rules": RULES,
        "debian/content": f"{release.content}\n",
    }
    files: dict[str, bytes] = {}
    if release.upstream:
        debian["debian/source/format"] = "3.0 (quilt)\n"
        top = f"{release.name}-{release.upstream}"
        orig = {f"{top}/README": f"{release.name} {release.upstream} {release.orig}\n"}
        files[f"{release.name}_{release.upstream}.orig.tar.gz"] = tarball(orig)
        files[f"{stem}.debian.tar.gz"] = tarball(debian)
    else:
        debian["debian/source/format"] = "3.0 (native)\n"
        top = f"{release.name}-{release.noepoch}"
        files[f"{stem}.tar.gz"] = tarball({f"{top}/{path}": text for path, text in debian.items()})
    return {f"{stem}.dsc": make_dsc(release, files), **files}


def source_control(release: Release) -> str:
    fields = {"Source": release.name, "Section": "misc", "Priority": "optional", "Maintainer": MAINTAINER}
    fields |= {"Standards-Version": "4.7.0", **release.fields}
    stanzas = [fields]
    for spec in release.binaries:
        own = {"Package": spec.package, "Architecture": spec.architecture}
        stanzas.append(own | spec.fields | {"Description": f"{spec.package}, a package for tests"})
    return "\n".join("".join(f"{name}: {value}\n" for name, value in one.items()) for one in stanzas)


def make_dsc(release: Release, files: dict[str, bytes]) -> bytes:
    fields = dsc_fields(release)
    for name, digest in (("Checksums-Sha1", "sha1"), ("Checksums-Sha256", "sha256"), ("Files", "md5")):
        rows = [f"\n {hashlib.new(digest, data).hexdigest()} {len(data)} {one}" for one, data in files.items()]
        fields[name] = "".join(rows)
    return "".join(
        f"{name}:{' ' * (not value.startswith(chr(10)))}{value}\n" for name, value in fields.items()
    ).encode()


def dsc_fields(release: Release) -> dict[str, str]:
    """What a .dsc and a stanza of Sources say alike."""
    architectures = {spec.architecture for spec in release.binaries} or {"any"}
    return {
        "Format": "3.0 (quilt)" if release.upstream else "3.0 (native)",
        "Source": release.name,
        "Binary": ", ".join(spec.package for spec in release.binaries),
        "Architecture": " ".join(sorted(architectures)),
        "Version": release.version,
        "Maintainer": MAINTAINER,
        "Standards-Version": "4.7.0",
        **release.fields,
        "Package-List": "".join(
            f"\n {spec.package} deb misc optional arch={spec.architecture}" for spec in release.binaries
        ),
    }


def binary_fields(binary: BinaryRelease) -> dict[str, str]:
    """The control file of a .deb; ``${binary:Version}`` in a field stands for its version."""
    release, spec = binary.build.release, binary.spec
    fields = {"Package": spec.package}
    if spec.package != release.name:
        fields["Source"] = release.name
    fields |= {
        "Version": binary.version,
        "Architecture": binary.architecture,
        "Maintainer": MAINTAINER,
        "Installed-Size": "1",
        "Section": "misc",
        "Priority": "optional",
    }
    fields |= {name: text.replace("${binary:Version}", binary.version) for name, text in spec.fields.items()}
    return fields | {"Description": f"{spec.package}, a package for tests"}


def owned_files(spec: BinarySpec, release: Release) -> dict[str, str]:
    """The paths that a .deb owns, without the slash at the begin, each with its text."""
    own = {f"usr/share/doc/{spec.package}/version": f"{release.name} {release.version} {release.content}\n"}
    return own | {path.lstrip("/"): text for path, text in spec.files.items()}


def make_deb(binary: BinaryRelease) -> bytes:
    """A .deb of format 2.0."""
    control = "".join(f"{name}: {value}\n" for name, value in binary_fields(binary).items())
    data = owned_files(binary.spec, binary.build.release)
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": tarball({"./control": control}),
        "data.tar.gz": tarball({f"./{path}": text for path, text in data.items()}),
    }
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
        parts += [content, b"\n" * (len(content) % 2)]
    return b"".join(parts)


def tarball(files: dict[str, str]) -> bytes:
    """A gzipped ustar with its directories, the same bytes each time."""
    parts, seen = [], {"", "."}
    for path, text in files.items():
        pieces = path.split("/")
        for depth in range(1, len(pieces)):
            directory = "/".join(pieces[:depth])
            if directory not in seen:
                seen.add(directory)
                parts.append(tar_header(directory + "/", 0, 0o755, b"5"))
        data = text.encode()
        parts.append(tar_header(path, len(data), 0o755 if path.endswith("debian/rules") else 0o644, b"0"))
        parts += [data, bytes(-len(data) % 512)]
    parts.append(bytes(1024))
    small = zlib.compressobj(1, zlib.DEFLATED, GZIP_SMALL_WINDOW, 1)
    return small.compress(b"".join(parts)) + small.flush()


@functools.lru_cache(maxsize=SIZE_KEPT)
def tar_header(name: str, size: int, mode: int, kind: bytes) -> bytes:
    """512 bytes of ustar; names of more than 100 characters are not needed here."""
    encoded = name.encode()
    if len(encoded) > 100:
        raise ValueError(f"{name!r} is too long a path for a package of the tests")
    head = encoded.ljust(100, b"\0") + f"{mode:07o}\0{0:07o}\0{0:07o}\0{size:011o}\0{0:011o}\0".encode()
    tail = kind + bytes(100) + b"ustar\00000" + b"root".ljust(32, b"\0") * 2 + b"0000000\0" * 2 + bytes(167)
    checksum = sum(head) + sum(tail) + 8 * 32
    return head + f"{checksum:06o}\0 ".encode() + tail
