"""Telling people of a night's news, by mail and by webhook; each once as far as that can be had.

A way is noted after the news went out by it. A kill in between lets them go out again, by the same name: the mail
with the same Message-ID, the webhook with the same ``X-Buildfarm-Delivery``. So nobody misses news, and who gets
them twice can tell. What cannot be told now is tried again with the next call, for three days.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import urlsplit

from buildfarm.errors import FarmError, FarmTrouble, UsageError
from buildfarm.mail import smtp_of
from buildfarm.regress.digest import Digest, Pages, digest_json, digest_of, digest_text
from buildfarm.regress.nights import Nights
from buildfarm.regress.records import Night
from buildfarm.settings import Settings
from ppa_tools.archives.mail import send_mail

SIGNATURE_HEADER = "X-Buildfarm-Signature-256"
DELIVERY_HEADER = "X-Buildfarm-Delivery"
CONNECT_S, ANSWER_S = 10.0, 30.0
RETRY_DELAYS_S = (1.0, 5.0, 25.0)
TRY_AGAIN = frozenset({408, 425, 429})
TELL_FOR_S = 3 * 86400.0
SECRET_LIMIT_BYTES = 4096


def tell_all(
    nights: Nights,
    settings: Settings,
    say: Callable[[str], None],
    *,
    now: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Night, ...]:
    """Tell the news of all nights that have ended and were not told yet; returns those of which nothing is left.

    It waits for servers: run it in a thread. ``say`` gets a line for all that went wrong; nothing is raised.
    """
    now = time.time() if now is None else now
    done = []
    for night in nights.untold_nights():
        if tell(nights, night, settings, say, sleep=sleep):
            nights.mark_told(night)
        elif night.ended_at is not None and night.ended_at < now - TELL_FOR_S:
            say(f"night {night.number} of {night.set}: its news could not be told for three days and are let go")
            nights.mark_told(night)
        else:
            continue
        done.append(night)
    return tuple(done)


def tell(
    nights: Nights,
    night: Night,
    settings: Settings,
    say: Callable[[str], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Tell a night's news by each way that is set and not noted yet; returns whether nothing is left to tell."""
    if not night.settings.tell:
        return True
    digest = digest_of(nights, night, Pages(settings.web_url))
    if not digest.is_due:
        return True
    ways: dict[str, Callable[[], None]] = {}
    if settings.regression.mail and settings.mail.host:
        ways["mail"] = lambda: mail(digest, settings, say)
    if settings.regression.webhook:
        ways["webhook"] = lambda: post(digest, settings, sleep)
    left = False
    for way, go in ways.items():
        if way in night.told_by:
            continue
        try:
            go()
        except FarmError as error:
            say(f"night {night.number} of {night.set}: no news by {way}: {error.brief}")
            left = True
        else:
            nights.note_told(night, way)
    return not left


# Mail


def mail(digest: Digest, settings: Settings, say: Callable[[str], None]) -> None:
    """Send a digest to the recipients; raises FarmTrouble when none is taken, UsageError for settings."""
    smtp = smtp_of(settings)
    assert smtp is not None
    try:
        refused = send_mail(smtp, write_digest(digest, smtp.sender, settings.regression.mail))
    except (OSError, smtplib.SMTPException) as error:
        raise FarmTrouble(f"{smtp.host}:{smtp.port} does not take it: {error}") from error
    for who, why in refused.items():
        say(f"night {digest.night.number}: {smtp.host}:{smtp.port} does not take mail to {who}: {why}")


def write_digest(digest: Digest, sender: str, recipients: tuple[str, ...]) -> EmailMessage:
    """The mail. Its Message-ID is the same whenever it is written; the mails of a set are one thread."""
    domain = sender.rpartition("@")[2].strip("<> ") or "localhost"
    thread = f"<{digest.id.rsplit('.', 2)[0]}@{domain}>"
    message = EmailMessage()
    message["From"], message["To"] = sender, ", ".join(recipients)
    message["Subject"] = digest.subject
    ended_at = digest.night.ended_at if digest.night.ended_at is not None else digest.night.started_at
    message["Date"] = format_datetime(datetime.fromtimestamp(int(ended_at), UTC))
    message["Message-ID"] = f"<{digest.id}@{domain}>"
    message["In-Reply-To"] = message["References"] = thread
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(digest_text(digest), cte="quoted-printable")
    return message


# Webhook


def post(digest: Digest, settings: Settings, sleep: Callable[[float], None] = time.sleep) -> None:
    """Send a digest to the webhook; raises FarmTrouble when it does not take it, UsageError for settings.

    Only an answer of 200 to 299 takes it, redirects are not followed. What may pass is tried again, four times in
    all. The errors name the server alone: the rest of a webhook's URL is often its password.
    """
    import requests

    url = settings.regression.webhook
    server = _server_of(url)
    body = json.dumps(digest_json(digest)).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "buildfarm", DELIVERY_HEADER: digest.id}
    secret = _secret(settings)
    if secret:
        headers[SIGNATURE_HEADER] = sign(body, secret)
    for delay_s in (*RETRY_DELAYS_S, None):
        try:
            with requests.post(
                url, body, headers=headers, timeout=(CONNECT_S, ANSWER_S), allow_redirects=False, stream=True
            ) as answer:
                status = answer.status_code
            if 200 <= status < 300:
                return
            trouble = f"{server} answers {status}"
            if 300 <= status < 400:
                trouble += ", which leads elsewhere and is not followed"
            passing = status >= 500 or status in TRY_AGAIN
        except requests.RequestException as error:
            trouble, passing = f"{server} cannot be asked ({type(error).__name__})", True
        if not passing or delay_s is None:
            raise FarmTrouble(trouble) from None
        sleep(delay_s)


def sign(body: bytes, secret: bytes) -> str:
    """The signature of a body, ``sha256=`` and hexadecimal digits, by HMAC."""
    return f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"


def _server_of(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise UsageError("the webhook's URL does not begin with http:// or https://")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _secret(settings: Settings) -> bytes:
    name = settings.regression.webhook_secret_file
    if not name:
        return b""
    try:
        with (settings.root / name).open("rb") as file:
            secret = file.read(SECRET_LIMIT_BYTES + 1).strip()
    except OSError as error:
        raise UsageError(f"regression.webhook_secret_file = {name!r} cannot be read: {error.strerror}") from error
    if not secret or len(secret) > SECRET_LIMIT_BYTES:
        raise UsageError(f"regression.webhook_secret_file = {name!r} is empty or too large")
    return secret
