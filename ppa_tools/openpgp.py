"""The one room for GnuPG: make keys, sign, and verify what others signed, with ``gpg`` and ``gpgv``.

Rules learned the hard way, kept here so that nobody else needs to know them:

- A key is named ``FINGERPRINT!`` and every SIG_CREATED is compared: a wrong name must never sign with another key.
- Signed text ends with a blank line, as debsign has it; python-debian reads a signature without it as bad.
- What was signed is what ``gpgv`` puts out, never the file: text in front of the signed part verifies too.
- GOODSIG is required: with an expired key gpgv exits 0.
- A socket's path has 108 bytes at most: a deep home gets its agent's sockets in a short private directory.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ppa_tools.openpgp_keys import Key as Key
from ppa_tools.openpgp_keys import parse_keys

Algorithm = Literal["ed25519", "rsa4096"]

TOOL_TIMEOUT_S = 60
CREATE_TIMEOUT_S = 300  # rsa4096 on a slow machine
SOCKET_PATH_LIMIT_BYTES = 100  # the kernel takes 107, gpg 106
AGENT_SOCKETS = ("S.gpg-agent", "S.gpg-agent.extra", "S.gpg-agent.browser", "S.gpg-agent.ssh")
LINE_LIMIT_BYTES = 19_000  # gpg cuts longer lines of a clear text, and would sign what nobody wrote
WEAK_HASHES = {"1": "MD5", "2": "SHA-1", "3": "RIPEMD-160"}

BEGIN_SIGNED = b"-----BEGIN PGP SIGNED MESSAGE-----"
BEGIN_SIGNATURE = b"-----BEGIN PGP SIGNATURE-----"
END_SIGNATURE = b"-----END PGP SIGNATURE-----"
ARMORED_KEYS = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*\r?\n(.*?)\r?\n-----END PGP PUBLIC KEY BLOCK-----[ \t]*\r?\n?",
    re.DOTALL,
)


class OpenPGPError(Exception):
    """GnuPG could not do what it was asked; the message says what it said."""


class SignatureRefused(OpenPGPError):
    """A signature does not hold; the message is the reason, in words for whoever sent the text."""


@dataclass(frozen=True)
class Signed:
    """What was really signed, by whose primary key, and when (seconds since the epoch, UTC)."""

    payload: bytes
    fingerprint: str
    signed_at: int


def create_key(home: Path, uid: str, algorithm: Algorithm = "ed25519", *, lifetime_days: int | None = None) -> Key:
    """Make a signing key without a passphrase in ``home``, which is created with mode 0700 where missing.

    The key never expires unless ``lifetime_days`` is given. A second key with the same ``uid`` is another key.
    """
    _refuse_control_characters(uid)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    lifetime = "never" if lifetime_days is None else f"{lifetime_days}d"
    without_passphrase = ["--pinentry-mode", "loopback", "--passphrase", ""]
    status, _ = _gpg(
        home,
        ["--yes", *without_passphrase, "--quick-generate-key", "--", uid, algorithm, "sign", lifetime],
        timeout_s=CREATE_TIMEOUT_S,
    )
    made = [words[2] for words in status if words[0] == "KEY_CREATED"]
    if len(made) != 1:
        raise OpenPGPError(f"gpg made {len(made)} keys where one was asked for")
    return next(key for key in secret_keys(home) if key.fingerprint == made[0])


def secret_keys(home: Path) -> tuple[Key, ...]:
    """The keys that ``home`` holds the secret part of, in the order they were made; revoked ones are left out."""
    if not home.is_dir():
        return ()
    _, listing = _gpg(home, ["--with-colons", "--list-secret-keys"])
    return tuple(sorted(parse_keys(listing), key=lambda key: (key.created_at, key.fingerprint)))


def read_keys(keyring: bytes) -> tuple[Key, ...]:
    """The keys of a keyring (public keys one after the other, binary or armored); revoked ones are left out.

    Raises OpenPGPError for what is no keyring, and for secret keys: whoever takes public ones must not keep them.
    """
    with tempfile.TemporaryDirectory(prefix="gpg-") as name:
        _, listing = _gpg(Path(name), ["--with-colons", "--show-keys"], dearmor_keys(keyring))
    if listing.startswith(b"sec:") or b"\nsec:" in listing:
        raise OpenPGPError("it has a secret key in it; `gpg --armor --export` gives the public one")
    return tuple(parse_keys(listing))


def export_public(home: Path, *fingerprints: str, armor: bool = True) -> bytes:
    """The public part of keys, in one armored block or binary."""
    _, exported = _gpg(home, [*(["--armor"] if armor else []), "--export", "--", *fingerprints])
    if not fingerprints or not exported:
        raise OpenPGPError(f"there is no key {' '.join(fingerprints)} in {home}")
    return exported


def clearsign(home: Path, fingerprints: Sequence[str], text: bytes) -> bytes:
    """``text`` with a signature by each of the keys around it; it gets a blank line at its end.

    Raises OpenPGPError when a key is missing, expired or was not the one that signed.
    """
    if any(len(line) > LINE_LIMIT_BYTES for line in text.splitlines()):
        raise OpenPGPError(f"a line is longer than {LINE_LIMIT_BYTES} bytes: gpg would cut it")
    ends = b"" if text.endswith(b"\n\n") else b"\n" if text.endswith(b"\n") else b"\n\n"
    return _sign(home, fingerprints, "--clear-sign", text + ends)


def detach_sign(home: Path, fingerprints: Sequence[str], data: bytes) -> bytes:
    """An armored signature of ``data`` by each of the keys, apart from it; raises as ``clearsign``."""
    return _sign(home, fingerprints, "--detach-sign", data)


def verify_clearsigned(text: bytes, keyring: bytes) -> Signed:
    """What ``text`` says, once its signature holds against a key of ``keyring`` (binary or armored).

    ``text`` must be one signed message and nothing else. One good signature is enough (keys are rotated by
    signing with both); one that does not match the text refuses all. Raises SignatureRefused with the reason.
    """
    _refuse_other_text(text)
    with tempfile.TemporaryDirectory(prefix="gpgv-") as name:
        room = Path(name)
        (room / "text").write_bytes(text)
        good = _verify(room, keyring, ["--output", f"{name}/payload", "--", f"{name}/text"])
        payload = room / "payload"
        if not payload.is_file():
            raise OpenPGPError("gpgv gave no text")
        return Signed(payload.read_bytes(), good["VALIDSIG"][10], int(good["VALIDSIG"][3]))


def text_of(message: bytes) -> bytes:
    """What a message says, whoever signed it, or nobody: only for bytes that are vouched for in another way.

    What ``verify_clearsigned`` gives of the same message is the same, to the byte. Raises SignatureRefused for one
    that is more than a signed message.
    """
    if BEGIN_SIGNED not in message:
        return message
    _refuse_other_text(message)
    with tempfile.TemporaryDirectory(prefix="gpgv-") as name:
        room = Path(name)
        (room / "text").write_bytes(message)
        (room / "keyring").touch()
        argv = ["gpgv", "--homedir", name, "--keyring", f"{name}/keyring", "--output", f"{name}/payload"]
        finished = _call([*argv, "--", f"{name}/text"], room)
        payload = room / "payload"
        if not payload.is_file():
            raise SignatureRefused(f"it cannot be read: {_last_words(finished.stderr)}")
        return payload.read_bytes()


def verify_detached(data: bytes, signature: bytes, keyring: bytes) -> Signed:
    """``data``, once a detached signature of it holds against a key of ``keyring``; as ``verify_clearsigned``."""
    with tempfile.TemporaryDirectory(prefix="gpgv-") as name:
        room = Path(name)
        (room / "data").write_bytes(data)
        (room / "signature").write_bytes(signature)
        good = _verify(room, keyring, ["--", f"{name}/signature", f"{name}/data"])
        return Signed(data, good["VALIDSIG"][10], int(good["VALIDSIG"][3]))


def dearmor_keys(keyring: bytes) -> bytes:
    """Public keys in binary form, one after the other, as gpgv wants them; raises OpenPGPError for bad armor."""
    parts = ARMORED_KEYS.split(keyring)  # what stands between blocks, and blocks, by turns
    try:
        parts[1::2] = [_dearmor(body) for body in parts[1::2]]
    except binascii.Error as error:
        raise OpenPGPError(f"a public key block is damaged: {error}") from error
    return b"".join(part for part in parts if part.strip())


def stop_agent(home: Path) -> None:
    """End the gpg-agent of ``home``, and forget its sockets; one that does not run is no error."""
    if home.is_dir():
        _call(["gpgconf", "--homedir", str(home.resolve()), "--kill", "gpg-agent"], home=home)
    shutil.rmtree(_short_directory(home.resolve()), ignore_errors=True)


def _sign(home: Path, fingerprints: Sequence[str], how: str, data: bytes) -> bytes:
    if not fingerprints:
        raise OpenPGPError("no key was named to sign with")
    users = [word for fingerprint in fingerprints for word in ("--local-user", f"{fingerprint}!")]
    status, signed = _gpg(home, ["--armor", "--digest-algo", "SHA512", *users, how], data)
    made = sorted(words[6] for words in status if words[0] == "SIG_CREATED")
    if made != sorted(fingerprints):
        raise OpenPGPError(f"gpg signed with {', '.join(made) or 'no key'}, not with {', '.join(fingerprints)}")
    return signed


def _gpg(
    home: Path, words: Sequence[str], data: bytes = b"", *, timeout_s: float = TOOL_TIMEOUT_S
) -> tuple[list[list[str]], bytes]:
    """Run gpg on ``home``; its status lines as words, and what it put out. Raises OpenPGPError when it failed."""
    home = home.resolve()
    if not home.is_dir():
        raise OpenPGPError(f"there is no GnuPG home {home}")
    _shorten_agent_sockets(home)
    with tempfile.TemporaryFile() as status_file:
        argv = ["gpg", "--homedir", str(home), "--no-options", "--batch", "--no-tty", "--quiet"]
        argv += ["--no-auto-check-trustdb", "--display-charset", "utf-8"]
        argv += ["--status-fd", str(status_file.fileno()), *words]
        finished = _call(argv, home, data, timeout_s=timeout_s, pass_fds=(status_file.fileno(),))
        status_file.seek(0)
        status = status_file.read()
    if finished.returncode != 0:
        raise OpenPGPError(f"gpg exited {finished.returncode}: {_last_words(finished.stderr)}")
    return _status_lines(status), finished.stdout


def _call(
    argv: Sequence[str],
    home: Path,
    data: bytes = b"",
    *,
    timeout_s: float = TOOL_TIMEOUT_S,
    pass_fds: tuple[int, ...] = (),
) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    try:
        return subprocess.run(
            argv,
            input=data,
            capture_output=True,
            timeout=timeout_s,
            env=environment,
            pass_fds=pass_fds,
            start_new_session=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise OpenPGPError(f"{argv[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise OpenPGPError(f"{argv[0]} was stopped after {timeout_s:.0f} s") from error


def _status_lines(output: bytes) -> list[list[str]]:
    prefix = "[GNUPG:] "
    lines = output.decode("utf-8", "backslashreplace").split("\n")
    return [line.removeprefix(prefix).split(" ") for line in lines if line.startswith(prefix)]


def _last_words(errors: bytes) -> str:
    lines = errors.decode("utf-8", "backslashreplace").strip().splitlines()
    return "; ".join(lines[-3:]) or "it gave no reason"


def _refuse_control_characters(uid: str) -> None:
    if not uid.strip() or any(ord(character) < 32 or ord(character) == 127 for character in uid):
        raise OpenPGPError(f"{uid!r} cannot name a key: it must be one line of text")


def _refuse_other_text(text: bytes) -> None:
    """Refuse all but one signed message: what stands beside it would be believed by careless readers."""
    lines = [line.rstrip(b" \t\r") for line in text.rstrip().split(b"\n")]
    counts = {marker: lines.count(marker) for marker in (BEGIN_SIGNED, BEGIN_SIGNATURE, END_SIGNATURE)}
    if not any(counts.values()):
        raise SignatureRefused("it is not signed")
    if max(counts.values()) > 1:
        raise SignatureRefused("it has more than one signature block")
    if min(counts.values()) < 1:
        raise SignatureRefused("its signature is cut short")
    if lines[0] != BEGIN_SIGNED or lines[-1] != END_SIGNATURE:
        raise SignatureRefused("it has text outside the signed part")


def _signatures(status: list[list[str]]) -> list[dict[str, list[str]]]:
    """gpgv's verdicts, one mapping (status word -> its words) a signature."""
    signatures: list[dict[str, list[str]]] = []
    for words in status:
        if words[0] == "NEWSIG":
            signatures.append({})
        elif signatures:
            signatures[-1].setdefault(words[0], words)
    return signatures


def _verify(room: Path, keyring: bytes, words: Sequence[str]) -> dict[str, list[str]]:
    """Run gpgv in a directory of its own; the good signature. Raises SignatureRefused."""
    (room / "keyring").write_bytes(dearmor_keys(keyring))
    argv = ["gpgv", "--homedir", str(room), "--keyring", str(room / "keyring"), "--status-fd", "1", *words]
    finished = _call(argv, room)
    return _judge_signatures(_signatures(_status_lines(finished.stdout)), _last_words(finished.stderr))


def _judge_signatures(signatures: list[dict[str, list[str]]], tool_words: str) -> dict[str, list[str]]:
    """The first good signature; raises SignatureRefused where there is none, or where one is bad."""
    for signature in signatures:
        if "BADSIG" in signature:
            raise SignatureRefused("it was changed after it was signed")
    refusals = []
    for signature in signatures:
        if "GOODSIG" in signature and "VALIDSIG" in signature:
            if (hash_name := WEAK_HASHES.get(signature["VALIDSIG"][8])) is None:
                return signature
            refusals.append(f"its signature uses {hash_name}, which can be forged")
        else:
            refusals.append(_why_not_good(signature))
    raise SignatureRefused("; ".join(refusals) or f"its signature cannot be read: {tool_words}")


def _why_not_good(signature: dict[str, list[str]]) -> str:
    for word, reason in (
        ("EXPKEYSIG", "the key {} has expired"),
        ("REVKEYSIG", "the key {} is revoked"),
        ("EXPSIG", "the signature by {} has expired"),
        ("NO_PUBKEY", "the key {} is not known here"),
        ("ERRSIG", "the signature by {} cannot be checked"),
    ):
        if word in signature:
            return reason.format(signature[word][1])
    return "a signature cannot be read"


def _dearmor(body: bytes) -> bytes:
    """The bytes of one armored block: headers end at a blank line, a checksum begins with ``=``."""
    lines = [line.strip() for line in body.split(b"\n")]
    first = lines.index(b"") + 1 if b"" in lines[:-1] else 0
    return base64.b64decode(b"".join(line for line in lines[first:] if not line.startswith(b"=")), validate=True)


def _short_directory(home: Path) -> Path:
    """A private directory with a short name, always the same for one home and one user."""
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    return Path("/tmp") / f"gpg-{os.getuid()}-{name}"  # noqa: S108 (TMPDIR may be as deep as the home)


def _shorten_agent_sockets(home: Path) -> None:
    """Where the home is too deep for a socket, leave redirections in it as libassuan reads them."""
    longest = max(len(os.fsencode(home / name)) for name in AGENT_SOCKETS)
    if longest <= SOCKET_PATH_LIMIT_BYTES:
        return
    directory = _short_directory(home)
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise OpenPGPError(f"{directory} is not a private directory of ours; remove it")
    for name in AGENT_SOCKETS:
        content = f"%Assuan%\nsocket={directory / name}\n".encode()
        redirection = home / name
        if not redirection.is_file() or redirection.read_bytes() != content:
            temporary = home / f".{name}.{os.getpid()}"
            temporary.write_bytes(content)
            temporary.replace(redirection)
