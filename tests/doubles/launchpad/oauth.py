"""Who asks: OAuth 1.0a with PLAINTEXT signatures, and the login that gives a client its token."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from urllib.parse import unquote

from tests.doubles.launchpad.messages import HTML, JSON, TEXT, Answer, Request, Stop

PERMISSIONS = {
    "UNAUTHORIZED": "No Access",
    "READ_PUBLIC": "Read Non-Private Data",
    "WRITE_PUBLIC": "Change Non-Private Data",
    "READ_PRIVATE": "Read Anything",
    "WRITE_PRIVATE": "Change Anything",
    "DESKTOP_INTEGRATION": "Desktop Integration",
}
CHALLENGE = 'OAuth realm="https://api.launchpad.net"'


@dataclass
class Token:
    """An access token, or a request token that was not looked at yet (no ``person``)."""

    key: str
    secret: str
    consumer: str
    person: str = ""
    permission: str = ""
    expired: bool = False
    is_request: bool = True


class OAuth:
    """All tokens, and the three pages of the login."""

    def __init__(self) -> None:
        self.tokens: dict[str, Token] = {}

    def issue(
        self, person: str, permission: str = "WRITE_PRIVATE", consumer: str = "System-wide: Ubuntu (tests)"
    ) -> Token:
        """An access token without the ceremony."""
        token = Token(_random(20), _random(80), consumer, person, permission, is_request=False)
        self.tokens[token.key] = token
        return token

    def recognise(self, request: Request) -> None:
        """Set who asks, and whether he may change things; anonymous is "". Raises Stop with 401."""
        header = request.headers.get("Authorization", "")
        if not header.startswith("OAuth "):
            return
        given = parse_header(header)
        key, consumer = given.get("oauth_token", ""), given.get("oauth_consumer_key", "")
        if not key:
            if not consumer:
                raise _refused("No consumer key specified.")
            return
        token = self.tokens.get(key)
        if token is None or token.is_request or token.consumer != consumer:
            if not any(one.consumer == consumer for one in self.tokens.values()):
                raise _refused(f"Unknown consumer ({consumer}).")
            raise _refused(f"Unknown access token ({key}).")
        if token.permission == "UNAUTHORIZED":
            raise _refused(f"Unauthorized token ({key}).")
        if token.expired:
            raise _refused(f"Expired token ({key}).")
        if given.get("oauth_signature_method", "PLAINTEXT") != "PLAINTEXT":
            raise _refused("Unknown signature method.")
        if given.get("oauth_signature") != f"&{token.secret}":
            raise _refused("Invalid signature.")
        request.who = token.person
        request.may_change = token.permission in ("WRITE_PUBLIC", "WRITE_PRIVATE", "DESKTOP_INTEGRATION")

    # The login

    def page(self, request: Request) -> Answer:
        """``+request-token``, ``+authorize-token`` and ``+access-token``."""
        form = {name: values[0] for name, values in {**request.query, **request.form}.items()}
        match request.path:
            case "+request-token":
                return self._request_token(request, form)
            case "+access-token":
                return self._access_token(form)
        return self._authorize(request, form)

    def _request_token(self, request: Request, form: dict[str, str]) -> Answer:
        consumer = form.get("oauth_consumer_key", "")
        if not consumer or form.get("oauth_signature") != "&":
            return Answer(401, b"", TEXT, {"WWW-Authenticate": CHALLENGE})
        token = Token(_random(20), _random(80), consumer)
        self.tokens[token.key] = token
        if request.headers.get("Accept") == JSON:
            levels = [
                {"value": name, "title": title}
                for name, title in PERMISSIONS.items()
                if name != "DESKTOP_INTEGRATION"
            ]
            facts = {
                "oauth_token": token.key,
                "oauth_token_secret": token.secret,
                "oauth_token_consumer": consumer,
                "access_levels": levels,
            }
            return Answer(body=json.dumps(facts).encode())
        return Answer(body=f"oauth_token={token.key}&oauth_token_secret={token.secret}".encode(), type=TEXT)

    def _access_token(self, form: dict[str, str]) -> Answer:
        token = self.tokens.get(form.get("oauth_token", ""))
        if token is None or not token.is_request or token.consumer != form.get("oauth_consumer_key"):
            return Answer(401, b"No request token specified.", TEXT)
        if form.get("oauth_signature") != f"&{token.secret}":
            return Answer(401, b"Invalid OAuth signature.", TEXT)
        if not token.permission:
            return Answer(401, b"Request token has not yet been reviewed. Try again later.", TEXT)
        if token.permission == "UNAUTHORIZED":
            return Answer(403, b"End-user refused to authorize request token.", TEXT)
        del self.tokens[token.key]
        made = self.issue(token.person, token.permission, token.consumer)
        text = f"oauth_token={made.key}&oauth_token_secret={made.secret}&lp.context=None"
        return Answer(body=text.encode(), type=TEXT)

    def _authorize(self, request: Request, form: dict[str, str]) -> Answer:
        """The page that a person sees; posting ``person`` and ``permission`` answers for him."""
        token = self.tokens.get(form.get("oauth_token", ""))
        if token is None or not token.is_request:
            return Answer(404, b"<p>Unable to identify application.", HTML)
        if request.method == "POST":
            self.authorize(token.key, form.get("person", ""), form.get("permission", "WRITE_PRIVATE"))
            return Answer(
                body=f"<p>{_escaped(token.consumer)} is allowed. Back to your terminal.".encode(), type=HTML
            )
        buttons = "".join(
            f"<button name=permission value={name}>{title}</button> " for name, title in PERMISSIONS.items()
        )
        page = (
            "<!doctype html><title>Authorize application</title><h1>Authorize application to access Launchpad "
            f"on your behalf</h1><p>{_escaped(token.consumer)}</p>"
            f"<form method=post action=/+authorize-token><input type=hidden name=oauth_token value={token.key}>"
            f"<p>I am <input name=person value=demo></p>{buttons}</form>"
        )
        return Answer(body=page.encode(), type=HTML)

    def authorize(self, key: str, person: str, permission: str = "WRITE_PRIVATE") -> None:
        """What a person does on the authorization page."""
        token = self.tokens[key]
        token.person, token.permission = person, permission


def parse_header(header: str) -> dict[str, str]:
    """The parameters of an ``Authorization: OAuth ...`` header."""
    given = {}
    for part in header.removeprefix("OAuth ").split(","):
        name, _, value = part.strip().partition("=")
        given[name] = unquote(value.strip('"'))
    return given


def _refused(why: str) -> Stop:
    return Stop(401, why, **{"WWW-Authenticate": CHALLENGE})


def _random(length: int) -> str:
    return secrets.token_hex(length)[:length]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
