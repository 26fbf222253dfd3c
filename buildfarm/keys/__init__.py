"""The upload key: made once, read by nobody but the signing worker, and how signing is kept to one at a time."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator

from buildfarm.errors import FarmTrouble
from buildfarm.settings import Settings
from ppa_tools.openpgp import (
    Algorithm,
    Key,
    OpenPGPError,
    create_key,
    export_public,
    secret_keys,
    stop_agent,
)

LOCK_FILE = "buildfarm.lock"


def algorithm_for(archive: str) -> Algorithm:
    """What an archive's upload key is: RSA for Launchpad, as its own documentation has it, else Ed25519."""
    return "rsa4096" if archive.startswith("ppa:") else "ed25519"


def ensure_upload_key(settings: Settings, algorithm: Algorithm = "ed25519") -> Key:
    """The upload key of that kind, made first where there is none; two at once make one. Raises FarmTrouble."""
    settings.keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _keyring_in_use(settings):
        key = _newest_key(settings, algorithm)
        if key is None or key.algorithm != algorithm:
            key = create_key(settings.keys, f"{settings.farm.name} <{settings.farm.email}>", algorithm)
        return key


def public_key(settings: Settings, algorithm: Algorithm = "ed25519") -> bytes:
    """The upload key's public part, armored: for the archives that shall accept its uploads."""
    with signing_key(settings, algorithm) as key:
        return export_public(settings.keys, key.fingerprint)


@contextlib.contextmanager
def signing_key(settings: Settings, algorithm: Algorithm = "ed25519") -> Iterator[Key]:
    """The upload key, to sign with in ``settings.keys`` while nobody else does; raises FarmTrouble without one.

    Where no key is of the wanted kind (somebody brought their own), it is the newest of any.
    """
    with _keyring_in_use(settings):
        key = _newest_key(settings, algorithm)
        if key is None:
            raise FarmTrouble(
                "there is no upload key to sign with",
                where=str(settings.keys),
                resolution="`buildfarm up` makes one where there is none, or where all have expired.",
            )
        yield key


@contextlib.contextmanager
def _keyring_in_use(settings: Settings) -> Iterator[None]:
    """Hold the keyring for oneself; no gpg-agent is left behind.

    A stage ends every process below it: an agent that another stage had come to use would end with it.
    """
    try:
        lock = (settings.keys / LOCK_FILE).open("ab")
    except OSError as error:
        raise FarmTrouble(
            f"the upload key's directory cannot be used: {error.strerror}",
            where=str(settings.keys),
            resolution="`buildfarm up` makes it, for the user that runs the signing worker.",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        except OpenPGPError as error:
            raise FarmTrouble(f"GnuPG could not use the upload key: {error}", where=str(settings.keys)) from error
        finally:
            stop_agent(settings.keys)


def _newest_key(settings: Settings, algorithm: Algorithm) -> Key | None:
    now = time.time()
    usable = [key for key in secret_keys(settings.keys) if key.expires_at is None or key.expires_at > now]
    fitting = [key for key in usable if key.algorithm == algorithm] or usable
    return fitting[-1] if fitting else None
