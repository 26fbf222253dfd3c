"""What people are told of a night, by real servers; and what they are spared."""

from __future__ import annotations

import email.policy
import hashlib
import hmac
import http.server
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from buildfarm.regress import telling
from buildfarm.regress.digest import Pages, digest_json, digest_of, digest_text
from buildfarm.regress.model import LeftOut, Subject
from buildfarm.regress.nights import Night
from buildfarm.regress.telling import DELIVERY_HEADER, SIGNATURE_HEADER, TELL_FOR_S, write_digest
from buildfarm.settings import MailSettings, RegressionSettings, Settings
from tests.regress.rounds import Farm

PAGES = Pages("https://farm.example.org/")
SENDER = "Farm <farm@example.org>"
TWENTY = tuple(f"package{number:02}" for number in range(20))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return Farm(tmp_path)


@pytest.fixture
def news(farm: Farm) -> Farm:
    """A farm with a night to tell of: hello fails anew."""
    farm.nights.mark_told(farm.round("hello", "good"))
    farm.round("hello", "good", fails={"hello": {}}, environment="e2")
    return farm


def tell_all(farm: Farm, ours: Settings, say: Callable[[str], Any], **those: Any) -> tuple[Night, ...]:
    return telling.tell_all(farm.nights, ours, say, **{"now": farm.now} | those)


# What is told


def test_a_digest_reads_well(farm: Farm) -> None:
    packages = ("libvirt", "php8.2", "tar", "zlib")
    farm.round(*packages)
    farm.round(*packages, fails={"libvirt": {"fingerprint": "g"}}, environment="e2")
    fails = {"php8.2": {}, "zlib": {"failing_tests": ()}}
    night = farm.round(*packages, fails=fails, environment="e3")
    mail = write_digest(digest_of(farm.nights, night, PAGES), SENDER, ("a@example.org", "b@example.org"))
    assert mail["Subject"] == "[rebuilds] nightly bookworm: 2 new failures, 1 fixed"
    assert mail.get_content() == (Path(__file__).parent / "data" / "digest.txt").read_text()
    assert max(len(line) for line in mail.as_bytes().splitlines()) <= 78


def test_one_cause_in_twenty_packages_is_one_paragraph(farm: Farm) -> None:
    farm.round(*TWENTY)
    night = farm.round(*TWENTY, fails={name: {} for name in TWENTY}, environment="e2")
    digest = digest_of(farm.nights, night)
    assert len(digest.causes) == 1
    text = digest_text(digest)
    assert text.count("undefined reference to foo_open") == 1
    assert text.count("The first error") == 1
    assert all(f" {name} bookworm-amd64 1-1" in text for name in TWENTY)


def test_failures_without_a_fingerprint_are_not_thrown_together(farm: Farm) -> None:
    farm.round("a", "b")
    night = farm.round("a", "b", fails={"a": {"fingerprint": ""}, "b": {"fingerprint": ""}}, environment="e2")
    assert len(digest_of(farm.nights, night).causes) == 2


def test_a_known_failures_label_is_carried_over_to_another_package(farm: Farm) -> None:
    farm.round("a", "b")
    farm.round("a", "b", fails={"a": {}}, environment="e2")
    farm.nights.set_label("f1", "linker of the day", "https://bugs.debian.org/1000001")
    night = farm.round("a", "b", fails={"a": {}, "b": {}}, environment="e3")
    digest = digest_of(farm.nights, night)
    assert [one.subject.package for one in digest.causes[0].entries] == ["b"]
    assert "Known: linker of the day https://bugs.debian.org/1000001" in digest_text(digest)
    assert digest_json(digest)["causes"][0]["label"]["url"] == "https://bugs.debian.org/1000001"


def test_another_cause_of_a_known_failure_is_news_once(farm: Farm) -> None:
    farm.round("a")
    farm.round("a", fails={"a": {}}, environment="e2")
    for number, due in enumerate((True, False)):
        night = farm.round("a", fails={"a": {"fingerprint": "g"}}, environment=f"x{number}")
        digest = digest_of(farm.nights, night)
        assert digest.is_due is due
        assert ("with another cause" in digest.subject) is due


def test_trouble_waits_and_flakiness_alone_tell_nobody(farm: Farm) -> None:
    farm.round("a", "b", "c", "d")
    night = farm.begin("a", "b", "c", "d")
    outcomes = {"a": "error", "b": "dependency-wait", "c": "pass"}
    while found := farm.due():
        build = found[0][2]
        flaky = "fail" if build.kind == "first" else "pass"
        farm.end(build, "w1", outcomes.get(build.job.package, flaky), "e2")  # type: ignore[arg-type]
    farm.nights.end_nights()
    digest = digest_of(farm.nights, night)
    assert [one.subject.package for one in digest.newly_flaky] == ["d"]
    assert not digest.is_due
    assert "d bookworm-amd64: fails 50%" in " ".join(digest_text(digest).split())


def test_what_was_rebuilt_and_is_left_out_now_is_news_once(farm: Farm) -> None:
    gone = LeftOut(Subject("gone", "bookworm", "amd64"), "bookworm has no source package of this name")
    never = replace(gone, subject=replace(gone.subject, package="never"))
    series = LeftOut(Subject("*", "trixie", "amd64"), "InRelease: BADSIG")
    farm.round("aaa", "gone")
    digest = digest_of(farm.nights, farm.round("aaa", left_out=(gone, never, series)), PAGES)
    assert digest.is_due
    assert digest.subject == "[rebuilds] nightly bookworm: 1 left out"
    news, _, rest = digest_text(digest).partition("All 1 rebuilds")
    assert "REBUILT BEFORE, AND LEFT OUT NOW\n\n  gone bookworm-amd64: bookworm has no" in news
    assert "never" not in news
    assert "* trixie-amd64: InRelease: BADSIG" in rest
    assert [one["package"] for one in digest_json(digest)["gone"]] == ["gone"]
    assert not digest_of(farm.nights, farm.round("aaa", left_out=(gone, never, series)), PAGES).is_due


def test_hostile_words_stay_in_their_place(farm: Farm) -> None:
    farm.round("a")
    evil = "\x1b[2Jevil\r\nBcc: c@example.org\r\n\r\n.\r\n\ud800\u202e" + "x" * 5000
    fails = {"a": {"cause": evil, "first_error": (evil,), "failing_tests": (evil,) * 50}}
    night = farm.round("a", fails=fails, environment="e2")
    mail = write_digest(digest_of(farm.nights, night, PAGES), SENDER, ("a@example.org",))
    read = BytesParser(policy=email.policy.default).parsebytes(mail.as_bytes())
    assert isinstance(read, EmailMessage)
    assert read["Bcc"] is None
    text = read.get_content()
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\n." not in text
    assert "and 42 more" in text


# By mail


@dataclass
class Inbox:
    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    refuse: str = ""

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        if address == self.refuse:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        self.recipients.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        message = BytesParser(policy=email.policy.default).parsebytes(envelope.content)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        return "250 OK"


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    one = Inbox(free_port())
    controller = Controller(one, hostname="127.0.0.1", port=one.port)
    controller.start()
    yield one
    controller.stop()


def settings(tmp_path: Path, mail_port: int = 0, **those: Any) -> Settings:
    return Settings(
        tmp_path,
        tmp_path,
        tmp_path,
        mail=MailSettings("127.0.0.1", mail_port, SENDER) if mail_port else MailSettings(),
        regression=RegressionSettings(**those),
    )


def test_news_are_mailed_once_to_all(news: Farm, inbox: Inbox, tmp_path: Path) -> None:
    ours = settings(tmp_path, inbox.port, mail=("a@example.org", "b@example.org"))
    said: list[str] = []
    assert len(tell_all(news, ours, said.append)) == 1
    assert tell_all(news, ours, said.append) == ()
    assert said == []
    (message,) = inbox.messages
    assert inbox.recipients == ["a@example.org", "b@example.org"]
    assert message["Subject"] == "[rebuilds] nightly bookworm: 1 new failure"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "http://127.0.0.1:8010/rebuilds/builds/" in message.get_content()


def test_nothing_new_is_no_mail(farm: Farm, inbox: Inbox, tmp_path: Path) -> None:
    farm.round("hello")
    ours = settings(tmp_path, inbox.port, mail=("a@example.org",))
    assert len(tell_all(farm, ours, pytest.fail)) == 1
    assert inbox.messages == []
    assert farm.nights.untold_nights() == ()


def test_a_night_that_is_not_to_be_told_is_not(farm: Farm, inbox: Inbox, tmp_path: Path) -> None:
    farm.round("hello", "good")
    farm.round("hello", "good", fails={"hello": {}}, environment="e2", tell=False)
    tell_all(farm, settings(tmp_path, inbox.port, mail=("a@example.org",)), pytest.fail)
    assert inbox.messages == []


def test_sent_again_after_a_kill_a_mail_has_the_same_id_and_a_set_is_one_thread(
    news: Farm, inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = settings(tmp_path, inbox.port, mail=("a@example.org",))
    with monkeypatch.context() as killed:
        killed.setattr(news.nights, "note_told", lambda *_: sys.exit())
        with pytest.raises(SystemExit):
            tell_all(news, ours, print)
    news.reopened()
    tell_all(news, ours, print)
    first, second = inbox.messages
    assert first["Message-ID"] == second["Message-ID"]
    assert first.as_bytes() == second.as_bytes()
    news.round("hello", "good", environment="e3")
    tell_all(news, ours, print)
    later = inbox.messages[-1]
    assert later["Message-ID"] != first["Message-ID"]
    assert later["References"] == first["References"]


def test_a_server_that_is_down_is_asked_again_later_and_given_up_after_days(news: Farm, tmp_path: Path) -> None:
    ours = settings(tmp_path, free_port(), mail=("a@example.org",))
    said: list[str] = []
    assert tell_all(news, ours, said.append) == ()
    assert "no news by mail: 127.0.0.1" in said[0]
    assert len(news.nights.untold_nights()) == 1
    assert len(tell_all(news, ours, said.append, now=news.now + TELL_FOR_S + 1)) == 1


def test_one_mailbox_that_is_gone_does_not_keep_news_from_the_others(
    news: Farm, inbox: Inbox, tmp_path: Path
) -> None:
    inbox.refuse = "gone@example.org"
    said: list[str] = []
    ours = settings(tmp_path, inbox.port, mail=("gone@example.org", "b@example.org"))
    assert len(tell_all(news, ours, said.append)) == 1
    assert len(inbox.messages) == 1
    assert "gone@example.org" in said[0]


# By webhook


@dataclass
class Hook:
    url: str
    answers: list[int]
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def hook() -> Iterator[Hook]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            one.requests.append((self.path, dict(self.headers), body))
            self.send_response(one.answers.pop(0) if one.answers else 204)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    one = Hook(f"http://127.0.0.1:{server.server_address[1]}/hook/s3cret", [])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield one
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_gets_signed_json_once(news: Farm, hook: Hook, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key\n")
    ours = settings(tmp_path, webhook=hook.url, webhook_secret_file="secret")
    tell_all(news, ours, pytest.fail)
    tell_all(news, ours, pytest.fail)
    ((path, headers, body),) = hook.requests
    assert path == "/hook/s3cret"
    assert headers["Content-Type"] == "application/json"
    assert headers[SIGNATURE_HEADER] == "sha256=" + hmac.new(b"key", body, hashlib.sha256).hexdigest()
    data = json.loads(body)
    assert data["id"] == headers[DELIVERY_HEADER]
    assert (data["schema"], data["set"], data["night"]) == (1, "nightly", 2)
    assert data["counts"] == {"new failure": 1, "still passing": 1}
    assert data["causes"][0]["rebuilds"][0]["package"] == "hello"
    assert data["text"].startswith("Night 2 of the set nightly")


def test_a_webhook_that_stumbles_is_asked_again_with_longer_pauses(news: Farm, hook: Hook, tmp_path: Path) -> None:
    hook.answers = [500, 429, 503]
    pauses: list[float] = []
    ours = settings(tmp_path, webhook=hook.url)
    assert len(tell_all(news, ours, pytest.fail, sleep=pauses.append)) == 1
    assert pauses == sorted(set(pauses))
    assert len(hook.requests) == 4
    assert len({(headers[DELIVERY_HEADER], body) for _, headers, body in hook.requests}) == 1
    assert SIGNATURE_HEADER not in hook.requests[0][1]


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 403, 404])
def test_redirects_and_refusals_end_it_and_no_secret_is_said(
    news: Farm, hook: Hook, tmp_path: Path, status: int
) -> None:
    hook.answers = [status]
    said: list[str] = []
    assert tell_all(news, settings(tmp_path, webhook=hook.url), said.append, sleep=pytest.fail) == ()
    assert len(hook.requests) == 1
    assert f"answers {status}" in said[0]
    assert "s3cret" not in said[0]


def test_a_webhook_out_of_reach_is_said_without_its_secret(news: Farm, tmp_path: Path) -> None:
    said: list[str] = []
    ours = settings(tmp_path, webhook=f"http://user:pass@127.0.0.1:{free_port()}/s3cret")
    assert tell_all(news, ours, said.append, sleep=lambda _: None) == ()
    assert "cannot be asked" in said[0]
    assert "s3cret" not in said[0]
    assert "pass" not in said[0]
    assert "s3cret" not in repr(ours)


def test_a_way_that_failed_is_tried_again_without_the_other(
    news: Farm, inbox: Inbox, hook: Hook, tmp_path: Path
) -> None:
    hook.answers = [404]
    ours = settings(tmp_path, inbox.port, mail=("a@example.org",), webhook=hook.url)
    assert tell_all(news, ours, lambda _: None) == ()
    assert len(tell_all(news, ours, pytest.fail)) == 1
    assert (len(inbox.messages), len(hook.requests)) == (1, 2)


@pytest.mark.parametrize("content", [None, b"", b"x" * 5000])
def test_a_secret_that_cannot_be_used_lets_nothing_go_unsigned(
    news: Farm, hook: Hook, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    said: list[str] = []
    ours = settings(tmp_path, webhook=hook.url, webhook_secret_file="secret")
    assert tell_all(news, ours, said.append) == ()
    assert hook.requests == []
    assert "webhook_secret_file" in said[0]
