"""What a rebuild made goes to the archive of its set: the source signed, then the binaries that passed.

This runs on the signing worker. The source is made there anew, out of files that a signed index vouches for and
the entry that the build had too, so nothing that a build could have touched is signed. Of what the build made
nothing runs: it is sent as it lies there, and the archive looks at it.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from buildfarm.errors import FarmError, FarmTrouble, PackageFault
from buildfarm.files import write_json
from buildfarm.keys import algorithm_for, signing_key
from buildfarm.regress.fetching import fetch_source
from buildfarm.regress.model import NOT_PUBLISHED, BuildReport
from buildfarm.regress.new_entry import UnfitSource, add_entry
from buildfarm.regress.one_build import ORDER, REPORT, read_report
from buildfarm.regress.orders import BuildOrder, Publication, regression_entry
from buildfarm.regress.places import places_of
from buildfarm.regress.source_index import source_cache
from buildfarm.secrets_store import ARCHIVE_WORKER_TOKEN, ensure_secret
from buildfarm.settings import Settings
from buildfarm.source.changelog import Heading
from buildfarm.source.check import Expected, check_package, sign_package
from buildfarm.source.control import read_fields
from buildfarm.source.package import TOOL_PACKAGES, SourcePackage, describe_package, installed_tools
from buildfarm.source.packaging import Packaging
from buildfarm.source.version import parse_version
from ppa_tools.address import Address, parse_address
from ppa_tools.archives.control import Changes, parse_changes
from ppa_tools.archives.durable import digests_of
from ppa_tools.archives.errors import ArchiveError, ArchiveUnreachable, UploadRefused
from ppa_tools.archives.ledger import open_ledger
from ppa_tools.archives.upload_client import UploadClient
from ppa_tools.openpgp import clearsign

CHANGES_LIMIT_BYTES = 4 << 20


def publish(
    order: BuildOrder,
    publication: Publication,
    directory: Path,
    settings: Settings,
    watcher: BinaryIO | None = None,
) -> BuildReport:
    """Publish what a build made; the report, which also stands in ``directory``, says so or why not.

    Never raises FarmError. What arrived by an earlier try is not sent again.
    """
    if (kept := read_report(directory)) is not None:
        return kept
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / ORDER, order.to_json())
    began = time.monotonic()
    address = parse_address(order.job.publish)
    client = UploadClient(settings.archive_local_url, ensure_secret(settings.secrets / ARCHIVE_WORKER_TOKEN))
    try:
        _send_source(order, address, client, directory, settings)
        _send_binaries(order, address, client, places_of(settings).build(publication.build), directory)
        report = BuildReport("pass", f"published in {address} as {order.version}")
    except UploadRefused as error:
        report = BuildReport("fail", f"{NOT_PUBLISHED}{address} refuses {order.version}: {error}")
    except ArchiveUnreachable as error:
        report = BuildReport("error", f"{NOT_PUBLISHED}{error}")
    except ArchiveError as error:
        report = BuildReport("error", f"{NOT_PUBLISHED}{error}", details=f"Does {address} exist?")
    except FarmError as error:
        outcome = "fail" if isinstance(error, PackageFault | UnfitSource) else "error"
        report = BuildReport(outcome, f"{NOT_PUBLISHED}{error.brief}", details=error.details)  # type: ignore[arg-type]
    if watcher is not None:
        watcher.write(f"{report.reason}\n".encode("utf-8", "backslashreplace"))
        watcher.flush()
    report = replace(report, total_s=round(time.monotonic() - began, 3))
    write_json(directory / REPORT, report.to_json())
    return report


def make_signed_source(order: BuildOrder, work: Path, settings: Settings) -> SourcePackage:
    """The source of an order in its new version, checked and signed, in a directory below ``work``.

    Raises UnfitSource, PackageFault, FarmTrouble.
    """
    assert order.new_version is not None, order.job
    entry = regression_entry(order.job, order.new_version, settings)
    try:
        dsc = add_entry(fetch_source(order.job, work / "fetched", source_cache(settings)), entry, work / "made")
        package = describe_package(dsc, _packaging(dsc), entry, installed_tools(*TOOL_PACKAGES))
        check_package(
            package.directory, package.files, Expected(order.job.package, order.version, order.job.series)
        )
        with signing_key(settings, algorithm_for(order.job.publish)) as key:
            sign_package(package, lambda text: clearsign(settings.keys, [key.fingerprint], text))
    except OSError as error:
        raise FarmTrouble(f"the source cannot be signed: {error}", resolution="Is the disk full?") from error
    return package


def _packaging(dsc: Path) -> Packaging:
    """What a .changes says of a source besides its .dsc: section and priority, as its first package has them."""
    fields = read_fields(dsc.read_text(encoding="utf-8"))
    words = next((line.split() for line in fields.get("package-list", "").split("\n") if line.strip()), [])
    section, priority = words[2:4] if len(words) >= 4 else ("misc", "optional")
    heading = Heading(fields["source"], parse_version(fields["version"]), "medium", 1)
    return Packaging(heading, "quilt", fields.get("maintainer", ""), section, priority, ())


def _send_source(
    order: BuildOrder, address: Address, client: UploadClient, directory: Path, settings: Settings
) -> None:
    """Sign and send the source, unless the archive has it: from another architecture, or an earlier try."""
    if client.publications(address, order.job.series, order.job.package, order.version):
        return
    with tempfile.TemporaryDirectory(prefix=".unsigned-", dir=directory) as name:
        package = make_signed_source(order, Path(name), settings)
        changes = package.directory / package.changes
        files = [package.directory / one for one in package.files if one != package.changes]
        ledger = open_ledger(
            directory / "source.ledger.json", f"{address} {order.job.series}", digests_of(changes).sha256
        )
        client.upload(address, order.job.series, changes, files, ledger)


def _send_binaries(order: BuildOrder, address: Address, client: UploadClient, made: Path, directory: Path) -> None:
    job = order.job
    if client.published_build(address, job.series, job.package, order.version, job.architecture).built:
        return
    path, changes = _changes_of(made)
    if (changes.source, changes.source_version) != (job.package, order.version):
        raise PackageFault(f"{path.name} is of {changes.source} {changes.source_version}, not of {order.version}")
    files = [made / one.name for one in changes.files]
    missing = sorted(one.name for one in files if one.is_symlink() or not one.is_file())
    if missing:
        raise PackageFault(f"the build left no {', '.join(missing)[:200]}")
    ledger = open_ledger(
        directory / "binaries.ledger.json", f"{address} {job.series} {job.architecture}", digests_of(path).sha256
    )
    client.upload(address, job.series, path, files, ledger, architecture=job.architecture)


def _changes_of(made: Path) -> tuple[Path, Changes]:
    """The one .changes that a build left, and what it says; raises PackageFault, and FarmTrouble for none kept."""
    found = sorted(made.glob("*.changes"))
    if not found:
        raise FarmTrouble("what the build made is not there any more", where=str(made))
    if len(found) > 1 or found[0].is_symlink() or found[0].stat().st_size > CHANGES_LIMIT_BYTES:
        raise PackageFault(f"the build left {len(found)} .changes files where one that can be read is wanted")
    try:
        return found[0], parse_changes(found[0].read_bytes(), found[0].name)
    except UploadRefused as error:
        raise PackageFault(f"{found[0].name} cannot be read: {error}") from error
