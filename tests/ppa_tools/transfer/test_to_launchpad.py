"""From the embedded archive to Launchpad: a source, signed by whoever asks, for the series that is meant, once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ppa_tools import openpgp
from ppa_tools.archives import control
from ppa_tools.archives.door import DoorError, NoRights, Refused, Unreachable
from ppa_tools.archives.opening import Options
from ppa_tools.archives.transfer import Means, ask_transfer, means_of
from ppa_tools.archives.uploading import SETTLED_S
from tests.archive.conftest import Signer
from tests.ppa_tools.conformance.backends import JAMMY, NOBLE, Embedded, Launchpad, batch
from tests.ppa_tools.transfer.conftest import Ftp

PATH = "~me/ubuntu/target/noble"
CHANGES = f"{PATH}/hello_1.0-1_source.changes"


def verified(text: bytes, signer: Signer) -> bytes:
    return openpgp.verify_clearsigned(text, signer.public).payload


def test_a_source_is_uploaded_signed_for_its_series(
    embedded: Embedded, launchpad: Launchpad, means: Means, ftp: Ftp, signer: Signer
) -> None:
    trunk, target = embedded.ppa("trunk"), launchpad.ppa("target")
    one = embedded.put(trunk, series=JAMMY)
    ask_transfer(trunk, target, batch(trunk, one, to_series=NOBLE, with_binaries=False), means)
    received = ftp.received()
    assert received.keys() == {
        CHANGES,
        f"{PATH}/hello_1.0-1.dsc",
        f"{PATH}/hello_1.0-1.debian.tar.gz",
        f"{PATH}/hello_1.0.orig.tar.gz",
    }
    changes = control.parse_changes(verified(received[CHANGES], signer))
    assert (changes.source, changes.version, changes.distribution) == ("hello", "1.0-1", NOBLE)
    assert changes.architectures == ("source",)
    assert changes.changed_by == "Uploader <uploader@example.com>"
    assert {file.name for file in changes.files} == {Path(name).name for name in received if name != CHANGES}
    for file in changes.files:
        assert len(received[f"{PATH}/{file.name}"]) == file.size_bytes
    text = control.parse_paragraph(verified(received[CHANGES], signer), "it")
    assert text["Changes"].split("\n")[1:] == ["hello (1.0-1) unstable; urgency=medium", ".", "  * A change."]


def test_what_launchpad_gets_another_archive_accepts(
    embedded: Embedded, launchpad: Launchpad, means: Means, ftp: Ftp, tmp_path: Path
) -> None:
    trunk, target = embedded.ppa("trunk"), launchpad.ppa("target")
    one = embedded.put(trunk)
    ask_transfer(trunk, target, batch(trunk, one, with_binaries=False), means)
    other = embedded.ppa("other")
    directory = tmp_path / "sent"
    directory.mkdir()
    for name, data in ftp.received().items():
        (directory / Path(name).name).write_bytes(data)
    receipt = embedded.local.accept_source(other.address, NOBLE, directory, Path(CHANGES).name)
    assert (receipt.source, receipt.version, receipt.already) == ("hello", "1.0-1", False)


def test_the_source_is_signed_anew_by_whoever_sends_it(
    embedded: Embedded, launchpad: Launchpad, means: Means, ftp: Ftp, signer: Signer
) -> None:
    trunk, target = embedded.ppa("trunk"), launchpad.ppa("target")
    one = embedded.put(trunk)
    ask_transfer(trunk, target, batch(trunk, one, with_binaries=False), means)
    sent = ftp.received()[f"{PATH}/hello_1.0-1.dsc"]
    (dsc,) = [file for file in trunk.source_files([one])[one.key] if file.name.endswith(".dsc")]
    assert verified(sent, signer) == openpgp.text_of(Path(dsc.url).read_bytes())


def test_an_upstream_tarball_that_is_there_is_not_sent(
    embedded: Embedded, launchpad: Launchpad, means: Means, ftp: Ftp
) -> None:
    mirror, origin, target = embedded.ppa("mirror"), launchpad.ppa("origin"), launchpad.ppa("target")
    one = launchpad.put(origin, version="1.0-2")
    launchpad.put(target, version="1.0-1")
    ask_transfer(origin, mirror, batch(origin, one), means)
    (there,) = mirror.publications()
    ask_transfer(mirror, target, batch(mirror, there, with_binaries=False), means)
    assert not any(".orig." in name for name in ftp.received())
    assert any(name.endswith("hello_1.0-2.debian.tar.gz") for name in ftp.received())


def test_another_upstream_tarball_by_the_same_name_is_refused_before(
    embedded: Embedded, launchpad: Launchpad, means: Means, ftp: Ftp
) -> None:
    trunk, target = embedded.ppa("trunk"), launchpad.ppa("target")
    launchpad.put(target, version="1.0-0")
    one = embedded.put(trunk)
    with pytest.raises(Refused, match=r"hello_1\.0\.orig\.tar\.gz is, or was, there with other content"):
        ask_transfer(trunk, target, batch(trunk, one, with_binaries=False), means)
    assert ftp.sessions() == []


def test_binaries_are_not_sent(embedded: Embedded, launchpad: Launchpad, means: Means, ftp: Ftp) -> None:
    trunk, target = embedded.ppa("trunk"), launchpad.ppa("target")
    with pytest.raises(Refused, match="takes no binaries") as caught:
        ask_transfer(trunk, target, batch(trunk, embedded.put(trunk)), means)
    assert "--rebuild" in caught.value.resolution
    assert ftp.sessions() == []


def test_what_is_there_is_not_sent(embedded: Embedded, launchpad: Launchpad, means: Means, ftp: Ftp) -> None:
    trunk, target = embedded.ppa("trunk"), launchpad.ppa("target")
    one = embedded.put(trunk)
    launchpad.put(target)
    ask_transfer(trunk, target, batch(trunk, one, with_binaries=False), means)
    assert ftp.sessions() == []


def test_a_version_that_was_there_is_refused_before(
    embedded: Embedded, launchpad: Launchpad, means: Means, ftp: Ftp
) -> None:
    trunk, target = embedded.ppa("trunk"), launchpad.ppa("target")
    one = embedded.put(trunk)
    launchpad.put(target, series=JAMMY)
    with pytest.raises(Refused, match=r"hello 1\.0-1 in jammy: it takes a version once"):
        ask_transfer(trunk, target, batch(trunk, one, with_binaries=False), means)
    assert ftp.sessions() == []


def test_what_was_handed_over_is_not_sent_again_until_launchpad_has_looked_at_it(
    embedded: Embedded, launchpad: Launchpad, means: Means, ftp: Ftp
) -> None:
    trunk, target = embedded.ppa("trunk"), launchpad.ppa("target")
    wanted = batch(trunk, embedded.put(trunk), with_binaries=False)
    ask_transfer(trunk, target, wanted, means)
    ask_transfer(trunk, target, wanted, means)
    assert len(ftp.sessions()) == 1
    assert means.uplink is not None
    kept = {path.name for path in means.uplink.directory.rglob("*") if path.is_file()}
    assert kept == {"hello_1.0-1_source.changes", "ledger.json", "ready"}
    clock = means.uplink.clock
    later = replace(means, uplink=replace(means.uplink, clock=lambda: clock() + SETTLED_S + 60))
    ask_transfer(trunk, target, wanted, later)
    assert len(ftp.sessions()) == 2


def test_a_session_that_breaks_is_done_again_as_it_was(
    embedded: Embedded, launchpad: Launchpad, means: Means, tmp_path: Path
) -> None:
    trunk, target = embedded.ppa("trunk"), launchpad.ppa("target")
    wanted = batch(trunk, embedded.put(trunk), with_binaries=False)
    (tmp_path / "broken").mkdir()
    broken = Ftp(tmp_path / "broken", fail_at=3)
    try:
        assert means.uplink is not None
        those = replace(means, uplink=replace(means.uplink, port=broken.port))
        with pytest.raises(Unreachable):
            ask_transfer(trunk, target, wanted, those)
        ask_transfer(trunk, target, wanted, those)
        first, second = broken.received(1), broken.received(2)
        assert CHANGES not in first
        assert first.items() <= second.items()
        assert CHANGES in second
    finally:
        broken.stop()


def test_without_a_key_nothing_is_sent(
    embedded: Embedded, launchpad: Launchpad, means: Means, ftp: Ftp, tmp_path: Path
) -> None:
    trunk, target = embedded.ppa("trunk"), launchpad.ppa("target")
    wanted = batch(trunk, embedded.put(trunk), with_binaries=False)
    assert means.uplink is not None
    keyless = replace(means, uplink=replace(means.uplink, key_home=tmp_path / "none"))
    with pytest.raises(NoRights, match="takes signed sources only"):
        ask_transfer(trunk, target, wanted, keyless)
    other = replace(means, uplink=replace(means.uplink, key="somebody@else"))
    with pytest.raises(NoRights, match="0 keys are meant by 'somebody@else'") as caught:
        ask_transfer(trunk, target, wanted, other)
    assert "uploader@example.com" in caught.value.resolution
    assert ftp.sessions() == []


def test_what_is_private_is_not_uploaded_to_a_public_ppa(
    embedded: Embedded, launchpad: Launchpad, means: Means, ftp: Ftp
) -> None:
    secret, target = embedded.ppa("secret", private=True), launchpad.ppa("target")
    one = embedded.put(secret)
    with pytest.raises(Refused, match="is private and ppa:me/target is public"):
        ask_transfer(secret, target, batch(secret, one, with_binaries=False), means)
    assert ftp.sessions() == []


def test_the_environment_says_where_and_with_which_key(tmp_path: Path) -> None:
    environment = {
        "HOME": str(tmp_path),
        "GNUPGHOME": "/keys",
        "DEBSIGN_KEYID": "me@example.com",
        "PPA_UPLOAD_HOST": "ftp.example.com:2121",
    }
    uplink = means_of(Options(environment=environment)).uplink
    assert uplink is not None
    assert (uplink.host, uplink.port, uplink.key) == ("ftp.example.com", 2121, "me@example.com")
    assert (uplink.key_home, uplink.directory) == (Path("/keys"), tmp_path / ".local/state/ppa-tools/uploads")
    assert means_of(Options(instance="staging", environment={"HOME": "/"})).uplink is None
    for wrong in (":x", "host:²", "host:99999", "host:"):
        with pytest.raises(DoorError, match="PPA_UPLOAD_HOST"):
            means_of(Options(environment={"HOME": "/", "PPA_UPLOAD_HOST": wrong}))
