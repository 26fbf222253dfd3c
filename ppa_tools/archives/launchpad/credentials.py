"""Who asks Launchpad: OAuth tokens from the environment, a credentials file, the keyring, or a login in a browser.

File and keyring are launchpadlib's own: who has logged in with a tool that uses it is logged in here as well.
It is imported only where the keyring or a browser is needed. Tokens are in no log, message or argument list.

``LP_CREDENTIALS_FILE`` names a credentials file as launchpadlib writes it, which reads the variable as well; one
that is not there yet is written at the first login. For machines that have secrets as variables only,
``LP_CREDENTIALS`` may hold the text of such a file.
"""

from __future__ import annotations

import configparser
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from ppa_tools.archives.door import NoRights, Unreachable
from ppa_tools.archives.launchpad.instances import Instance

APPLICATION = "ppa-tools"
FILE_VARIABLE = "LP_CREDENTIALS_FILE"
TEXT_VARIABLE = "LP_CREDENTIALS"
FILE_SECTION = "1"
HOW_TO_SIGN_IN = (
    f"Run this once on a terminal to log in with a browser, or set {FILE_VARIABLE} to a credentials file of "
    f"launchpadlib, or {TEXT_VARIABLE} to the text of one."
)


@dataclass(frozen=True)
class Token:
    """An OAuth access token; ``origin`` says where it was found."""

    consumer: str = field(repr=False)
    key: str = field(repr=False)
    secret: str = field(repr=False)
    origin: str = ""

    def authorization(self) -> str:
        """The Authorization header of one request: OAuth 1.0 (RFC 5849) with a PLAINTEXT signature."""
        fields = {
            "oauth_consumer_key": self.consumer,
            "oauth_token": self.key,
            "oauth_signature_method": "PLAINTEXT",
            "oauth_signature": f"&{quote(self.secret, safe='')}",
            "oauth_timestamp": str(int(time.time())),
            "oauth_nonce": secrets.token_hex(8),
            "oauth_version": "1.0",
        }
        return "OAuth " + ", ".join(f'{name}="{quote(value, safe="")}"' for name, value in fields.items())


@dataclass(frozen=True)
class Login:
    """How a user may log in: what the environment says, and whether there is someone at a terminal to ask.

    ``use_keyring`` is for machines that have none, or whose keyring must not be asked.
    """

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    interactive: bool = False
    use_keyring: bool = True

    def at_hand(self) -> Token | None:
        """The token that the environment gives; None for none. Raises NoRights for one that cannot be read."""
        if self._file is not None and not (self.interactive and _is_empty(self._file)):
            return _from_file(self._file)
        if text := self.environment.get(TEXT_VARIABLE):
            return _from_text(text, f"${TEXT_VARIABLE}")
        return None

    def sign_in(self, instance: Instance) -> Token:
        """The token to change things with; asks the keyring, then the user. Raises NoRights, Unreachable."""
        if token := self.at_hand() or self.remembered(instance):
            return token
        if not self.interactive:
            raise NoRights(f"there are no credentials for Launchpad ({instance.name})", resolution=HOW_TO_SIGN_IN)
        return _from_browser(instance, self._file)

    @property
    def _file(self) -> Path | None:
        named = self.environment.get(FILE_VARIABLE)
        return Path(named).expanduser() if named else None

    def remembered(self, instance: Instance) -> Token | None:
        """The token in the keyring, where launchpadlib's ``login_with`` keeps it; None for none."""
        if not self.use_keyring or self._file is not None:
            return None
        try:
            from keyring.errors import KeyringError
            from launchpadlib.credentials import AuthorizeRequestTokenWithBrowser, KeyringCredentialStore

            engine = AuthorizeRequestTokenWithBrowser(instance.service_root, application_name=APPLICATION)
            found = KeyringCredentialStore().load(engine.unique_consumer_id)
        except (ImportError, KeyringError, RuntimeError, OSError):
            return None  # no keyring here, or it stays locked
        if found is None or found.access_token is None:
            return None
        return Token(found.consumer.key, found.access_token.key, found.access_token.secret, "the keyring")


def someone_is_there() -> bool:
    """Whether a person can be asked: stdin and stderr are a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _from_file(path: Path) -> Token:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        said = f"the credentials file {path}, named by ${FILE_VARIABLE}, cannot be read: {why}"
        raise NoRights(said, resolution=HOW_TO_SIGN_IN) from error
    return _from_text(text, str(path))


def _from_text(text: str, origin: str) -> Token:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
        found = parser[FILE_SECTION]
        return Token(found["consumer_key"], found["access_token"], found["access_secret"], origin)
    except (KeyError, configparser.Error):  # what they say may have the token in it
        pass
    raise NoRights(f"{origin} has no credentials as launchpadlib writes them", resolution=HOW_TO_SIGN_IN)


def _is_empty(path: Path) -> bool:
    try:
        return not path.stat().st_size
    except OSError as error:
        return isinstance(error, FileNotFoundError)


def _from_browser(instance: Instance, keep_in: Path | None) -> Token:
    """Have the user log in; what Launchpad gives is kept in a file where one is named, else in the keyring."""
    from httplib2 import HttpLib2Error
    from launchpadlib.credentials import (
        AuthorizeRequestTokenWithBrowser,
        Credentials,
        KeyringCredentialStore,
        TokenAuthorizationException,
        UnencryptedFileCredentialStore,
    )
    from lazr.restfulclient.errors import HTTPError

    engine = AuthorizeRequestTokenWithBrowser(instance.service_root, application_name=APPLICATION)
    engine.output = _tell  # its own prints to stdout, where the table or JSON goes
    wanted = Credentials(None)
    wanted.consumer = engine.consumer
    store = UnencryptedFileCredentialStore(keep_in, _not_kept) if keep_in else KeyringCredentialStore(_not_kept)
    try:
        found = engine(wanted, store)
    except TokenAuthorizationException as error:
        raise NoRights(
            f"Launchpad was not given leave: {type(error).__name__}", resolution=HOW_TO_SIGN_IN
        ) from error
    except (HttpLib2Error, HTTPError, OSError) as error:
        raise Unreachable(f"{instance.service_root} does not answer the login: {type(error).__name__}") from error
    if found is None:
        raise NoRights("Launchpad was not given leave", resolution=HOW_TO_SIGN_IN)
    return Token(found.consumer.key, found.access_token.key, found.access_token.secret, "the browser")


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _not_kept() -> None:
    _tell(f"The login is not kept, but used once: name a file for it, which may be a new one, by {FILE_VARIABLE}.")
