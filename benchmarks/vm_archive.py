"""A small signed archive with one package, served on the loopback for as long as a benchmark runs."""

from __future__ import annotations

import contextlib
import functools
import http.server
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NAME, VERSION = "bench-greeter", "1.0-1"
CONTROL = f"""\
Package: {NAME}
Version: {VERSION}
Architecture: all
Maintainer: A Benchmark <bench@example.org>
Section: misc
Priority: optional
Description: says something
 It is there to be installed.
"""


@dataclass(frozen=True)
class SmallArchive:
    """Apt's .sources text for it, and the package's source for autopkgtest."""

    sources: str
    tree: Path
    deb: Path


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_words: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def small_archive(place: Path) -> Iterator[SmallArchive]:
    """Make it below ``place`` and serve it."""
    root, served = place / "package", place / "served"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "usr/bin").mkdir(parents=True)
    served.mkdir()
    (root / "DEBIAN/control").write_text(CONTROL)
    program = root / f"usr/bin/{NAME}"
    program.write_text("#!/bin/sh\necho it works\n")
    program.chmod(0o755)
    deb = served / f"{NAME}_{VERSION}_all.deb"
    _run("dpkg-deb", "--root-owner-group", "--build", str(root), str(deb), cwd=place)
    (served / "Packages").write_bytes(_run("apt-ftparchive", "packages", ".", cwd=served))
    (served / "Release").write_bytes(_run("apt-ftparchive", "release", ".", cwd=served))
    home = place / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ("gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "")
    _run(*gpg, "--quick-generate-key", "bench@example.org", "ed25519", "sign", cwd=place)
    _run(*gpg, "--clearsign", "--output", "InRelease", "Release", cwd=served)
    key = _run(*gpg, "--armor", "--export", cwd=place).decode().strip().splitlines()
    _run("gpgconf", "--homedir", str(home), "--kill", "all", cwd=place)
    handler = functools.partial(_Quiet, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        signed_by = "\n".join(f" {line or '.'}" for line in key)
        url = f"http://127.0.0.1:{server.server_port}/"
        yield SmallArchive(
            f"Types: deb\nURIs: {url}\nSuites: ./\nSigned-By:\n{signed_by}\n", _source(place / "source"), deb
        )
        server.shutdown()


def _source(tree: Path) -> Path:
    """The package's source with a test, for autopkgtest, which does not build it."""
    files = {
        "debian/control": f"Source: {NAME}\nSection: misc\nMaintainer: A Benchmark <bench@example.org>\n\n"
        f"Package: {NAME}\nArchitecture: all\nDescription: says something\n It is there.\n",
        "debian/changelog": f"{NAME} ({VERSION}) unstable; urgency=medium\n\n  * First.\n\n"
        " -- A Benchmark <bench@example.org>  Mon, 02 Nov 2026 09:00:00 +0000\n",
        "debian/tests/control": f"Test-Command: {NAME}\nDepends: @\nFeatures: test-name=it-works\n",
        "debian/source/format": "3.0 (native)\n",
    }
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    return tree


def _run(*argv: str, cwd: Path) -> bytes:
    return subprocess.run(argv, cwd=cwd, check=True, capture_output=True, timeout=120).stdout
