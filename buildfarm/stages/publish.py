"""The publish stage: hand a build's binaries to the embedded archive, which publishes them beside their source."""

from __future__ import annotations

import hashlib
from dataclasses import asdict

from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.files import write_json
from buildfarm.stages.runner import StageContext
from buildfarm.stages.upload import find_upload, open_upload_ledger, read_signed_changes
from buildfarm.verdict import Outcome, Verdict
from ppa_tools.address import Address, parse_address
from ppa_tools.archives.errors import ArchiveError, ArchiveUnreachable, UploadRefused
from ppa_tools.archives.upload_client import UploadClient


def run(context: StageContext) -> Outcome:
    """Publish build/SERIES-ARCH/; the receipt goes to publish/SERIES-ARCH/receipt.json."""
    address = parse_address(context.job.archive)
    if address.backend == "ppa":
        return Outcome(Verdict.SKIPPED, "Launchpad builds and publishes what was uploaded to it")
    built = context.workspace.read_result("build", context.target)
    if built is not None and built.verdict is Verdict.SKIPPED:
        return Outcome(Verdict.SKIPPED, f"nothing was built: {built.reason}")
    try:
        return _publish(context, address)
    except UploadRefused as error:
        raise PackageFault(
            f"{address} refuses the binaries: {error}",
            resolution="The reason is the archive's own; mend the package and commit again.",
        ) from error
    except ArchiveUnreachable as error:
        raise FarmTrouble(
            str(error), resolution="It is tried again; what arrived already is not sent twice."
        ) from error
    except ArchiveError as error:
        raise FarmTrouble(
            str(error), resolution="Is the workers' token the archive's, and does the PPA exist?"
        ) from error


def _publish(context: StageContext, address: Address) -> Outcome:
    series, architecture = context.series, context.architecture
    changes_file, files = find_upload(context.workspace.directory("build", context.target))
    changes = read_signed_changes(changes_file)
    source, version = changes.source, changes.source_version
    client = UploadClient(context.settings.archive_local_url, _read_token(context))
    assumed: tuple[str, ...]
    if client.published_build(address, series, source, version, architecture).built:
        assumed = (f"the archive has the {architecture} binaries of {source} {version} from an earlier attempt",)
        receipt: dict[str, object] = {"archive": str(address), "already": True}
    else:
        context.say(f"sending {changes_file.name} to {context.settings.archive_local_url}")
        ledger = open_upload_ledger(context, "publish", str(address), changes_file)
        sent = client.upload(address, series, changes_file, files, ledger, architecture=architecture)
        assumed, receipt = sent.notes, asdict(sent)
    packages = client.published_build(address, series, source, version, architecture).packages
    in_release_sha256 = hashlib.sha256(client.in_release(address, series)).hexdigest()
    receipt_file = context.out / "receipt.json"
    write_json(receipt_file, receipt)
    names = [context.workspace.relative(path) for path in (changes_file, *files)]
    return Outcome(
        Verdict.PASS,
        _in_words(packages, address, context) or f"{source} {version} was superseded before its binaries came",
        inputs=tuple(names),
        outputs=(context.workspace.relative(receipt_file),),
        assumed=assumed,
        facts={
            "archive": str(address),
            "source": source,
            "version": version,
            "packages": packages,
            "in_release_sha256": in_release_sha256,
            "receipt": receipt,
        },
    )


def _in_words(packages: dict[str, str], address: Address, context: StageContext) -> str:
    if not packages:
        return ""
    names = ", ".join(f"{package} {version}" for package, version in sorted(packages.items()))
    return f"{names} published in {address}, {context.target}"


def _read_token(context: StageContext) -> str:
    from buildfarm.secrets_store import ARCHIVE_WORKER_TOKEN, ensure_secret

    return ensure_secret(context.settings.secrets / ARCHIVE_WORKER_TOKEN)
