"""The sign stage: what it signs holds, and what it must not sign it refuses."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from debian.deb822 import Changes, Dsc
from source_package import Package

from buildfarm import keys
from buildfarm.stages.sign import EXPECTED_CHANGES
from buildfarm.verdict import StageResult, Verdict
from ppa_tools.openpgp import verify_clearsigned

ENDINGS = (".dsc", ".buildinfo", ".changes")


def digest(content: bytes, name: str = "sha256") -> str:
    return hashlib.new(name, content).hexdigest()


def refused(package: Package) -> StageResult:
    """The result of signing, which must be a refusal that leaves nothing behind."""
    result = package.run("sign", "bookworm")
    assert result.verdict is Verdict.ERROR, result
    assert result.reason.startswith("not signed:")
    left = {path.name for path in package.workspace.directory("sign", "bookworm").iterdir()}
    assert left == {"log", "result.json"}
    return result


def record_again(package: Package) -> None:
    """Rewrite result.json to match what stands there, as someone would who can write in the workspace."""
    directory = package.workspace.directory("source", "bookworm")
    record = json.loads((directory / "result.json").read_text())
    record["outputs"] = [
        {
            "path": f"source/bookworm/{file.name}",
            "sha256": digest(file.read_bytes()),
            "size_bytes": file.stat().st_size,
        }
        for file in sorted(directory.iterdir())
        if file.name not in ("log", "result.json")
    ]
    (directory / "result.json").write_text(json.dumps(record))


def relist(package: Package, *names: str) -> None:
    """Bring checksums of ``names`` up to date in .dsc, .buildinfo and .changes, in this order; and the record."""
    directory = package.workspace.directory("source", "bookworm")
    files = [directory / name for name in names]
    for ending in ENDINGS:
        listing = package.only("source", ending)
        lines = listing.read_text().split("\n")
        for n, line in enumerate(lines):
            words = line.split()
            for file in files:
                if len(words) >= 3 and words[-1] == file.name:
                    kind = {32: "md5", 40: "sha1", 64: "sha256"}[len(words[0])]
                    words[:2] = [digest(file.read_bytes(), kind), str(file.stat().st_size)]
                    lines[n] = " " + " ".join(words)
        listing.write_text("\n".join(lines))
        files.append(listing)
    record_again(package)


def test_every_text_is_signed_and_lists_the_others_as_signed(signing_package: Package) -> None:
    result = signing_package.run("sign", "bookworm")
    assert result.verdict is Verdict.PASS, result
    public = keys.public_key(signing_package.settings)
    directory = signing_package.workspace.directory("sign", "bookworm")
    for ending in ENDINGS:
        signed = verify_clearsigned(signing_package.only("sign", ending).read_bytes(), public)
        assert signed.fingerprint == result.facts["fingerprint"]
    changes = Changes(signing_package.only("sign", ".changes").read_bytes())
    on_disk = {path.name for path in directory.iterdir()} - {"log", "result.json"}
    assert {file["name"] for file in changes["Files"]} | {Path(result.facts["changes"]).name} == on_disk
    for field, kind in (("Files", "md5sum"), ("Checksums-Sha1", "sha1"), ("Checksums-Sha256", "sha256")):
        for file in changes[field]:
            content = (directory / file["name"]).read_bytes()
            assert file[kind] == digest(content, kind.removesuffix("sum"))
            assert int(file["size"]) == len(content)


def test_python_debian_believes_the_signature_too(signing_package: Package, tmp_path: Path) -> None:
    from ppa_tools.openpgp import export_public

    signing_package.run("sign", "bookworm")
    keyring = tmp_path / "keyring.gpg"
    with keys.signing_key(signing_package.settings) as key:
        keyring.write_bytes(export_public(signing_package.settings.keys, key.fingerprint, armor=False))
    info = Dsc(signing_package.only("sign", ".dsc").read_bytes()).get_gpg_info(keyrings=[str(keyring)])
    assert info.valid()


def test_tarballs_are_the_source_stages_own(signing_package: Package) -> None:
    signing_package.run("sign", "bookworm")
    for ending in (".orig.tar.xz", ".debian.tar.xz"):
        signed, unsigned = (signing_package.only(stage, ending) for stage in ("sign", "source"))
        assert signed.read_bytes() == unsigned.read_bytes()
        assert not signed.samefile(unsigned)


def test_the_facts_name_package_version_and_key(signing_package: Package) -> None:
    facts = signing_package.run("sign", "bookworm").facts
    assert (facts["source"], facts["version"]) == ("hello", "2.10+git12.gabcdef1-0~debian12.1")
    with keys.signing_key(signing_package.settings) as key:
        assert facts["fingerprint"] == key.fingerprint
    assert (signing_package.workspace.path / facts["changes"]).is_file()


def append(package: Package) -> None:
    with package.only("source", ".debian.tar.xz").open("ab") as file:
        file.write(b"x")


def same_size_other_bytes(package: Package) -> None:
    file = package.only("source", ".dsc")
    file.write_bytes(file.read_bytes().replace(b"Jane", b"Eve!"))


def remove(package: Package) -> None:
    package.only("source", ".orig.tar.xz").unlink()


def add(package: Package) -> None:
    (package.workspace.directory("source", "bookworm") / "more.dsc").write_text("x")


def replace_by_link(package: Package) -> None:
    file = package.only("source", ".dsc")
    file.rename(package.workspace.path / "elsewhere.dsc")
    file.symlink_to(package.workspace.path / "elsewhere.dsc")


def replace_by_pipe(package: Package) -> None:
    file = package.only("source", ".orig.tar.xz")
    file.unlink()
    os.mkfifo(file)


def add_and_record(package: Package) -> None:
    add(package)
    record_again(package)


def other_tarball_with_its_record(package: Package) -> None:
    append(package)
    record_again(package)


def edit_and_relist(ending: str, old: str, new: str) -> Callable[[Package], None]:
    def edit(package: Package) -> None:
        file = package.only("source", ending)
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        relist(package)

    return edit


VERSION = "Version: 2.10+git12.gabcdef1-0~debian12.1"


@pytest.mark.parametrize(
    "tamper",
    [
        append,
        same_size_other_bytes,
        remove,
        add,
        replace_by_link,
        replace_by_pipe,
        add_and_record,
        other_tarball_with_its_record,
        edit_and_relist(".changes", "Distribution: bookworm", "Distribution: noble"),
        edit_and_relist(".changes", "Source: hello", "Source: sudo"),
        edit_and_relist(".changes", "Architecture: source", "Architecture: source amd64"),
        edit_and_relist(".changes", "Format: 1.8", "Format: 1.8\nSource: sudo"),
        edit_and_relist(".dsc", VERSION, "Version: 9:9-9"),
        edit_and_relist(".dsc", "\n", "\n\nFormat: second paragraph\n"),
        edit_and_relist(".buildinfo", VERSION, "Version: 9:9-9"),
        edit_and_relist(".dsc", "Source: hello", "Source: sudo"),
    ],
)
def test_what_was_tampered_with_is_not_signed(signing_package: Package, tamper: Callable[[Package], None]) -> None:
    tamper(signing_package)
    refused(signing_package)


def test_a_name_that_leads_elsewhere_is_not_followed(signing_package: Package, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    changes = signing_package.only("source", ".changes")
    line = f" {'0' * 64} 6 ../../../../secret\n"
    changes.write_text(changes.read_text().replace("Checksums-Sha256:\n", f"Checksums-Sha256:\n{line}"))
    record_again(signing_package)
    assert "names no file" in refused(signing_package).reason


def test_a_whole_forged_package_is_refused_by_what_the_master_heard(
    signing_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = digest(signing_package.only("source", ".changes").read_bytes())
    monkeypatch.setenv(EXPECTED_CHANGES, heard)
    orig = signing_package.only("source", ".debian.tar.xz")
    orig.write_bytes(b"a forged tarball")
    relist(signing_package, orig.name)
    assert "reported to the master" in refused(signing_package).reason


def test_what_the_master_heard_is_signed(signing_package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EXPECTED_CHANGES, digest(signing_package.only("source", ".changes").read_bytes()))
    result = signing_package.run("sign", "bookworm")
    assert result.verdict is Verdict.PASS
    assert result.assumed == ()


def test_without_the_masters_word_it_is_said(signing_package: Package) -> None:
    assert "vouches" in signing_package.run("sign", "bookworm").assumed[0]


def test_a_source_stage_that_has_not_passed_is_not_signed(signing_package: Package) -> None:
    (signing_package.workspace.directory("source", "bookworm") / "result.json").unlink()
    assert "has not passed" in refused(signing_package).reason


def test_a_series_the_job_does_not_name_is_not_signed(signing_package: Package) -> None:
    signing_package.set_job(series=("noble",))
    assert "not for bookworm" in refused(signing_package).reason


def test_without_a_key_the_farm_says_what_makes_one(package: Package) -> None:
    result = package.run_up_to("sign")
    assert result.verdict is Verdict.ERROR
    assert "buildfarm up" in result.resolution
