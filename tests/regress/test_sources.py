"""What a set comes to: from signed indexes on disk and over HTTP, with a reason for all that is left out."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.build.apt_proxy import proxies_of
from buildfarm.build.apt_sources import AptSources, HostApt
from buildfarm.build.limits import BuildLimits
from buildfarm.errors import FarmTrouble, UsageError
from buildfarm.regress.model import ExtraSources, RebuildJob
from buildfarm.regress.package_set import PackageSet
from buildfarm.regress.sets import ad_hoc_set
from buildfarm.regress.source_index import repositories_of
from buildfarm.regress.sources import Selection, match, select
from buildfarm.settings import ArchiveSettings, LaunchpadSettings, SeriesSettings, Settings
from ppa_tools.archives.local import LocalArchive
from tests.archive.conftest import PPA, SERIES, Signer, archive, make_source, signer, stranger

__all__ = ["archive", "signer", "stranger"]  # fixtures
HOST = HostApt("nosuch", {})
SHA = hashlib.sha256(b"").hexdigest()


def stanza(name: str, version: str = "1.0-1", *fields: str, architecture: str = "any", binary: str = "") -> str:
    """A stanza of Sources."""
    lines = [
        f"Package: {name}",
        f"Binary: {binary or name}",
        f"Version: {version}",
        f"Architecture: {architecture}",
    ]
    noepoch = version.partition(":")[2] or version
    given_names = {field.partition(":")[0] for field in fields}
    if "Directory" not in given_names:
        lines.append(f"Directory: pool/main/{name}")
    if "Checksums-Sha256" not in given_names:
        lines += ["Checksums-Sha256:", f" {SHA} 10 {name}_1.orig.tar.gz", f" {SHA} 20 {name}_{noepoch}.dsc"]
    return "\n".join([*lines, *fields]) + "\n"


class Mirror:
    """An archive on disk, each suite signed by its key."""

    def __init__(self, root: Path, signer: Signer) -> None:
        self.root, self.signer, self.suites = root, signer, list[str]()
        self.key = root / "key.asc"
        root.mkdir(parents=True)
        self.key.write_bytes(signer.public)

    def suite(self, name: str, *stanzas: str, release: str = "", signer: Signer | None = None) -> None:
        text = gzip.compress("\n".join(stanzas).encode(), mtime=0)
        directory = self.root / "dists" / name
        (directory / "main/source").mkdir(parents=True, exist_ok=True)
        (directory / "main/source/Sources.gz").write_bytes(text)
        listed = f" {hashlib.sha256(text).hexdigest()} {len(text)} main/source/Sources.gz\n" if stanzas else ""
        said = f"Suite: {name}\n{release}SHA256:\n{listed}"
        (directory / "InRelease").write_bytes((signer or self.signer).sign(said))
        self.suites = sorted({*self.suites, name})

    def text(self, uri: str = "") -> str:
        """As apt sources, for binaries alone: most hosts have no deb-src."""
        return (
            f"Types: deb\nURIs: {uri or f'file:{self.root}'}\nSuites: {' '.join(self.suites)}\n"
            f"Components: main\nSigned-By: {self.key}\n"
        )


@pytest.fixture
def mirror(tmp_path: Path, signer: Signer) -> Mirror:
    return Mirror(tmp_path / "mirror", signer)


def farm(tmp_path: Path, **series: str) -> Settings:
    tables = {name: SeriesSettings(text) for name, text in series.items()}
    return Settings(tmp_path, tmp_path / "home", tmp_path / "recipes", series=tables)


def chosen(mirror: Mirror, tmp_path: Path, **those: Any) -> Selection:
    wanted = PackageSet(**{"name": "x", "series": ("sid",), "architectures": ("amd64",), **those})
    return select(wanted, farm(tmp_path, sid=mirror.text()), host=HOST)


def names(selection: Selection) -> list[str]:
    return [job.package for job in selection.jobs]


def reasons(selection: Selection) -> dict[str, str]:
    return {one.subject.package: one.reason for one in selection.left_out}


def test_a_job_has_what_the_index_vouches_for(mirror: Mirror, tmp_path: Path) -> None:
    mirror.suite("sid", stanza("hello", "2:1.0+b-1"))
    limits, extra = BuildLimits(timeout_s=5), ExtraSources("Types: deb\n", "KEY")
    selection = chosen(
        mirror,
        tmp_path,
        packages=("hello",),
        limits=limits,
        extra=(extra,),
        options=("noopt",),
        publish="local:a/b",
    )
    (job,) = selection.jobs
    assert (job.version, job.set, str(job.subject)) == ("2:1.0+b-1", "x", "hello sid-amd64")
    dsc, orig = job.files
    assert (dsc.name, dsc.size_bytes, dsc.sha256) == ("hello_1.0+b-1.dsc", 20, SHA)
    assert dsc.url == f"file:{mirror.root}/pool/main/hello/hello_1.0%2Bb-1.dsc"
    assert (orig.name, orig.size_bytes) == ("hello_1.orig.tar.gz", 10)
    assert (job.limits, job.extra, job.options, job.publish) == (limits, (extra,), ("noopt",), "local:a/b")
    assert RebuildJob.from_json(job.to_json()) == job


def test_the_newest_version_over_all_pockets_is_taken_but_none_of_backports(
    mirror: Mirror, tmp_path: Path
) -> None:
    mirror.suite("sid", stanza("a", "1.0-1"), stanza("b", "1.10-1"), stanza("b", "1.9-1"))
    mirror.suite("sid-security", stanza("a", "1.0-1+deb1"))
    mirror.suite("sid-backports", stanza("a", "9-1"), stanza("only", "9-1"), release="NotAutomatic: yes\n")
    selection = chosen(mirror, tmp_path, packages=("a", "b", "only"))
    assert [job.version for job in selection.jobs] == ["1.0-1+deb1", "1.10-1"]
    assert "no source package of this name" in reasons(selection)["only"]


def test_what_is_kept_only_for_others_is_not_rebuilt(mirror: Mirror, tmp_path: Path) -> None:
    mirror.suite("sid", stanza("a", "1-1"), stanza("a", "2-1", "Extra-Source-Only: yes"),
                 stanza("old", "1-1", "Extra-Source-Only: yes"))  # fmt: skip
    selection = chosen(mirror, tmp_path, packages=("a", "old", "o*"))
    assert [job.version for job in selection.jobs] == ["1-1"]
    assert "kept only for what was built with it" in reasons(selection)["old"]
    assert "nothing in sid matches" in reasons(selection)["o*"]


@pytest.mark.parametrize(
    ("architecture", "on", "arch_all"),
    [
        ("any", "arm64 amd64", {"arm64": False, "amd64": False}),
        ("any all", "arm64 amd64", {"arm64": True, "amd64": False}),
        ("all", "arm64 amd64", {"arm64": True}),
        ("amd64 i386", "arm64 amd64", {"amd64": False}),
        ("linux-any", "amd64", {"amd64": False}),
        ("any-i386", "amd64", {}),
        ("any-amd64 all", "arm64 amd64", {"arm64": True, "amd64": False}),
        ("kfreebsd-any", "amd64", {}),
    ],
)
def test_what_an_architecture_does_not_build_is_left_out_with_the_reason(
    mirror: Mirror, tmp_path: Path, architecture: str, on: str, arch_all: dict[str, bool]
) -> None:
    mirror.suite("sid", stanza("a", architecture=architecture))
    selection = chosen(mirror, tmp_path, packages=("a",), architectures=tuple(on.split()))
    assert {job.architecture: job.arch_all for job in selection.jobs} == arch_all
    assert {one.subject.architecture for one in selection.left_out} == set(on.split()) - set(arch_all)
    assert all("built on" in one.reason for one in selection.left_out)


def test_names_that_lead_nowhere_are_told_with_what_may_be_meant(mirror: Mirror, tmp_path: Path) -> None:
    mirror.suite("sid", stanza("openldap", binary="slapd, libldap-dev"), stanza("hello"))
    selection = chosen(mirror, tmp_path, packages=("openldpa", "libldap-dev", "x*", "hello"))
    assert names(selection) == ["hello"]
    assert "did you mean 'openldap'?" in reasons(selection)["openldpa"]
    assert "its source in sid is openldap" in reasons(selection)["libldap-dev"]
    assert "matches the pattern 'x*'" in reasons(selection)["x*"]
    with pytest.raises(UsageError, match="nothing to rebuild") as caught:
        chosen(mirror, tmp_path, packages=("openldpa",)).require_jobs()
    assert "did you mean 'openldap'?" in caught.value.details


def test_a_package_without_a_version_for_one_series_is_rebuilt_in_the_others(
    tmp_path: Path, signer: Signer
) -> None:
    old, new = Mirror(tmp_path / "old", signer), Mirror(tmp_path / "new", signer)
    old.suite("bookworm", stanza("php8.2"))
    new.suite("trixie", stanza("hello"))
    settings = farm(tmp_path, bookworm=old.text(), trixie=new.text())
    selection = select(ad_hoc_set(["php8.2"], ["bookworm", "trixie"], ["amd64"]), settings, host=HOST)
    assert [str(job.subject) for job in selection.jobs] == ["php8.2 bookworm-amd64"]
    assert reasons(selection) == {"php8.2": "it has no version for trixie; it has for bookworm"}


def test_patterns_and_exclusions(mirror: Mirror, tmp_path: Path) -> None:
    mirror.suite("sid", *(stanza(name) for name in ("liba-perl", "libb-perl", "libc", "perl")))
    assert names(chosen(mirror, tmp_path, packages=("lib*-perl", "perl"), exclude=("*b-*",))) == [
        "liba-perl",
        "perl",
    ]
    assert names(chosen(mirror, tmp_path, packages=("lib[!a]*",))) == ["libb-perl", "libc"]


DEPENDENTS = (
    stanza("tls", binary="libtls-dev, tls, libtls3"),
    stanza("plain", "1", "Build-Depends: debhelper, libtls-dev (>= 1) <!nocheck>"),
    stanza("second-choice", "1", "Build-Depends: libother-dev | libtls-dev"),
    stanza("folded", "1", "Build-Depends: debhelper,\n libx-dev,\n libtls-dev:native"),
    stanza("arch-only", "1", "Build-Depends-Arch: libtls-dev"),
    stanza("indep-only", "1", "Build-Depends-Indep: tls", architecture="any all"),
    stanza("elsewhere", "1", "Build-Depends: libtls-dev [s390x]"),
    stanza("cross-only", "1", "Build-Depends: libtls-dev <cross>"),
    stanza("near-miss", "1", "Build-Depends: libtls-dev-extra, xlibtls-dev, libtls-dev.x"),
    stanza("conflicting", "1", "Build-Conflicts: libtls-dev"),
)


def test_reverse_build_dependencies_of_a_source_are_those_of_all_that_it_builds(
    mirror: Mirror, tmp_path: Path
) -> None:
    mirror.suite("sid", *DEPENDENTS)
    found = chosen(mirror, tmp_path, reverse_build_depends_of=("tls",), exclude=("folded",))
    assert names(found) == ["arch-only", "indep-only", "plain", "second-choice"]
    second = chosen(mirror, tmp_path, reverse_build_depends_of=("tls",), architectures=("s390x", "amd64"))
    assert {job.package for job in second.jobs if job.architecture == "s390x"} >= {"elsewhere", "indep-only"}
    assert not {job.package for job in second.jobs if job.architecture == "amd64"} & {"elsewhere", "indep-only"}


def test_reverse_build_dependencies_of_a_binary_are_those_of_it_alone(mirror: Mirror, tmp_path: Path) -> None:
    mirror.suite("sid", *DEPENDENTS)
    found = chosen(mirror, tmp_path, reverse_build_depends_of=("libtls-dev",))
    assert names(found) == ["arch-only", "folded", "plain", "second-choice"]
    assert names(chosen(mirror, tmp_path, reverse_build_depends_of=("libother-dev",))) == ["second-choice"]
    nothing = chosen(mirror, tmp_path, reverse_build_depends_of=("plain", "libtls-dve"))
    assert reasons(nothing)["plain"] == "nothing in sid build-depends on it"
    assert "did you mean 'libtls-dev'?" in reasons(nothing)["libtls-dve"]


def test_an_index_that_somebody_else_signed_stops_its_series_and_names_it(
    tmp_path: Path, signer: Signer, stranger: Signer
) -> None:
    good, bad = Mirror(tmp_path / "good", signer), Mirror(tmp_path / "bad", signer)
    good.suite("bookworm", stanza("hello"))
    bad.suite("trixie", stanza("hello"), signer=stranger)
    settings = farm(tmp_path, bookworm=good.text(), trixie=bad.text())
    selection = select(ad_hoc_set(["hello"], ["bookworm", "trixie"], ["amd64"]), settings, host=HOST)
    assert [job.series for job in selection.jobs] == ["bookworm"]
    (left,) = selection.left_out
    assert (left.subject.package, left.subject.series) == ("*", "trixie")
    assert "not signed as it must be" in left.reason
    with pytest.raises(FarmTrouble, match="not signed as it must be") as caught:
        select(ad_hoc_set(["hello"], ["trixie"], ["amd64"]), settings, host=HOST)
    assert f"file:{bad.root} trixie" in str(caught.value)


def test_an_index_that_was_changed_is_not_believed(mirror: Mirror, tmp_path: Path) -> None:
    mirror.suite("sid", stanza("hello"))
    index = mirror.root / "dists/sid/main/source/Sources.gz"
    index.write_bytes(gzip.compress(stanza("evil").encode(), mtime=0))
    with pytest.raises(FarmTrouble, match="not there as its Release says"):
        chosen(mirror, tmp_path, packages=("evil",))


def test_archives_without_sources_are_told(mirror: Mirror, tmp_path: Path) -> None:
    mirror.suite("sid")
    with pytest.raises(UsageError, match="the archives of sid have no sources"):
        chosen(mirror, tmp_path, packages=("hello",))


@pytest.mark.parametrize(
    "fields",
    [
        ("Directory: ../../etc",),
        ("Directory: /pool/../x",),
        ("Directory: pool/a b",),
        ("Directory:",),
        (f"Checksums-Sha256:\n {SHA} 1 ../a.dsc",),
        (f"Checksums-Sha256:\n {SHA} 1 a.dsc\n {SHA} 1 a.dsc",),
        (f"Checksums-Sha256:\n {SHA} -1 a.dsc",),
        (f"Checksums-Sha256:\n {SHA} {'9' * 30} a.dsc",),
        ("Checksums-Sha256:\n abc 1 a.dsc",),
        (f"Checksums-Sha256:\n {SHA} 1 a.tar.gz",),
        ("Checksums-Sha256:",),
    ],
)
def test_an_entry_that_is_not_safe_leaves_out_only_itself(
    mirror: Mirror, tmp_path: Path, fields: tuple[str, ...]
) -> None:
    mirror.suite("sid", stanza("a", "1-1", *fields), stanza("b"))
    selection = chosen(mirror, tmp_path, packages=("a", "b"))
    assert names(selection) == ["b"]
    assert "its entry in the index cannot be used" in reasons(selection)["a"]


SERVE_ON = "127.0.0.1"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """``tmp_path`` over HTTP."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_words: Any) -> None:
            pass

    server = ThreadingHTTPServer((SERVE_ON, 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{SERVE_ON}:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_mirror_over_http_gives_the_same(mirror: Mirror, tmp_path: Path, served: str) -> None:
    mirror.suite("sid", stanza("hello"))
    settings = farm(tmp_path, sid=mirror.text(f"{served}/mirror"))
    (job,) = select(ad_hoc_set(["hello"], ["sid"], ["amd64"]), settings, host=HOST).jobs
    assert job.files[0].url == f"{served}/mirror/pool/main/hello/hello_1.0-1.dsc"


def test_all_packages_of_a_local_ppa_with_the_ppa_for_their_builds(
    archive: LocalArchive, mirror: Mirror, tmp_path: Path, signer: Signer
) -> None:
    changes = make_source(tmp_path / "upload", signer, source="greeter", version="0.9-1")
    archive.accept_source(PPA, SERIES, changes.parent, changes.name)
    archive.publish(PPA)
    mirror.suite(SERIES, stanza("greeter", "1.0-1"), stanza("hello"))
    settings = replace(
        farm(tmp_path, **{SERIES: mirror.text()}),
        home=tmp_path,
        archive=ArchiveSettings(url="http://archive.test"),
    )
    wanted = PackageSet("x", (SERIES,), ("amd64",), packages=("hello",), ppa=str(PPA))
    jobs = {job.package: job for job in select(wanted, settings, host=HOST).jobs}
    assert {name: job.version for name, job in jobs.items()} == {"greeter": "0.9-1", "hello": "1.0-1"}
    assert jobs["greeter"].files[0].url.startswith("http://archive.test/demo/trunk/pool/")
    assert {file.name for file in jobs["greeter"].files} == {
        "greeter_0.9-1.dsc", "greeter_0.9.orig.tar.gz", "greeter_0.9-1.debian.tar.gz",
    }  # fmt: skip
    (extra,) = jobs["hello"].extra
    assert extra.sources.splitlines()[1:3] == ["URIs: http://archive.test/demo/trunk", f"Suites: {SERIES}"]
    assert extra.key.encode() == archive.public_key(PPA)

    with pytest.raises(UsageError, match="publishes no trixie"):
        select(replace(wanted, ppa="local:demo/trunk", series=("trixie",)), farm_of(settings, mirror), host=HOST)


def farm_of(settings: Settings, mirror: Mirror) -> Settings:
    mirror.suite("trixie", stanza("hello"))
    return replace(settings, series={"trixie": SeriesSettings(mirror.text())})


def test_all_packages_of_a_ppa_on_launchpad_signed_by_the_key_that_launchpad_tells(
    mirror: Mirror, tmp_path: Path, served: str, signer: Signer, stranger: Signer
) -> None:
    mirror.suite("noble", stanza("hello"))
    content = Mirror(tmp_path / "ppa/team/name/ubuntu", signer)
    content.suite("noble", stanza("greeter"))
    api = tmp_path / "devel/~team/+archive/ubuntu/name"
    api.parent.mkdir(parents=True)
    api.write_text(json.dumps(signer.public.decode()))
    settings = replace(farm(tmp_path, noble=mirror.text()), launchpad=LaunchpadSettings(instance=served))
    wanted = PackageSet("x", ("noble",), ("amd64",), ppa="ppa:team/name")
    (job,) = select(wanted, settings, host=HOST).jobs
    assert job.files[0].url == f"{served}/ppa/team/name/ubuntu/pool/main/greeter/greeter_1.0-1.dsc"
    assert f"URIs: {served}/ppa/team/name/ubuntu\n" in job.extra[0].sources
    assert job.extra[0].key.encode() == signer.public

    api.write_text(json.dumps(stranger.public.decode()))
    settings = replace(settings, home=tmp_path / "another")  # the server tells times in whole seconds
    with pytest.raises(FarmTrouble, match="not signed as it must be"):
        select(wanted, settings, host=HOST)
    with pytest.raises(UsageError, match="tells no signing key of ppa:team/other"):
        select(replace(wanted, ppa="ppa:team/other"), settings, host=HOST)


def test_a_local_ppa_that_lies_on_another_machine_is_read_from_where_it_is_served(
    mirror: Mirror, tmp_path: Path, served: str, signer: Signer
) -> None:
    mirror.suite("sid", stanza("hello"))
    Mirror(tmp_path / "demo/trunk", signer).suite("sid", stanza("greeter"))
    settings = replace(farm(tmp_path, sid=mirror.text()), archive=ArchiveSettings(url=served))
    wanted = PackageSet("x", ("sid",), ("amd64",), ppa="local:demo/trunk")
    (job,) = select(wanted, settings, host=HOST).jobs
    assert job.files[0].url == f"{served}/demo/trunk/pool/main/greeter/greeter_1.0-1.dsc"
    with pytest.raises(UsageError, match="is not there"):
        select(replace(wanted, ppa="local:demo/nothing"), settings, host=HOST)


def test_a_private_ppa_is_refused(archive: LocalArchive, mirror: Mirror, tmp_path: Path, signer: Signer) -> None:
    private = replace(PPA, name="secret")
    archive.ensure_ppa(private, series=[SERIES], architectures=["amd64"], uploaders=[signer.public], private=True)
    changes = make_source(tmp_path / "upload", signer)
    archive.accept_source(private, SERIES, changes.parent, changes.name)
    archive.publish(private)
    mirror.suite(SERIES, stanza("hello"))
    settings = replace(farm(tmp_path, **{SERIES: mirror.text()}), home=tmp_path)
    with pytest.raises(UsageError, match="private"):
        select(PackageSet("x", (SERIES,), ("amd64",), ppa=str(private)), settings, host=HOST)


def test_apt_sources_become_repositories_with_their_keys(tmp_path: Path) -> None:
    (tmp_path / "a.asc").write_text("KEY A")
    (tmp_path / "b.gpg").write_text("KEY B")
    stanza_a = "Types: deb\nURIs: http://a.test/debian/ http://b.test\nSuites: s s-updates\nComponents: main\n"
    found = repositories_of(AptSources(f"{stanza_a}Signed-By: {tmp_path}/a.asc\n"))
    assert [(one.uri, one.suite, one.keyring) for one in found] == [
        (uri, suite, b"KEY A") for uri in ("http://a.test/debian", "http://b.test") for suite in ("s", "s-updates")
    ]
    # Without Signed-By apt believes all keys of trusted.gpg.d; so is it here.
    assert repositories_of(AptSources(stanza_a), tmp_path)[0].keyring == b"KEY A\nKEY B"
    inline = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----\n"
    assert repositories_of(AptSources(stanza_a + inline))[0].keyring == (
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----\n"
    )
    # One suite in two stanzas, for binaries and for sources, is one repository.
    twice = f"{stanza_a}Trusted: yes\n\n{stanza_a.replace('deb', 'deb-src', 1)}Trusted: yes\n"
    assert len(repositories_of(AptSources(twice))) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "name no archive"),
        ("Types: deb\nURIs: http://a.test\nSuites: s\nComponents: main\nEnabled: no\n", "name no archive"),
        ("Types: deb\nURIs: http://a.test\nSuites: s\nComponents: main\n", "nothing vouches for http://a.test"),
        ("Types: deb\nURIs: cdrom:x\nSuites: s\nComponents: main\nTrusted: yes\n", "not read from cdrom:x"),
        ("Types: deb\nURIs: http://a.test\nSuites: ./\nTrusted: yes\n", "flat repository"),
        ("Types: deb\nURIs: http://a.test\nSuites: s\nComponents: main\nSigned-By: ABCDEF\n", "no key file"),
    ],
)
def test_apt_sources_that_cannot_be_read_safely_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        repositories_of(AptSources(text), tmp_path)


def test_the_proxies_of_apt_are_used() -> None:
    assert proxies_of([]) == {}
    found = proxies_of(
        ['Acquire::http::Proxy "http://proxy:3128/";', 'Acquire::http::Proxy::near.test "DIRECT";', 'APT::X "y";']
    )
    assert found["http"] == found["https"] == "http://proxy:3128/"
    assert found["http://near.test"] == found["http://127.0.0.1"] == ""


@given(
    st.lists(st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,8}", fullmatch=True)),
    st.text("ab*?[]!-", min_size=1, max_size=12),
)
def test_a_pattern_chooses_among_what_there_is(names: list[str], pattern: str) -> None:
    assert match(pattern, names) <= set(names)
    assert match("*", names) == set(names)


@pytest.mark.slow
def test_a_host_whose_mirror_has_no_sources_reads_its_distributions(mirror: Mirror, tmp_path: Path) -> None:
    mirror.suite("bookworm")
    host = HostApt("bookworm", {"/etc/apt/sources.list.d/own.sources": mirror.text()})
    (job,) = select(ad_hoc_set(["hello"], ["bookworm"], ["amd64"]), farm(tmp_path), host=host).jobs
    assert job.files[0].url.startswith("http://deb.debian.org/debian/pool/")


@pytest.mark.slow
def test_the_founding_five_are_found_on_the_real_mirror(tmp_path: Path) -> None:
    settings = Settings(tmp_path, tmp_path / "home", tmp_path / "recipes")
    five = ["libvirt", "postgresql-15", "mariadb", "openldap", "php8.2"]
    selection = select(ad_hoc_set([*five, "openldpa"], ["bookworm"], ["amd64"]), settings)
    assert sorted(names(selection)) == sorted(five)
    assert "did you mean 'openldap'?" in reasons(selection)["openldpa"]


def test_a_cache_that_is_not_there_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "cache").symlink_to(tmp_path / "not-mounted" / "disk")
    broken = Settings(root=tmp_path, home=tmp_path, recipes=tmp_path)

    with pytest.raises(FarmTrouble, match="cannot be kept"):
        select(ad_hoc_set(["hello"], ["bookworm"], ["amd64"]), broken)
