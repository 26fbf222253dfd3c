"""A test archive of synthetic packages: forty libraries in two states, and sources that build well or badly.

    with Yard(tmp_path / "yard", series="bookworm").served() as yard:   # a signed apt repository over HTTP
        yard.state("before")                          # all libraries at 1.0
        yard.state("after")                           # all at 1.1
        yard.state({"libd17": "1.1"})                 # that one, and the others at 1.0
        job = yard.job("victim")                      # a RebuildJob that has the repository as its ``extra``

Or as the farm's own series: ``yard.farm_toml()`` is the table [series.X] with the yard beside the host's mirror.
(A root is made for each such text, since apt's sources are part of it; ``job`` and ``extra`` need none.)

Every library libdNN has one file, /usr/share/libdNN/version, that says its version. The sources:

    victim          fails when libd17 is 1.1
    victim-pair     fails when libd09 and libd31 are both 1.1
    victim-either   fails when libd05 is 1.1, and when libd22 is
    steady          passes always: a control package, without build-dependencies
    flaky           passes and fails by chance, one time in two
    taptest         fails by one test of three, told as TAP
    forgiving       fails by a test of two, and passes all the same; by the other, too, when libd17 is 1.1
    unmet           needs a package that nobody has
    hanging         says nothing and does not end
    forking         forks without end
    diskful         writes files without end
    hiding          writes a file without end that has no name any more
    hungry          takes memory without end
    sharing         takes memory without end, as segments that no process looks at
    chatty          writes a log without end
    leaving         passes, and leaves processes behind in sessions of their own, that close what they had open
    roomy           needs more room than a small build gets in memory: a test fails, and it says much after that
    straying        writes beside its tree
    diverting       passes, and what it made is packed to another place

No process is run to make it but gpg: a yard is there in less than a second.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO

from buildfarm.build.apt_sources import find_sources, read_host
from buildfarm.build.bootstrap import native_architecture
from buildfarm.build.manifest import EnvironmentPackage
from buildfarm.regress.model import BuildLimits, ExtraSources, RebuildJob, SourceFile
from ppa_tools import openpgp

BEFORE, AFTER = "1.0", "1.1"
MADE_AT = 1_790_000_000  # seconds since the epoch: the same bytes whenever it is made
AUTHOR = "Yard Author <yard@example.org>"
LIBRARIES = tuple(f"libd{number:02}" for number in range(1, 41))
COMPONENT = "main"

RULES = """\
#!/usr/bin/make -f
clean:
	rm -rf stamp debian/tmp debian/files
build build-arch build-indep: stamp
stamp:
	sh debian/check.sh
	touch stamp
binary-indep:
binary binary-arch: stamp
	mkdir -p debian/tmp/DEBIAN debian/tmp/usr/share/{name}
	echo built > debian/tmp/usr/share/{name}/built
	dpkg-gencontrol -p{name} -Pdebian/tmp
	dpkg-deb --root-owner-group -Znone --build debian/tmp ..
"""

# YARD_ROOT is for tests of the yard alone; in a build it is not set.
VERSIONS = """\
is_new() { test "$(cat "${YARD_ROOT:-}/usr/share/$1/version")" = 1.1; }
broken() { echo "check.sh:9: error: undefined symbol frobnicate in $*" >&2; exit 1; }
"""


@dataclass(frozen=True)
class Recipe:
    """A source: what its build runs (a POSIX shell script), and what it needs."""

    check: str
    build_depends: tuple[str, ...] = ()


SOURCES: Mapping[str, Recipe] = {
    "victim": Recipe(VERSIONS + "if is_new libd17; then broken libd17; fi\n", LIBRARIES),
    "victim-pair": Recipe(
        VERSIONS + "if is_new libd09 && is_new libd31; then broken libd09 libd31; fi\n", LIBRARIES
    ),
    "victim-either": Recipe(
        VERSIONS + "if is_new libd05 || is_new libd22; then broken libd05 libd22; fi\n", LIBRARIES
    ),
    "steady": Recipe("echo all is well\n"),
    "flaky": Recipe(
        "byte=$(od -An -N1 -tu1 /dev/urandom)\n"
        "if test $((byte % 2)) = 1; then echo 'check.sh:2: error: the dice fell badly' >&2; exit 1; fi\n"
    ),
    "taptest": Recipe(
        "echo 1..3\necho ok 1 - opens\necho 'not ok 2 - reads back what it wrote'\n"
        "echo '#   Failed test at t/basic.t line 7.'\necho ok 3 - closes\nexit 1\n"
    ),
    "forgiving": Recipe(
        VERSIONS + "echo 1..2\necho not ok 1 - never worked\n"
        "if is_new libd17; then echo not ok 2 - frobnicates; else echo ok 2 - frobnicates; fi\n",
        LIBRARIES,
    ),
    "unmet": Recipe("true\n", ("libd01", "libd-gone (>= 2)")),
    "hanging": Recipe("echo waiting for what never comes\nexec sleep 1000000\n"),
    "forking": Recipe("f() { f | f & }\nf\nwhile :; do f; sleep 0.01; done\n"),
    "diskful": Recipe("n=0\nwhile head -c 67108864 /dev/zero > fill.$n; do n=$((n+1)); done\nexit 1\n"),
    "hungry": Recipe("exec perl -e 'push @all, \"x\" x 16777216 . $_ while ++$_'\n"),
    "sharing": Recipe(
        "exec perl -e '$n = 1 << 25; $x = qq(x) x $n; while "
        "(defined($i = shmget(0, $n, 01600))) { shmwrite($i, $x, 0, $n); select undef, undef, undef, 0.1 }'\n"
    ),
    "hiding": Recipe("exec 9> fill\nrm fill\nwhile head -c 67108864 /dev/zero >&9; do sleep 0.1; done\nexit 1\n"),
    "chatty": Recipe("exec yes 'and another thing about the build that nobody will ever read'\n"),
    "roomy": Recipe(
        "echo 1..1\nhead -c 314572800 /dev/zero > big && echo ok 1 - fits && exit 0\n"
        "echo not ok 1 - fits\nseq 100000\nexit 1\n"
    ),
    "diverting": Recipe("ln -s /tmp/elsewhere /build/home/results.tar\n"),
    "straying": Recipe("touch /build/astray\n"),
    "leaving": Recipe("for n in 1 2 3; do setsid sleep 1000000 < /dev/null > /dev/null 2>&1 & done\necho done\n"),
}


class Yard:
    """The archive below ``path``. ``needs`` gives ties: {"libd03": "libd04"} makes version 1.1 of the first depend
    on 1.1 of the second. Nothing is published before the first ``state``."""

    def __init__(
        self,
        path: Path,
        series: str = "bookworm",
        architecture: str = "",
        needs: Mapping[str, str] | None = None,
    ) -> None:
        self.path, self.series = path, series
        self.architecture = architecture or native_architecture()
        self.needs = dict(needs or {})
        self.www = path / "www"
        self.url = self.www.absolute().as_uri()
        self._files: dict[str, bytes] = {}
        self._debs = {
            (name, version): self._deb(name, version) for name in LIBRARIES for version in (BEFORE, AFTER)
        }
        self._sources = {name: self._source(name, recipe) for name, recipe in SOURCES.items()}
        self._here: dict[str, str] = {}
        home = path / "gnupg"
        fingerprint = openpgp.create_key(home, "Yard <yard@example.org>").fingerprint
        self._sign = functools.partial(openpgp.clearsign, home, [fingerprint])
        self.key = openpgp.export_public(home, fingerprint).decode()
        for name, content in self._files.items():
            self._write(name, content)

    # What it holds

    def state(self, state: str | Mapping[str, str]) -> None:
        """Publish: "before", "after", or versions of libraries, where those not named are at 1.0.

        Raises ValueError for another word, and KeyError for a library or version that is not there.
        """
        if isinstance(state, str):
            if state not in ("before", "after"):
                raise ValueError(state)
            versions = dict.fromkeys(LIBRARIES, AFTER if state == "after" else BEFORE)
        else:
            versions = dict.fromkeys(LIBRARIES, BEFORE) | dict(state)
        packages = [self._debs[one] for one in versions.items()]
        self._here = versions
        texts = {
            f"{COMPONENT}/binary-{self.architecture}/Packages": "\n".join(packages),
            f"{COMPONENT}/source/Sources": "\n".join(stanza for stanza, _ in self._sources.values()),
        }
        self._publish({name: text.encode() for name, text in texts.items()})

    def versions(self) -> dict[str, str]:
        """The libraries that are published, with their versions."""
        return dict(self._here)

    def packages(self) -> tuple[EnvironmentPackage, ...]:
        """The libraries that are published, as an environment has them."""
        return tuple(
            EnvironmentPackage(
                name,
                version,
                self.architecture,
                name,
                version,
                hashlib.sha256(self.deb(name, version).read_bytes()).hexdigest(),
                self.deb(name, version).stat().st_size,
                depends=self._depends(name, version),
            )
            for name, version in sorted(self._here.items())
        )

    def deb(self, name: str, version: str) -> Path:
        """A library's .deb."""
        return self.www / self._pool(name) / f"{name}_{version}_{self.architecture}.deb"

    # How it is used

    @contextmanager
    def served(self) -> Iterator[Yard]:
        """Over HTTP on a port of the loopback device while the ``with`` block lasts; ``url`` is then that."""
        handler = functools.partial(_Quiet, directory=str(self.www))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            url, self.url = self.url, f"http://127.0.0.1:{server.server_address[1]}"
            try:
                yield self
            finally:
                self.url = url
                server.shutdown()
                thread.join()
                self.close()

    def close(self) -> None:
        """End the agent that gpg left; it comes again when needed."""
        openpgp.stop_agent(self.path / "gnupg")

    @property
    def extra(self) -> ExtraSources:
        """The repository as a job names it."""
        return ExtraSources(self._stanza(), self.key)

    @property
    def apt_sources(self) -> str:
        """deb822 text that vouches for itself: its Signed-By is the key."""
        lines = "".join(f" {line or '.'}\n" for line in self.key.splitlines())
        return f"{self._stanza()}Signed-By:\n{lines}"

    def farm_toml(self) -> str:
        """The table of farm.toml that makes the yard a part of the series, beside what the host's apt has."""
        host = find_sources(self.series, self.architecture, None, read_host()).text
        return f"[series.{self.series}]\napt_sources = '''\n{host.rstrip()}\n\n{self.apt_sources}'''\n"

    def job(self, name: str, *, limits: BuildLimits | None = None, package_set: str = "yard") -> RebuildJob:
        """The rebuild of a source; raises KeyError for one that is not there."""
        _, files = self._sources[name]
        return RebuildJob(
            set=package_set,
            package=name,
            version="1.0",
            series=self.series,
            architecture=self.architecture,
            files=tuple(
                SourceFile(
                    Path(path).name, f"{self.url}/{path}", len(self._files[path]), _sha256(self._files[path])
                )
                for path in files
            ),
            extra=(self.extra,),
            limits=limits or BuildLimits(),
        )

    # How it is made

    def _stanza(self) -> str:
        return f"Types: deb deb-src\nURIs: {self.url}\nSuites: {self.series}\nComponents: {COMPONENT}\n"

    def _pool(self, name: str) -> str:
        return f"pool/{COMPONENT}/{name}"

    def _depends(self, name: str, version: str) -> str:
        return f"{self.needs[name]} (>= {AFTER})" if version == AFTER and name in self.needs else ""

    def _deb(self, name: str, version: str) -> str:
        """Its stanza in Packages."""
        depends = self._depends(name, version)
        control = (
            f"Package: {name}\nVersion: {version}\nArchitecture: {self.architecture}\nMaintainer: {AUTHOR}\n"
            + (f"Depends: {depends}\n" if depends else "")
            + "Section: libs\nPriority: optional\nDescription: tiny library\n It says its version.\n"
        )
        data = _tar({f"./usr/share/{name}/version": f"{version}\n".encode()})
        deb = _ar(
            {"debian-binary": b"2.0\n", "control.tar": _tar({"./control": control.encode()}), "data.tar": data}
        )
        path = f"{self._pool(name)}/{name}_{version}_{self.architecture}.deb"
        self._files[path] = deb
        return f"{control}Filename: {path}\nSize: {len(deb)}\nSHA256: {_sha256(deb)}\n"

    def _source(self, name: str, recipe: Recipe) -> tuple[str, tuple[str, ...]]:
        """Its stanza in Sources, and its files, the .dsc first."""
        depends = f"Build-Depends: {', '.join(recipe.build_depends)}\n" if recipe.build_depends else ""
        tree = {
            "debian/control": f"Source: {name}\nSection: misc\nPriority: optional\nMaintainer: {AUTHOR}\n{depends}"
            f"Standards-Version: 4.6.2\nRules-Requires-Root: no\n\nPackage: {name}\nArchitecture: any\n"
            "Description: synthetic package\n Its build is what it is for.\n",
            "debian/rules": RULES.format(name=name),
            "debian/check.sh": recipe.check,
            "debian/changelog": f"{name} (1.0) {self.series}; urgency=medium\n\n  * Made.\n\n"
            f" -- {AUTHOR}  {formatdate(MADE_AT)}\n",
            "debian/source/format": "3.0 (native)\n",
        }
        archive = _tar({f"{name}-1.0/{path}": text.encode() for path, text in tree.items()})
        tarball, pool = gzip.compress(archive, mtime=0), self._pool(name)
        file = f"{name}_1.0.tar.gz"
        head = (
            f"Format: 3.0 (native)\n@: {name}\nBinary: {name}\nArchitecture: any\nVersion: 1.0\n"
            f"Maintainer: {AUTHOR}\nStandards-Version: 4.6.2\n{depends}"
        )
        dsc = (head.replace("@", "Source") + _sums({file: tarball})).encode()
        files = {f"{name}_1.0.dsc": dsc, file: tarball}
        self._files |= {f"{pool}/{path}": content for path, content in files.items()}
        stanza = f"{head.replace('@', 'Package')}Directory: {pool}\n{_sums(files)}"
        return stanza, tuple(f"{pool}/{path}" for path in files)

    def _publish(self, indexes: Mapping[str, bytes]) -> None:
        files = dict(indexes) | {f"{name}.gz": gzip.compress(text, mtime=0) for name, text in indexes.items()}
        listed = "".join(f" {_sha256(content)} {len(content)} {name}\n" for name, content in sorted(files.items()))
        release = (
            f"Origin: Yard\nLabel: Yard\nSuite: {self.series}\nCodename: {self.series}\n"
            f"Architectures: {self.architecture}\nComponents: {COMPONENT}\nDate: {formatdate(usegmt=True)}\n"
            f"Acquire-By-Hash: yes\nSHA256:\n{listed}"
        )
        for name, content in files.items():
            self._write(f"dists/{self.series}/{Path(name).parent}/by-hash/SHA256/{_sha256(content)}", content)
            self._write(f"dists/{self.series}/{name}", content)
        self._write(f"dists/{self.series}/InRelease", self._sign(release.encode()))

    def _write(self, name: str, content: bytes) -> None:
        file = self.www / name
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}.new")
        new.write_bytes(content)
        new.replace(file)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        del self.headers["If-Modified-Since"]  # its seconds are too coarse for two states in one
        return super().send_head()

    def log_message(self, *_words: object) -> None:
        pass


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sums(files: Mapping[str, bytes]) -> str:
    text = ""
    for field, algorithm in (("Checksums-Sha1", "sha1"), ("Checksums-Sha256", "sha256"), ("Files", "md5")):
        text += f"{field}:\n"
        for name, content in files.items():
            text += f" {hashlib.new(algorithm, content).hexdigest()} {len(content)} {name}\n"
    return text


def _tar(files: Mapping[str, bytes]) -> bytes:
    """A tarball of them and the directories they are in; debian/rules may be run."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        parents = {str(parent) for path in files for parent in Path(path).parents} - {"."}
        for parent in sorted(parents):
            one = tarfile.TarInfo(f"./{parent}" if next(iter(files)).startswith("./") else parent)
            one.type, one.mode, one.mtime = tarfile.DIRTYPE, 0o755, MADE_AT
            tar.addfile(one)
        for path, content in files.items():
            one = tarfile.TarInfo(path)
            one.size, one.mtime = len(content), MADE_AT
            one.mode = 0o755 if path.endswith("debian/rules") else 0o644
            tar.addfile(one, io.BytesIO(content))
    return buffer.getvalue()


def _ar(members: Mapping[str, bytes]) -> bytes:
    parts: Sequence[bytes] = [
        f"{name:<16}{MADE_AT:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        + content
        + b"\n" * (len(content) % 2)
        for name, content in members.items()
    ]
    return b"!<arch>\n" + b"".join(parts)
