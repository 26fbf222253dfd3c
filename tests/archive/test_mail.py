"""Mail to uploaders about what became of their uploads, by a real SMTP server."""

from __future__ import annotations

import email.policy
import ftplib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from ppa_tools.archives.desk import Notice, Sent
from ppa_tools.archives.mail import PER_HOUR, QUIET_S, SMTP, Mailer, write_mail
from tests.archive.conftest import PPA, SERIES, Signer, free_port, make_source
from tests.archive.test_uploads import BAD_SOURCES
from tests.archive.uploads import send, serving

SENDER = "archive@example.com"


@dataclass
class Inbox:
    """An SMTP server's messages, as they come."""

    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list)
    logins: list[bytes] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        message = BytesParser(policy=email.policy.default).parsebytes(envelope.content)
        with self.came:
            self.messages.append(message)
            self.came.notify_all()
        return "250 OK"

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _how: str, login: Any) -> AuthResult:
        self.logins.append(login.password)
        return AuthResult(success=login.password == b"secret")

    def wait_for(self, count: int) -> list[EmailMessage]:
        with self.came:
            assert self.came.wait_for(lambda: len(self.messages) >= count, timeout=60)
        return self.messages


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    one = Inbox(free_port())
    controller = Controller(
        one, hostname="127.0.0.1", port=one.port, authenticator=one.authenticate, auth_require_tls=False
    )
    controller.start()
    yield one
    controller.stop()


def settings(port: int, more: str = "") -> str:
    return f'[mail]\nhost = "127.0.0.1"\nport = {port}\nsender = "{SENDER}"\n{more}'


def test_uploaders_are_told_and_nobody_else(
    signer: Signer, stranger: Signer, inbox: Inbox, tmp_path: Path
) -> None:
    with serving(tmp_path / "home", signer, settings(inbox.port)) as uploads:
        changes = make_source(tmp_path / "s", signer, version="1.1-1")
        send(uploads, changes)
        send(uploads, changes)
        unsigned, unknown, lower = (
            make_source(tmp_path / name, one)
            for name, one in (("unsigned", signer), ("unknown", stranger), ("lower", signer))
        )
        BAD_SOURCES["unsigned"][0](unsigned, signer, stranger)
        for bad in (unsigned, unknown, lower, lower):
            with pytest.raises(ftplib.error_temp, match="451 refused"):
                send(uploads, bad)
        inbox.wait_for(2)
        assert len(uploads.refusals()) == 4
    accepted, refused = inbox.messages
    assert {message["To"] for message in inbox.messages} == {"uploader@example.com"}
    assert {message["From"] for message in inbox.messages} == {SENDER}
    assert accepted["Subject"] == f"accepted: hello_1.1-1_source.changes for {PPA} {SERIES}"
    assert refused["Subject"] == f"refused: hello_1.0-1_source.changes for {PPA} {SERIES}"
    assert "hello 1.0-1 is not newer than 1.1-1" in refused.get_content()
    assert signer.fingerprint in refused.get_content()


def test_a_mail_server_that_is_gone_stands_in_nobodys_way(signer: Signer, tmp_path: Path) -> None:
    with serving(tmp_path / "home", signer, settings(free_port())) as uploads:
        assert send(uploads, make_source(tmp_path / "s", signer)).startswith("226 accepted")
        uploads.wait_until(lambda: "cannot send mail to uploader@example.com" in uploads.log)


def test_the_password_comes_from_a_file(signer: Signer, inbox: Inbox, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    more = f'user = "farm"\npassword_file = "{tmp_path / "password"}"\n'
    with serving(tmp_path / "home", signer, settings(inbox.port, more)) as uploads:
        send(uploads, make_source(tmp_path / "s", signer))
        inbox.wait_for(1)
    assert inbox.logins == [b"secret"]


def notice(number: int, reason: str = "a reason", uid: str = "Uploader <uploader@example.com>") -> Notice:
    sent = Sent(PPA, SERIES, "hello_1.0-1_source.changes", str(number).encode(), "ftp")
    return Notice(uid, "F" * 40, sent, reason)


def test_what_is_sent_again_and_again_is_told_once_an_hour_and_all_of_it_30_times(inbox: Inbox) -> None:
    now = [0.0]
    mailer = Mailer(SMTP("127.0.0.1", inbox.port, SENDER), print, clock=lambda: now[0])
    for _ in range(3):
        mailer.tell(notice(0))
    for number in range(1, 2 * PER_HOUR):
        mailer.tell(notice(number))
    now[0] += QUIET_S
    mailer.tell(notice(0))
    mailer.close()
    assert len(inbox.messages) == PER_HOUR + 1


@pytest.mark.parametrize(
    "uid",
    ["Nobody", "", "X <no address>", "X <a@b@c>", "X <a@example.com\nBcc: c@example.com>", "Ä <ä@example.com>"],
)
def test_a_key_without_an_address_gets_no_mail(uid: str) -> None:
    said: list[str] = []
    mailer = Mailer(SMTP("127.0.0.1", 1, SENDER), said.append)
    mailer.tell(notice(0, uid=uid))
    mailer.close()
    assert len(said) == 1
    assert said[0].startswith("no mail about hello_1.0-1_source.changes: ")


def test_a_mail_says_what_became_of_the_upload() -> None:
    mail = write_mail(notice(0, reason="ünsound: <b>"), SENDER)
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content() == (
        f"Hello Uploader,\n\nhello_1.0-1_source.changes was uploaded to {PPA} {SERIES} by ftp, and refused.\n\n"
        f"ünsound: <b>\n\nIt was signed with your key {'F' * 40}.\n"
    )
