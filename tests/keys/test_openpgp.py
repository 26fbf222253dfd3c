"""Keys, signatures and their verification, with the real gpg and gpgv."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppa_tools.openpgp import (
    Key,
    OpenPGPError,
    SignatureRefused,
    clearsign,
    create_key,
    dearmor_keys,
    detach_sign,
    export_public,
    read_keys,
    secret_keys,
    stop_agent,
    text_of,
    verify_clearsigned,
)

TEXT = b"Origin: here\n- a dash\n-----BEGIN something-----\ntrailing blanks  \n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("gnupg") / "home"
    yield path
    stop_agent(path)


@pytest.fixture(scope="module")
def key(home: Path) -> Key:
    return create_key(home, "Farm: Ünit <farm@example.org>")


@pytest.fixture(scope="module")
def other(home: Path, key: Key) -> Key:
    return create_key(home, "Farm: Ünit <farm@example.org>")


@pytest.fixture(scope="module")
def public(home: Path, key: Key) -> bytes:
    return export_public(home, key.fingerprint)


def gpg(home: Path, *words: str, data: bytes = b"") -> bytes:
    return subprocess.run(
        [
            "gpg",
            "--homedir",
            home,
            "--batch",
            "--quiet",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
            *words,
        ],
        input=data,
        capture_output=True,
        check=True,
    ).stdout


def test_a_key_is_what_was_asked_for(home: Path, key: Key, other: Key) -> None:
    assert (key.uid, key.algorithm, key.expires_at) == ("Farm: Ünit <farm@example.org>", "ed25519", None)
    assert len(key.fingerprint) == 40
    assert {one.fingerprint for one in secret_keys(home)} == {key.fingerprint, other.fingerprint}


def test_a_key_signs_with_its_newest_signing_subkey(tmp_path: Path) -> None:
    made = create_key(tmp_path, "Me <me@example.org>")
    assert made.signs_with == made.fingerprint
    gpg(tmp_path, "--quick-add-key", made.fingerprint, "rsa2048", "encrypt")
    assert secret_keys(tmp_path)[0].signs_with == made.fingerprint
    gpg(tmp_path, "--quick-add-key", made.fingerprint, "ed25519", "sign")
    (now,) = secret_keys(tmp_path)
    assert now.signs_with not in ("", made.fingerprint)
    signed = clearsign(tmp_path, [now.signs_with], TEXT)
    assert verify_clearsigned(signed, export_public(tmp_path, made.fingerprint)).fingerprint == made.fingerprint
    stop_agent(tmp_path)


def test_what_a_message_says_is_the_same_whoever_reads_it(home: Path, key: Key, tmp_path: Path) -> None:
    text = b"Format: 3.0\nOdd: \n - dashes  \n---\nFrom here\n"
    signed = clearsign(home, [key.fingerprint], text)
    assert text_of(signed) == verify_clearsigned(signed, export_public(home, key.fingerprint)).payload
    assert text_of(text) == text
    with pytest.raises(SignatureRefused, match="outside the signed part"):
        text_of(b"Version: 2\n" + signed)


def test_a_home_that_is_not_there_has_no_keys(tmp_path: Path) -> None:
    assert secret_keys(tmp_path / "nowhere") == ()


def test_an_rsa_key_signs_as_well(tmp_path: Path) -> None:
    rsa = create_key(tmp_path, "Farm <farm@example.org>", "rsa4096", lifetime_days=30)
    assert rsa.algorithm == "rsa4096"
    assert rsa.expires_at == rsa.created_at + 30 * 86400
    signed = clearsign(tmp_path, [rsa.fingerprint], TEXT)
    stop_agent(tmp_path)
    assert verify_clearsigned(signed, export_public(tmp_path, rsa.fingerprint)).fingerprint == rsa.fingerprint


@pytest.mark.parametrize("uid", ["", "  ", "two\nlines <a@b>", "bell\a"])
def test_a_key_is_named_by_one_line(tmp_path: Path, uid: str) -> None:
    with pytest.raises(OpenPGPError, match="cannot name a key"):
        create_key(tmp_path, uid)


def test_signed_text_is_verified_and_given_back(home: Path, key: Key, public: bytes) -> None:
    signed = verify_clearsigned(clearsign(home, [key.fingerprint], TEXT), public)
    assert signed.payload.startswith(b"Origin: here\n- a dash\n-----BEGIN something-----\n")
    assert signed.payload.endswith(b"\n\n")
    assert signed.fingerprint == key.fingerprint
    assert signed.signed_at >= key.created_at


@pytest.mark.parametrize("armor", [True, False])
def test_a_keyring_is_keys_one_after_the_other(home: Path, key: Key, other: Key, armor: bool) -> None:
    keyring = b"".join(export_public(home, one.fingerprint, armor=armor) for one in (other, key))
    signed = clearsign(home, [key.fingerprint], TEXT)
    assert verify_clearsigned(signed, keyring).fingerprint == key.fingerprint
    assert {one.fingerprint for one in read_keys(keyring)} == {key.fingerprint, other.fingerprint}


def test_a_mixed_keyring_is_read_too(home: Path, key: Key, other: Key, public: bytes) -> None:
    mixed = export_public(home, other.fingerprint, armor=False) + b"\n" + public
    assert dearmor_keys(mixed).endswith(export_public(home, key.fingerprint, armor=False))


def test_a_damaged_key_block_is_refused(public: bytes) -> None:
    with pytest.raises(OpenPGPError, match="damaged"):
        dearmor_keys(public.replace(b"\n\nm", b"\n\n*", 1))


@pytest.mark.parametrize("order", [1, -1])
def test_text_signed_with_two_keys_is_accepted_with_either(home: Path, key: Key, other: Key, order: int) -> None:
    signed = clearsign(home, [one.fingerprint for one in (key, other)][::order], TEXT)
    for one in (key, other):
        assert verify_clearsigned(signed, export_public(home, one.fingerprint)).fingerprint == one.fingerprint


def test_a_detached_signature_holds(home: Path, key: Key, public: bytes, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(TEXT)
    (tmp_path / "data.asc").write_bytes(detach_sign(home, [key.fingerprint], TEXT))
    (tmp_path / "keyring").write_bytes(dearmor_keys(public))
    argv: list[str | Path] = ["gpgv", "--keyring", tmp_path / "keyring", tmp_path / "data.asc", tmp_path / "data"]
    assert subprocess.run(argv, capture_output=True).returncode == 0
    (tmp_path / "data").write_bytes(TEXT + b"more")
    assert subprocess.run(argv, capture_output=True).returncode == 1


def test_a_missing_key_never_becomes_another_keys_signature(home: Path, key: Key) -> None:
    for fingerprints in (["0" * 40], [key.fingerprint, "0" * 40], []):
        with pytest.raises(OpenPGPError):
            clearsign(home, fingerprints, TEXT)


def test_a_key_is_named_by_its_whole_fingerprint(home: Path, key: Key) -> None:
    for name in ("Farm: Ünit <farm@example.org>", key.fingerprint[-16:]):
        with pytest.raises(OpenPGPError):
            clearsign(home, [name], TEXT)


def test_a_line_that_gpg_would_cut_is_not_signed(home: Path, key: Key) -> None:
    with pytest.raises(OpenPGPError, match="longer"):
        clearsign(home, [key.fingerprint], b"x" * 20_000)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: TEXT, "not signed"),
        (lambda text: b"", "not signed"),
        (lambda text: text.replace(b"Origin: here", b"Origin: there"), "changed after"),
        (lambda text: b"in front\n" + text, "outside"),
        (lambda text: text + b"behind\n", "outside"),
        (lambda text: text + text, "more than one"),
        (lambda text: text[:-40], "cut short"),
        (lambda text: text.replace(b"iH", b"AA", 1), "cannot be|changed|damaged"),
        (lambda text: text.replace(b"\n-----BEGIN PGP SIGNATURE", b"\nx-----BEGIN PGP SIGNATURE"), "cut short"),
    ],
)
def test_a_signature_that_does_not_hold_is_refused_with_its_reason(
    home: Path, key: Key, public: bytes, change: object, reason: str
) -> None:
    signed = clearsign(home, [key.fingerprint], TEXT)
    with pytest.raises(SignatureRefused, match=reason):
        verify_clearsigned(change(signed), public)  # type: ignore[operator]


def test_a_key_that_is_not_in_the_keyring_is_unknown(home: Path, key: Key, other: Key) -> None:
    signed = clearsign(home, [key.fingerprint], TEXT)
    with pytest.raises(SignatureRefused, match=f"{key.fingerprint[-16:]} is not known"):
        verify_clearsigned(signed, export_public(home, other.fingerprint))
    with pytest.raises(SignatureRefused):
        verify_clearsigned(signed, b"")


def test_an_expired_key_is_refused_though_gpgv_exits_0(tmp_path: Path) -> None:
    words = ("--faked-system-time", "20200101T000000!", "--quick-generate-key", "Old <o@example.org>")
    (home := tmp_path / "home").mkdir(mode=0o700)
    gpg(home, *words, "ed25519", "sign", "1d")
    signed = gpg(home, "--faked-system-time", "20200101T010000!", "--clear-sign", data=TEXT)
    public = gpg(home, "--export")
    stop_agent(home)
    with pytest.raises(SignatureRefused, match="has expired"):
        verify_clearsigned(signed, public)


def test_an_expired_key_does_not_sign(tmp_path: Path) -> None:
    (home := tmp_path / "home").mkdir(mode=0o700)
    words = ("--faked-system-time", "20200101T000000!", "--quick-generate-key", "Old <o@example.org>")
    gpg(home, *words, "ed25519", "sign", "1d")
    (old,) = secret_keys(home)
    with pytest.raises(OpenPGPError):
        clearsign(home, [old.fingerprint], TEXT)
    stop_agent(home)


def test_a_revoked_key_is_refused_and_not_listed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    revoked = create_key(home, "Gone <gone@example.org>")
    signed = clearsign(home, [revoked.fingerprint], TEXT)
    certificate = (home / "openpgp-revocs.d" / f"{revoked.fingerprint}.rev").read_bytes()
    gpg(home, "--import", data=certificate.replace(b":-----BEGIN", b"-----BEGIN"))
    public = export_public(home, revoked.fingerprint)
    assert secret_keys(home) == ()
    stop_agent(home)
    with pytest.raises(SignatureRefused, match="is revoked"):
        verify_clearsigned(signed, public)
    assert read_keys(public) == ()


def test_a_forgeable_hash_is_refused(home: Path, key: Key, public: bytes) -> None:
    weak = gpg(home, "--digest-algo", "SHA1", "--local-user", key.fingerprint, "--clear-sign", data=TEXT)
    with pytest.raises(SignatureRefused):
        verify_clearsigned(weak, public)


def test_a_deep_home_works_and_leaves_no_agent(tmp_path: Path) -> None:
    home = tmp_path / ("d" * 100) / ("e" * 100) / "home"
    key = create_key(home, "Deep <deep@example.org>")
    signed = clearsign(home, [key.fingerprint], TEXT)
    assert verify_clearsigned(signed, export_public(home, key.fingerprint)).fingerprint == key.fingerprint
    stop_agent(home)
    assert agents_of(home) == []
    clearsign(home, [key.fingerprint], TEXT)
    stop_agent(home)
    assert agents_of(home) == []


def test_a_deep_home_survives_the_cleaning_of_tmp(tmp_path: Path) -> None:
    home = tmp_path / ("d" * 120) / "home"
    key = create_key(home, "Deep <deep@example.org>")
    stop_agent(home)
    moved = tmp_path / ("m" * 120) / "home"
    shutil.copytree(home, moved, ignore=shutil.ignore_patterns("*.lock"))
    assert clearsign(moved, [key.fingerprint], TEXT)
    stop_agent(moved)
    assert agents_of(moved) == []


def agents_of(home: Path) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "pid,args", "-ww"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if "gpg-agent" in line and str(home) in line]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=60), max_size=6))
def test_what_is_verified_is_what_was_signed(home: Path, key: Key, public: bytes, lines: list[str]) -> None:
    text = "\n".join(lines).encode()
    payload = verify_clearsigned(clearsign(home, [key.fingerprint], text), public).payload
    assert [line.rstrip() for line in payload.rstrip().split(b"\n")] == [
        line.rstrip() for line in text.rstrip().split(b"\n")
    ]


@pytest.mark.parametrize("length", range(84, 92))
def test_a_home_near_the_limit_of_a_sockets_path_works(length: int) -> None:
    short = Path(tempfile.mkdtemp(prefix="k"))
    home = short / ("d" * (length - len(str(short)) - 1))
    try:
        made = create_key(home, "Near The Limit <near@example.org>")
        assert secret_keys(home) == (made,)
    finally:
        stop_agent(home)
        shutil.rmtree(short)
