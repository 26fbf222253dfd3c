"""Credentials are found where launchpadlib keeps them, go to Launchpad alone, and are told to nobody."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import keyring
import keyring.backends.fail
import pytest
from keyring.backend import KeyringBackend

from ppa_tools.address import parse_address
from ppa_tools.archives.door import DoorError, NoRights
from ppa_tools.archives.launchpad import LaunchpadArchive, LaunchpadClient, open_launchpad
from ppa_tools.archives.launchpad.credentials import Login
from ppa_tools.archives.launchpad.instances import find_instance
from tests.doubles.launchpad import LaunchpadDouble
from tests.ppa_tools.launchpad.conftest import QUICK, Open

PPA = parse_address("ppa:me/secret")


class Drawer(KeyringBackend):
    """A keyring that forgets."""

    priority = 1.0  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password


@pytest.fixture
def drawer() -> Iterator[Drawer]:
    before = keyring.get_keyring()
    drawer = Drawer()
    keyring.set_keyring(drawer)
    yield drawer
    keyring.set_keyring(before)


@pytest.fixture
def secret(double: LaunchpadDouble) -> LaunchpadDouble:
    """A Launchpad with a private PPA, which only those who show who they are may read."""
    double.add_ppa("me/secret", private=True)
    double.add_package("me/secret", "hello", "1")
    return double


def read(double: LaunchpadDouble, login: Login) -> list[str]:
    client = LaunchpadClient(find_instance(double.url), login, QUICK)
    return [one.source for one in LaunchpadArchive(client, PPA).publications()]


def test_a_credentials_file_and_its_text_do(secret: LaunchpadDouble, tmp_path: Path) -> None:
    token = secret.token("me")
    path = token.save(tmp_path / "credentials")

    assert read(secret, Login({"LP_CREDENTIALS_FILE": str(path)})) == ["hello"]
    assert read(secret, Login({"LP_CREDENTIALS": token.text})) == ["hello"]
    assert {one["who"] for one in secret.requests()} == {"me"}


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("LP_CREDENTIALS_FILE", "/nowhere/credentials", "/nowhere/credentials.*No such file"),
        ("LP_CREDENTIALS", "hunter2", r"\$LP_CREDENTIALS has no credentials"),
        ("LP_CREDENTIALS", "[1]\nconsumer_key = hunter2\n", r"\$LP_CREDENTIALS has no credentials"),
    ],
)
def test_damaged_credentials_are_told_without_what_is_in_them(
    double: LaunchpadDouble, variable: str, value: str, words: str
) -> None:
    with pytest.raises(NoRights, match=words) as caught:
        LaunchpadClient(find_instance(double.url), Login({variable: value}))
    assert "hunter2" not in f"{caught.value}{caught.value.__context__!r}"


def test_a_public_ppa_is_read_as_nobody_without_a_look_into_the_keyring(
    double: LaunchpadDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    double.add_ppa("me/secret")
    monkeypatch.setattr(keyring, "get_password", lambda *_: pytest.fail("the keyring was asked"))

    assert read(double, Login()) == []
    assert {one["who"] for one in double.requests()} == {""}


def log_in(double: LaunchpadDouble, client: LaunchpadClient, capfd: pytest.CaptureFixture[str]) -> str:
    """Log in as ``me`` on the page that opens; returns what the user was told."""
    signing_in = threading.Thread(target=client.sign_in)
    signing_in.start()
    told = ""
    while not (found := re.search(r"oauth_token=(\w+)", told)):
        out, err = capfd.readouterr()
        assert out == "", "what is for people goes to stderr"
        told += err
    double.authorize(found[1], "me")
    signing_in.join()
    return told + capfd.readouterr().err


def test_a_login_in_the_browser_is_kept_in_the_keyring(
    secret: LaunchpadDouble, drawer: Drawer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER", "true %s")
    client = LaunchpadClient(find_instance(secret.url), Login(interactive=True), QUICK)
    log_in(secret, client, capfd)

    assert [one.source for one in LaunchpadArchive(client, PPA).publications()] == ["hello"]
    assert len(drawer.kept) == 1
    assert read(secret, Login()) == ["hello"], "found again in the keyring, by who may not be asked"


def test_a_login_in_the_browser_is_kept_in_the_file_that_is_named(
    secret: LaunchpadDouble,
    drawer: Drawer,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BROWSER", "true %s")
    path = tmp_path / "credentials"
    environment = {"LP_CREDENTIALS_FILE": str(path)}
    log_in(secret, LaunchpadClient(find_instance(secret.url), Login(environment, interactive=True)), capfd)

    assert path.stat().st_mode & 0o777 == 0o600
    assert drawer.kept == {}
    assert read(secret, Login(environment)) == ["hello"]


def test_without_a_keyring_a_login_is_used_once(
    secret: LaunchpadDouble, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER", "true %s")
    before = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.fail.Keyring())
    try:
        client = LaunchpadClient(find_instance(secret.url), Login(interactive=True), QUICK)
        told = log_in(secret, client, capfd)
    finally:
        keyring.set_keyring(before)

    assert "The login is not kept" in told
    assert [one.source for one in LaunchpadArchive(client, PPA).publications()] == ["hello"]


def test_without_credentials_or_a_terminal_it_is_told_what_to_do(secret: LaunchpadDouble, drawer: Drawer) -> None:
    with pytest.raises(NoRights, match="lets nobody read ppa:me/secret without credentials") as caught:
        read(secret, Login())
    assert "LP_CREDENTIALS_FILE" in caught.value.resolution

    client = LaunchpadClient(find_instance(secret.url), Login(), QUICK)
    with pytest.raises(NoRights, match="there are no credentials for Launchpad"):
        client.sign_in()


def test_credentials_that_have_run_out_are_told_by_where_they_are(secret: LaunchpadDouble, tmp_path: Path) -> None:
    token = secret.token("me")
    path = token.save(tmp_path / "credentials")
    secret.expire_token(token.key)

    with pytest.raises(NoRights, match=rf"does not know the credentials from {path}: Expired token") as caught:
        read(secret, Login({"LP_CREDENTIALS_FILE": str(path)}))
    assert token.secret not in str(caught.value)


def test_a_private_ppa_of_others_is_not_for_everybody(secret: LaunchpadDouble) -> None:
    with pytest.raises(DoorError, match="ppa:me/secret"):
        read(secret, Login({"LP_CREDENTIALS": secret.token("stranger").text}))


def test_the_token_is_in_no_log_and_no_message(secret: LaunchpadDouble, caplog: pytest.LogCaptureFixture) -> None:
    token = secret.token("me")
    login = Login({"LP_CREDENTIALS": token.text})
    secret.fault("cut-before")

    with caplog.at_level(logging.DEBUG):
        assert read(secret, login) == ["hello"]

    assert caplog.records, "urllib3 tells of requests"
    assert token.secret not in caplog.text
    assert token.key not in caplog.text
    assert token.secret not in f"{login!r}{login.at_hand()!r}"


def test_the_token_goes_to_the_web_service_alone(double: LaunchpadDouble, opened: Open) -> None:
    double.add_ppa("me/ppa")
    double.add_packages({"ppa": "me/ppa", "name": f"pkg{n}", "version": "1"} for n in range(10))
    ppa = opened("me/ppa")

    ppa.source_files(ppa.publications())

    who = {one["path"].partition("/")[0]: one["who"] for one in double.requests()}
    assert who == {"devel": "me", "ppa": ""}


def test_credentials_are_not_sent_where_others_could_read_them() -> None:
    login = Login({"LP_CREDENTIALS": "[1]\nconsumer_key = c\naccess_token = t\naccess_secret = s\n"})
    client = LaunchpadClient(find_instance("http://launchpad.example/"), login)

    assert client.session.token is None
    with pytest.raises(NoRights, match=r"not sent to http://launchpad\.example"):
        client.sign_in()


def test_ppas_of_one_launchpad_share_what_they_know(double: LaunchpadDouble) -> None:
    double.add_ppa("me/one")
    double.add_ppa("me/two")
    options = SimpleNamespace(instance=double.url, environment={"LP_CREDENTIALS": double.token("me").text})
    one, two = (open_launchpad(parse_address(f"ppa:me/{name}"), options) for name in ("one", "two"))

    assert one.side(with_past=True).series == two.side(with_past=True).series
    one.close()
    assert two.publications() == ()

    assert [it["path"] for it in double.requests()].count("devel/ubuntu/series") == 1


@pytest.mark.parametrize("text", ["produktion", "ftp://launchpad.net", "https://", "https://me:pw@launchpad.net"])
def test_what_is_no_launchpad_is_told_with_what_would_be(text: str) -> None:
    with pytest.raises(DoorError, match="production, staging, qastaging or a URL"):
        open_launchpad(PPA, SimpleNamespace(instance=text, environment={}))


@pytest.mark.parametrize(
    "text", ["https://api.launchpad.test", "https://api.launchpad.test/", "https://api.launchpad.test/devel/"]
)
def test_a_launchpad_is_named_with_or_without_its_version(text: str) -> None:
    assert find_instance(text).api == "https://api.launchpad.test/devel"
