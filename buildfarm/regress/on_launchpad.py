"""A build that Launchpad does: its source uploaded, Launchpad asked how far it is, its log read when it has ended.

Each call is one look, of seconds: what is not done yet says in its report when to look again, and nothing here
waits for Launchpad. It runs on the signing worker, which has the key for the upload. What was uploaded and asked
for is kept beside the builds, for one source version and series, so that two architectures upload it once.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from buildfarm.build.building import BuildEnd
from buildfarm.errors import FarmError
from buildfarm.files import read_json, write_json
from buildfarm.regress.model import LOOK_AGAIN_S, BuildReport, Outcome
from buildfarm.regress.one_build import LOG, ORDER, REPORT, read_report
from buildfarm.regress.orders import BuildOrder, OnLaunchpad
from buildfarm.regress.places import places_of
from buildfarm.regress.publishing import make_signed_source
from buildfarm.regress.reading import report_of
from buildfarm.settings import Settings
from ppa_tools.address import parse_address
from ppa_tools.archives.door import DoorError, Uncertain, Unreachable
from ppa_tools.archives.durable import digests_of
from ppa_tools.archives.errors import ArchiveError
from ppa_tools.archives.launchpad import open_launchpad
from ppa_tools.archives.launchpad.archive import LaunchpadArchive
from ppa_tools.archives.launchpad.build_entries import BuildEntry
from ppa_tools.archives.launchpad.credentials import FILE_VARIABLE
from ppa_tools.archives.launchpad_upload import send_to_launchpad
from ppa_tools.archives.ledger import open_ledger
from ppa_tools.archives.opening import Options
from ppa_tools.debversion import without_epoch
from ppa_tools.publication import BuildState, Publication

TAKEN_LIMIT_S = 2 * 3600.0
"""How long Launchpad may take to publish an upload; a refusal it tells by mail alone."""
BUILT_LIMIT_S = 24 * 3600.0
CLOCKS_APART_S = 3600.0
LOOKS = ((600.0, 60), (3600.0, 180))
LONGEST_LOOK_S = 600
OUTCOMES: dict[BuildState, tuple[Outcome, int]] = {
    BuildState.BUILT: ("pass", 0),
    BuildState.FAILED: ("fail", 2),
    BuildState.DEPENDENCY_WAIT: ("dependency-wait", 3),
}
"""What Launchpad's word for a build's end is here, and what sbuild would have exited with; others are trouble."""
UNKNOWN = "built on Launchpad, which does not tell the packages of the environment"


@dataclass
class Record:
    """What was asked of Launchpad for one source version and series, and when (epoch seconds), by attempts."""

    path: Path
    uploads: dict[str, float] = field(default_factory=dict)
    asked: dict[str, float] = field(default_factory=dict)

    @property
    def last_at(self) -> float:
        """When something was asked for last."""
        return max((*self.uploads.values(), *self.asked.values()), default=0.0)

    def note(self, kind: dict[str, float], attempt: str, at: float) -> None:
        """Keep that something was asked for."""
        kind[attempt] = at
        write_json(self.path, {"uploads": self.uploads, "asked": self.asked})


def open_record(path: Path) -> Record:
    """The record at a path; an empty one where there is none that can be read."""
    try:
        data: Any = read_json(path)
        return Record(path, dict(data["uploads"]), dict(data["asked"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Record(path)


def build_on_launchpad(
    order: BuildOrder,
    what: OnLaunchpad,
    directory: Path,
    settings: Settings,
    watcher: BinaryIO | None = None,
    *,
    clock: Callable[[], float] = time.time,
) -> BuildReport:
    """Do what is next for a build, and report what it came to, or when to look again; never raises FarmError.

    The report also stands in ``directory``, with Launchpad's log beside it when the build has ended.
    """
    if (kept := read_report(directory)) is not None and LOOK_AGAIN_S not in kept.facts:
        return kept
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / ORDER, order.to_json())
    look = Look(order, what, directory, settings, clock)
    try:
        with contextlib.closing(_open(order, settings)) as archive:
            report = look.take(archive)
    except (Unreachable, Uncertain) as error:
        report = look.without_answer(error)
    except DoorError as error:
        report = BuildReport("error", str(error.args[0]), details=error.resolution)
    except ArchiveError as error:
        report = BuildReport("error", str(error))
    except FarmError as error:
        report = BuildReport("error", error.brief, details=error.details)
    except OSError as error:
        report = BuildReport("error", f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))
    if watcher is not None:
        watcher.write(f"{report.reason}\n{report.details}\n".encode("utf-8", "backslashreplace"))
        watcher.flush()
    write_json(directory / REPORT, report.to_json())
    return report


def _open(order: BuildOrder, settings: Settings) -> LaunchpadArchive:
    environment = dict(os.environ)
    if settings.launchpad.credentials_file:
        environment[FILE_VARIABLE] = str(settings.root / settings.launchpad.credentials_file)
    options = Options(instance=settings.launchpad.instance, environment=environment)
    return open_launchpad(parse_address(order.job.publish), options)


@dataclass(frozen=True)
class Look:
    """One look at a build on Launchpad."""

    order: BuildOrder
    what: OnLaunchpad
    directory: Path
    settings: Settings
    clock: Callable[[], float]

    def take(self, archive: LaunchpadArchive) -> BuildReport:
        """Do what is next. Raises DoorError, ArchiveError, FarmError, OSError."""
        job, record = self.order.job, self._record()
        publication = self._find(archive)
        if publication is None:
            is_late = self.clock() - record.last_at > TAKEN_LIMIT_S
            if is_late and self.what.attempt not in record.uploads:
                self._upload(record)
                return self.again(f"{self.order.version} is uploaded to {job.publish}")
            if is_late:
                words = f"{job.publish} has not taken {self.order.version} in {TAKEN_LIMIT_S / 3600:.0f} hours"
                told = f"Why, Launchpad tells by mail: to {self.settings.farm.email}, if that is its uploader's."
                return BuildReport("error", words, details=told)
            return self.again(f"{job.publish} has not taken {self.order.version} yet")
        if not record.uploads:  # somebody else's, or our record is lost: from now on it is waited for
            record.note(record.uploads, "found", self.clock())
        entries = [one for one in archive.build_entries(publication) if one.architecture == job.architecture]
        if not entries:
            if self.clock() - record.last_at > TAKEN_LIMIT_S:
                return BuildReport("error", f"{job.publish} does not build {job.package} for {job.architecture}")
            return self.again(f"{job.publish} has no build for {job.architecture} yet")
        entry = entries[0]
        if entry.state.is_under_way or entry.state is BuildState.CANCELLING:
            if self.clock() - record.last_at > BUILT_LIMIT_S:
                words = f"{job.publish} has not built it in {BUILT_LIMIT_S / 3600:.0f} hours: {entry.state}"
                return BuildReport("error", words, details=entry.page)
            return self.again(f"Launchpad: {entry.state}", entry.page)
        if self.what.again and entry.state is not BuildState.BUILT and self.what.attempt not in record.asked:
            archive.ask_again(entry)
            record.note(record.asked, self.what.attempt, self.clock())
            return self.again("Launchpad was asked to build it again", entry.page)
        return self._ended(archive, entry)

    def again(self, words: str, page: str = "") -> BuildReport:
        """The report of a build that goes on."""
        age_s = self.clock() - self._record().last_at
        delay_s = next((delay for limit, delay in LOOKS if age_s < limit), LONGEST_LOOK_S)
        return BuildReport("error", words, details=page, facts={LOOK_AGAIN_S: str(delay_s)})

    def without_answer(self, error: DoorError) -> BuildReport:
        """Launchpad is not reached: what is there already may take its time, within the limit of a build."""
        words, last_at = str(error.args[0]), self._record().last_at
        if self.clock() - last_at <= BUILT_LIMIT_S:
            return self.again(words)
        return BuildReport("error", words, details=error.resolution)

    def _record(self) -> Record:
        job = self.order.job
        name = f"{job.package}_{without_epoch(self.order.version)}_{job.series}"
        path = places_of(self.settings).asked_of_launchpad / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        return open_record(path)

    def _find(self, archive: LaunchpadArchive) -> Publication | None:
        job = self.order.job
        assert self.order.new_version is not None, job
        since = self.order.new_version.at - CLOCKS_APART_S
        found = archive.publications(names=[job.package], series=[job.series], since=since)
        fitting = [one for one in found if (one.source, one.version) == (job.package, self.order.version)]
        return fitting[-1] if fitting else None

    def _upload(self, record: Record) -> None:
        launchpad, job = self.settings.launchpad, self.order.job
        with tempfile.TemporaryDirectory(prefix=".unsigned-", dir=self.directory) as name:
            package = make_signed_source(self.order, Path(name), self.settings)
            changes = package.directory / package.changes
            files = [package.directory / one for one in package.files if one != package.changes]
            ledger = open_ledger(
                self.directory / "source.ledger.json", f"{job.publish} {job.series}", digests_of(changes).sha256
            )
            send_to_launchpad(
                parse_address(job.publish),
                job.series,
                changes,
                files,
                ledger,
                host=launchpad.upload_host,
                port=launchpad.upload_port,
            )
        record.note(record.uploads, self.what.attempt, self.clock())

    def _ended(self, archive: LaunchpadArchive, entry: BuildEntry) -> BuildReport:
        """What a build came to by Launchpad's word; its log says why."""
        outcome, status = OUTCOMES.get(entry.state, ("error", 1))
        seconds = max(0.0, entry.duration_s or 0.0)
        words = f"Launchpad: {entry.state}"
        if outcome == "dependency-wait" and entry.missing:
            words += f" for {' '.join(entry.missing.split())[:200]}"
        report = BuildReport(outcome, words)
        unread: tuple[str, ...] = ()
        if entry.log_url and outcome != "error":
            try:
                report = self._read(archive, entry, status, report)
            except DoorError as error:
                unread = (f"the log was not read: {error.args[0]}",)
        details = "\n".join(part for part in (f"{words}, {entry.page}", report.details) if part)
        return replace(
            report,
            details=details,
            build_s=seconds,
            total_s=seconds,
            assumed=(*report.assumed, UNKNOWN, *unread),
            facts={"page": entry.page, "state": str(entry.state)},
        )

    def _read(self, archive: LaunchpadArchive, entry: BuildEntry, status: int, known: BuildReport) -> BuildReport:
        """``known`` with all that the build's log tells; raises DoorError."""
        plain = self.directory / LOG
        try:
            with plain.open("wb") as file:
                archive.copy_log(entry, file)
            said = report_of(plain, BuildEnd(status, "", "", 0.0, 0, 0, ()))
            with plain.open("rb") as file, gzip.open(self.directory / f"{LOG}.gz", "wb", 1) as packed:
                shutil.copyfileobj(file, packed)
        finally:
            plain.unlink(missing_ok=True)
        reason = said.reason if said.outcome == known.outcome != "dependency-wait" else known.reason
        return replace(said, outcome=known.outcome, reason=reason, environment="", log=f"{LOG}.gz")
