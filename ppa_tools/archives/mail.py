"""Mail by SMTP; that to uploaders about their uploads goes in a thread of its own, and is never in the way."""

from __future__ import annotations

import queue
import smtplib
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid, parseaddr

from ppa_tools.archives.desk import Notice

TIMEOUT_S = 30.0
WAITING_LIMIT = 200
QUIET_S = 3600.0
PER_HOUR = 30


@dataclass(frozen=True)
class SMTP:
    """The server that takes the mail, and who it is from; ``user`` is "" for one that wants no login."""

    host: str
    port: int
    sender: str
    starttls: bool = False
    user: str = ""
    password: str = field(default="", repr=False)


class Mailer:
    """A Notifier that sends mail. One upload is told once an hour, and one uploader no more than 30 times.

    Somebody who has a signed .changes can send it as often as they like; its uploader need not read of that.
    """

    def __init__(
        self, smtp: SMTP, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._smtp, self._say, self._clock = smtp, say, clock
        self._told: dict[tuple[str, str], float] = {}
        self._telling = threading.Lock()
        self._waiting: queue.Queue[EmailMessage | None] = queue.Queue(WAITING_LIMIT)
        self._thread = threading.Thread(target=self._run, name="mail", daemon=True)
        self._thread.start()

    def tell(self, notice: Notice) -> None:
        """Send a mail soon; when that cannot be, the log says so."""
        if not self._may_tell(notice):
            return
        try:
            self._waiting.put_nowait(write_mail(notice, self._smtp.sender))
        except ValueError as error:
            self._say(f"no mail about {notice.sent.name}: {error}")
        except queue.Full:
            self._say(f"no mail about {notice.sent.name}: {WAITING_LIMIT} mails are waiting already")

    def close(self, timeout_s: float = TIMEOUT_S) -> None:
        """Send what is waiting, for so long at most."""
        try:
            self._waiting.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    def _may_tell(self, notice: Notice) -> bool:
        key = (notice.fingerprint, f"{notice.sent.sha256} {bool(notice.reason)}")
        with self._telling:
            now = self._clock()
            self._told = {key: at for key, at in self._told.items() if at > now - QUIET_S}
            if key in self._told or sum(who == notice.fingerprint for who, _ in self._told) >= PER_HOUR:
                return False
            self._told[key] = now
            return True

    def _run(self) -> None:
        while (message := self._waiting.get()) is not None:
            try:
                send_mail(self._smtp, message)
            except (OSError, smtplib.SMTPException) as error:
                server = f"{self._smtp.host}:{self._smtp.port}"
                self._say(f"cannot send mail to {message['To']} by {server}: {error}")


def send_mail(smtp: SMTP, message: EmailMessage) -> Mapping[str, str]:
    """Give a mail to the server; returns why it took it not for some of those it is for.

    Raises OSError and smtplib.SMTPException when it took it for nobody.
    """
    with smtplib.SMTP(smtp.host, smtp.port, timeout=TIMEOUT_S) as server:
        if smtp.starttls:
            server.starttls(context=ssl.create_default_context())
        if smtp.user:
            server.login(smtp.user, smtp.password)
        refused = server.send_message(message)
    return {who: f"{code} {said.decode(errors='replace')}" for who, (code, said) in refused.items()}


def write_mail(notice: Notice, sender: str) -> EmailMessage:
    """The mail; raises ValueError when the key's user ID has no address in it."""
    name, address = parseaddr(notice.uid)
    if not address.isascii() or address.count("@") != 1 or any(c.isspace() for c in address):
        raise ValueError(f"the key {notice.fingerprint} has no mail address in {notice.uid!r}")
    sent = notice.sent
    verdict = "refused" if notice.reason else "accepted"
    where = f"{sent.address} {sent.series}".strip()
    message = EmailMessage()
    message["From"], message["To"] = sender, address
    message["Subject"] = f"{verdict}: {sent.name} for {where}"
    message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain=sender.rpartition("@")[2] or None)
    message["Auto-Submitted"] = "auto-generated"
    lines = [f"Hello {name or address},", "", f"{sent.name} was uploaded to {where} by {sent.via}, and {verdict}."]
    lines += ["", notice.reason] if notice.reason else []
    lines += ["", f"It was signed with your key {notice.fingerprint}.", ""]
    message.set_content("\n".join(lines))
    return message
