"""What nights rebuild goes to a PPA of the farm's archive, from which apt installs it."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from buildfarm.build.bootstrap import native_architecture
from buildfarm.embedded_archive import opened_archive
from buildfarm.farm import stop_agents
from buildfarm.files import read_json
from buildfarm.keys import ensure_upload_key, public_key
from buildfarm.regress.bisecting import carry_out
from buildfarm.regress.model import NOT_PUBLISHED, RebuildJob, SourceFile
from buildfarm.regress.orders import BuildOrder, published_version
from buildfarm.regress.records import Night, NightRules
from buildfarm.settings import load_settings
from ppa_tools.address import parse_address
from ppa_tools.archives.upload_client import UploadClient
from ppa_tools.debversion import version_key
from tests.regress.conftest import Here
from tests.regress.rounds import Farm, job
from tests.regress.yard import Yard
from tests.scenarios.running_farm import make_farm

PPA = "local:autotest/regression-test"
WAIT_S = 30.0


@pytest.fixture(scope="module")
def publishing(tmp_path_factory: pytest.TempPathFactory, root_cache: Path, host_series: str) -> Iterator[Here]:
    """Nights of a farm whose archive is served, and has the PPA; they go on from test to test."""
    farm = make_farm(tmp_path_factory.mktemp("publishing"), root_cache)
    settings = load_settings(farm.root, {"BUILDFARM_HOME": str(farm.home)})
    ensure_upload_key(settings)
    with opened_archive(settings) as archive:
        archive.ensure_ppa(
            parse_address(PPA),
            series=[host_series],
            architectures=[native_architecture()],
            uploaders=[public_key(settings)],
        )
    argv = [sys.executable, "-m", "buildfarm", "archive", "serve"]
    with subprocess.Popen(argv, env=farm.environment, cwd=farm.root, stderr=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                urllib.request.urlopen(settings.archive_local_url, timeout=WAIT_S).close()
                break
            except urllib.error.URLError:
                assert time.monotonic() < deadline, "the archive is not served"
                time.sleep(0.1)
        yield Here(settings)
        server.terminate()
    stop_agents(settings)


def published(yard: Yard, package: str) -> RebuildJob:
    return replace(yard.job(package), publish=PPA)


def day_of(night: Night) -> str:
    return f"{datetime.fromtimestamp(night.started_at, UTC):%Y%m%d}"


class Apt:
    """apt with nothing installed and one PPA in its sources, as somebody has it who just added that."""

    def __init__(self, here: Here, series: str, where: Path) -> None:
        self.where = where
        for name in ("lists/partial", "archives/partial", "etc"):
            (where / name).mkdir(parents=True)
        (where / "status").touch()
        with opened_archive(here.settings) as archive:
            sources = archive.sources_text(parse_address(PPA), series)
        (where / "etc/ppa.sources").write_text(sources)
        self("update")

    def __call__(self, *words: str) -> str:
        options = {
            "Dir::State": self.where,
            "Dir::State::status": self.where / "status",
            "Dir::State::lists": self.where / "lists",
            "Dir::Cache": self.where,
            "Dir::Etc": self.where / "etc",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": self.where / "etc",
            "APT::Sandbox::User": "root" if os.getuid() == 0 else "",
        }
        argv = ["apt-get", "-qy", *(f"-o{key}={value}" for key, value in options.items() if value), *words]
        done = subprocess.run(argv, cwd=self.where, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout


def test_what_passed_is_published_under_the_nights_version_and_apt_installs_it(
    publishing: Here, yard: Yard, tmp_path: Path
) -> None:
    night = publishing.night([published(yard, "steady"), yard.job("leaving")])

    version = f"1.0~regression{day_of(night)}"
    rebuild = publishing.rebuild(night, "steady")
    assert str(rebuild.verdict) == "still passing"
    assert rebuild.reason == f"passed; it has no earlier result; published in {PPA} as {version}"
    assert [one.kind for one in publishing.builds(night, "steady")] == ["first", "publish"]
    assert [one.kind for one in publishing.builds(night, "leaving")] == ["first"], "its set publishes nothing"

    apt = Apt(publishing, yard.series, tmp_path / "apt")
    simulated = apt("--simulate", "install", "steady")
    assert f"Inst steady ({version}" in simulated
    assert "leaving" not in apt("indextargets")
    apt("download", "steady")
    (deb,) = tmp_path.glob("apt/steady_*.deb")
    subprocess.run(["dpkg-deb", "--extract", deb, tmp_path / "root"], check=True)
    assert (tmp_path / "root/usr/share/steady/built").read_text() == "built\n"
    apt("--download-only", "source", "steady")
    (dsc,) = tmp_path.glob("apt/steady_*.dsc")
    subprocess.run(["dpkg-source", "--no-check", "-x", dsc, tmp_path / "tree"], check=True, capture_output=True)
    entry, _, rest = (tmp_path / "tree/debian/changelog").read_text().partition("\n\nsteady (1.0) ")
    assert entry.startswith(f"steady ({version}) {yard.series}; urgency=medium\n")
    assert "Rebuilt by Build Farm from the sources of 1.0" in entry
    assert rest, "the entries of before stay"


def test_a_second_night_of_one_day_gets_a_higher_version_still_below_the_true_one(
    publishing: Here, yard: Yard
) -> None:
    first, second = (publishing.night([published(yard, "steady")]) for _ in range(2))

    versions = [publishing.rebuild(night, "steady").reason.rpartition(" as ")[2] for night in (first, second)]

    assert all(re.fullmatch(r"1\.0~regression\d{8}(\.\d+)?", one) for one in versions), versions
    assert version_key(versions[0]) < version_key(versions[1]) < version_key("1.0")
    assert [str(publishing.rebuild(second, "steady").verdict)] == ["still passing"]


def test_a_publication_that_was_killed_before_it_could_say_so_is_not_sent_twice(
    publishing: Here, yard: Yard
) -> None:
    night = publishing.night([published(yard, "steady")])
    (_, publication) = publishing.builds(night, "steady")
    directory = publishing.places.build(publication.id)
    order = BuildOrder.from_json(read_json(directory / "order.json"))
    (directory / "report.json").unlink()

    report = carry_out(order, directory, publishing.settings)

    assert (report.outcome, report.reason) == ("pass", f"published in {PPA} as {order.version}")
    client = UploadClient(publishing.settings.archive_local_url)
    rows = client.publications(parse_address(PPA), yard.series, "steady", order.version)
    assert len(rows) == 1


def test_architectures_share_a_version_and_series_and_nights_do_not(tmp_path: Path) -> None:
    farm = Farm(tmp_path)

    def versions(of: str, publish: str, *places: tuple[str, str]) -> list[str]:
        jobs = [
            replace(job("foo", of=of), series=series, architecture=architecture, publish=publish)
            for series, architecture in places
        ]
        night = farm.nights.open_night(of, jobs, driver="farm", reason="", rules=NightRules())
        return [published_version(farm.nights, night, one).version for one in farm.nights.rebuilds(night)]

    first = versions("a", PPA, ("bookworm", "amd64"), ("bookworm", "arm64"), ("trixie", "amd64"))
    elsewhere = versions("b", "local:me/other", ("bookworm", "amd64"))
    second = versions("c", PPA, ("bookworm", "amd64"))

    day = "1-1~regression20251129"
    assert first == [day, day, f"{day}.1"]
    assert elsewhere == [day]
    assert second == [f"{day}.2"]


def test_what_fails_is_not_published(publishing: Here, yard: Yard) -> None:
    night = publishing.night([published(yard, "taptest")], culprit=False)

    assert "publish" not in [one.kind for one in publishing.builds(night, "taptest")]
    assert "published" not in publishing.rebuild(night, "taptest").reason


def test_a_source_that_no_entry_can_be_added_to_is_rebuilt_as_it_is_and_the_reason_says_so(
    publishing: Here, yard: Yard, tmp_path: Path
) -> None:
    night = publishing.night([linked_changelog(yard, tmp_path)])

    rebuild = publishing.rebuild(night, "steady")
    assert str(rebuild.verdict) == "still passing"
    assert f"{NOT_PUBLISHED}its debian/changelog is no plain file" in rebuild.reason
    first = publishing.report(night, "steady")
    assert any("built as it is" in one for one in first.assumed), first.assumed


def linked_changelog(yard: Yard, where: Path) -> RebuildJob:
    """The source steady with a debian/changelog that is a link, in a version of its own."""
    job = published(yard, "steady")
    dsc, tarball = (urllib.request.urlopen(one.url).read() for one in job.files)
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(gzip.decompress(tarball))) as old,
        tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as new,
    ):
        for member in old:
            content = old.extractfile(member) if member.isreg() else None
            if member.name.endswith("debian/changelog"):
                link = tarfile.TarInfo(member.name)
                link.type, link.linkname = tarfile.SYMTYPE, "../changes"
                new.addfile(link)
                member.name = member.name.replace("debian/changelog", "changes")
            new.addfile(member, content)
    changed = gzip.compress(made.getvalue(), mtime=0)
    text = dsc.decode()
    for algorithm in ("sha1", "sha256", "md5"):
        old_sum = f"{hashlib.new(algorithm, tarball).hexdigest()} {len(tarball)} "
        assert old_sum in text
        text = text.replace(old_sum, f"{hashlib.new(algorithm, changed).hexdigest()} {len(changed)} ")
    files = []
    for one, content in zip(job.files, (text.encode(), changed), strict=True):
        (where / one.name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        files.append(SourceFile(one.name, (where / one.name).as_uri(), len(content), digest))
    return replace(job, files=tuple(files))


SETS = "sets:\n  greeting: {packages: [PACKAGE], series: [SERIES], publish: PPA, control: hello}\n"


def write_set(root: Path, package: str, series: str) -> None:
    text = SETS.replace("PACKAGE", package).replace("SERIES", series).replace("PPA", PPA)
    (root / "recipes/regression.yaml").write_text(text)


def test_a_night_here_uploads_nothing_unless_it_is_asked_to(
    tmp_path: Path, root_cache: Path, host_series: str
) -> None:
    farm = make_farm(tmp_path, root_cache)
    write_set(farm.root, "no-such-package", host_series)

    without = farm.cli("rebuild", "greeting", "--here", check=False)
    unserved = farm.cli("rebuild", "greeting", "--here", "--publish", check=False)
    nowhere = farm.cli("rebuild", "hello", "--here", "--publish", check=False)

    assert f"nothing is uploaded to {PPA} from here: --publish does that" in without.stdout
    assert (unserved.returncode, nowhere.returncode) == (2, 2)
    assert "`buildfarm archive serve` starts it alone" in unserved.stderr
    assert "these packages have no archive to go to" in nowhere.stderr
    stop_agents(farm.settings)


@pytest.mark.slow
def test_a_real_package_is_published_from_the_command_line(
    publishing: Here, host_series: str, tmp_path: Path
) -> None:
    root = publishing.settings.root
    write_set(root, "hello", host_series)
    argv = [sys.executable, "-m", "buildfarm", "rebuild", "greeting", "--here", "--publish"]
    environment = os.environ | {"BUILDFARM_ROOT": str(root), "BUILDFARM_HOME": str(publishing.settings.home)}

    done = subprocess.run(
        argv, cwd=root, env=environment, capture_output=True, text=True, timeout=900, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"published in {PPA} as" in done.stdout
    apt = Apt(publishing, host_series, tmp_path / "apt")
    assert "~regression" in apt("--print-uris", "download", "hello")
