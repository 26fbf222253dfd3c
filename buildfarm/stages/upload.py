"""The upload stage: send a signed source package to its archive, once however often it is tried."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.files import write_json
from buildfarm.stages.runner import StageContext
from buildfarm.verdict import Outcome, Verdict
from ppa_tools.address import Address, parse_address
from ppa_tools.archives.control import Changes, parse_changes
from ppa_tools.archives.durable import digests_of
from ppa_tools.archives.errors import ArchiveError, ArchiveUnreachable, UploadRefused, VersionNotNewer
from ppa_tools.archives.ledger import Ledger, open_ledger


def run(context: StageContext) -> Outcome:
    """Upload signed/SERIES/; the receipt goes to upload/SERIES/receipt.json."""
    address = parse_address(context.job.archive)
    directory = context.workspace.directory("sign", context.series)
    changes_file, files = find_upload(directory)
    changes = read_signed_changes(changes_file)
    ledger = open_upload_ledger(context, "upload", str(address), changes_file)
    send = _send_to_launchpad if address.backend == "ppa" else _send_to_local
    try:
        receipt, assumed = send(context, address, changes_file, files, ledger)
    except VersionNotNewer as error:
        raise PackageFault(
            f"{address} refuses {changes.source} {changes.version}: {error}",
            where=changes_file.name,
            resolution="Either the trunk was rewritten (a force push takes its revision number back), or the "
            f"changelog's version went down. Commit until the version is higher than {error.than}, or give "
            "debian/changelog a version higher than that.",
        ) from error
    except UploadRefused as error:
        raise PackageFault(
            f"{address} refuses {changes.source} {changes.version}: {error}",
            where=changes_file.name,
            resolution="The reason is the archive's own; mend the package and commit again.",
        ) from error
    except ArchiveUnreachable as error:
        raise FarmTrouble(
            str(error), resolution="It is tried again; what arrived already is not sent twice."
        ) from error
    except ArchiveError as error:
        raise FarmTrouble(
            str(error), resolution=f"Does {address} exist, with the series {context.series}?"
        ) from error
    receipt_file = context.out / "receipt.json"
    write_json(receipt_file, receipt)
    names = [context.workspace.relative(path) for path in (changes_file, *files)]
    return Outcome(
        Verdict.PASS,
        f"{changes.source} {changes.version} is in {address}, {context.series}",
        inputs=tuple(names),
        outputs=(context.workspace.relative(receipt_file),),
        assumed=assumed,
        facts={
            "archive": str(address),
            "source": changes.source,
            "version": changes.version,
            "receipt": receipt,
        },
    )


def find_upload(directory: Path) -> tuple[Path, list[Path]]:
    """The .changes in a stage's directory, and the files that it names; raises FarmTrouble."""
    found = sorted(directory.glob("*.changes"))
    if len(found) != 1:
        raise FarmTrouble(
            f"{len(found)} .changes files where one is wanted",
            where=str(directory),
            resolution="Run the stage that makes it again.",
        )
    named = [directory / file.name for file in read_signed_changes(found[0]).files]
    if missing := [path.name for path in named if not path.is_file()]:
        raise FarmTrouble(f"{', '.join(missing)} is named by {found[0].name} and not there", where=str(directory))
    return found[0], named


def read_signed_changes(path: Path) -> Changes:
    """What a .changes says, its signature taken off unchecked: the archive checks it."""
    text = path.read_bytes()
    if text.startswith(b"-----BEGIN PGP SIGNED MESSAGE-----"):
        text = text.partition(b"\n\n")[2].partition(b"\n-----BEGIN PGP SIGNATURE-----")[0]
    try:
        return parse_changes(text, path.name)
    except UploadRefused as error:
        raise FarmTrouble(
            f"the .changes cannot be read: {error}",
            where=str(path),
            resolution="Run the stage that makes it again.",
        ) from error


def open_upload_ledger(context: StageContext, stage: str, destination: str, changes_file: Path) -> Ledger:
    """The ledger of a stage's upload: beside its directory, which each attempt finds empty."""
    path = context.workspace.directory(stage) / f"{context.target}.ledger.json"
    return open_ledger(path, f"{destination} {context.target}", digests_of(changes_file).sha256)


def _send_to_local(
    context: StageContext,
    address: Address,
    changes_file: Path,
    files: list[Path],
    ledger: Ledger,
) -> tuple[dict[str, object], tuple[str, ...]]:
    from ppa_tools.archives.upload_client import UploadClient

    context.say(f"sending {changes_file.name} to {context.settings.archive_local_url}")
    receipt = UploadClient(context.settings.archive_local_url).upload(
        address, context.series, changes_file, files, ledger
    )
    assumed = ("the archive has it already: an earlier attempt was accepted",) if receipt.already else ()
    return asdict(receipt), (*assumed, *receipt.notes)


def _send_to_launchpad(
    context: StageContext,
    address: Address,
    changes_file: Path,
    files: list[Path],
    ledger: Ledger,
) -> tuple[dict[str, object], tuple[str, ...]]:
    from ppa_tools.archives.launchpad_upload import send_to_launchpad, upload_path

    settings = context.settings.launchpad
    context.say(f"sending {changes_file.name} to {settings.upload_host}")
    sent = send_to_launchpad(
        address,
        context.series,
        changes_file,
        files,
        ledger,
        host=settings.upload_host,
        port=settings.upload_port,
    )
    assumed = ["Launchpad accepts or rejects the upload later, by mail to the uploader"]
    if sent.already:
        assumed.append("an earlier attempt handed it over; it is not sent again")
    return {
        "archive": str(address),
        "host": settings.upload_host,
        "path": upload_path(address, context.series),
        "changes_sha256": ledger.changes_sha256,
        "sent": list(sent.files),
        "already": sent.already,
    }, tuple(assumed)
