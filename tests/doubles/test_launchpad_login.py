"""Who asks: the login as launchpadlib does it, tokens, and what strangers are told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import requests
from launchpadlib.credentials import Credentials
from launchpadlib.launchpad import Launchpad
from lazr.restfulclient.errors import HTTPError, Unauthorized

from tests.doubles.conftest import LogIn
from tests.doubles.launchpad import LaunchpadDouble
from tests.doubles.launchpad.client import ROOT


def test_a_credentials_file_logs_in_with_two_requests_when_cold(double: LaunchpadDouble, log_in: LogIn) -> None:
    launchpad = log_in("me")
    assert [one["path"] for one in double.requests()] == ["devel/", "devel/"]
    assert launchpad.me.name == "me"


def test_the_login_waits_for_the_person_and_then_gives_a_token(double: LaunchpadDouble, tmp_path: Path) -> None:
    credentials = Credentials("a tool")
    page = credentials.get_request_token(web_root=f"{double.url}/")
    with pytest.raises(HTTPError) as told:
        credentials.exchange_request_token_for_access_token(web_root=f"{double.url}/")
    assert told.value.response.status == 401
    assert "a tool" in requests.get(page).text
    requests.post(page, data={"person": "me", "permission": "WRITE_PRIVATE"}).raise_for_status()
    credentials.exchange_request_token_for_access_token(web_root=f"{double.url}/")
    launchpad = Launchpad(
        credentials, None, None, service_root=f"{double.url}/", version="devel", cache=str(tmp_path)
    )
    assert launchpad.me.name == "me"


def test_anybody_reads_what_is_public_and_is_nobody(double: LaunchpadDouble, tmp_path: Path) -> None:
    launchpad = Launchpad.login_anonymously("tests", f"{double.url}/", str(tmp_path), version="devel")
    assert launchpad.archives.getByReference(reference="~me/ubuntu/trunk").name == "trunk"
    with pytest.raises(Unauthorized):
        _ = launchpad.me.name


@pytest.mark.parametrize("key", ["nobody's", ""])
def test_a_token_that_is_unknown_or_wrong_is_refused(double: LaunchpadDouble, key: str) -> None:
    header = double.token("me").header
    wrong = header.replace("%26", "%26x") if not key else header.replace('oauth_token="', f'oauth_token="{key}')
    answer = requests.get(f"{double.api}/ubuntu", headers={"Authorization": wrong})
    assert answer.status_code == 401
    assert answer.text.startswith(("Unknown access token", "Invalid signature"))


def test_an_expired_token_is_told_so(double: LaunchpadDouble) -> None:
    token = double.token("me")
    double.expire_token(token.key)
    answer = requests.get(f"{double.api}/ubuntu", headers={"Authorization": token.header})
    assert (answer.status_code, answer.text) == (401, f"Expired token ({token.key}).")


def test_a_private_ppa_shows_its_name_and_nothing_else_to_strangers(double: LaunchpadDouble) -> None:
    double.add_ppa("me/secret", private=True, subscribers=["friend"])
    number = double.add_package("me/secret", "hello", "1")
    ppa = f"{double.api}/~me/+archive/ubuntu/secret"

    def get(person: str, url: str) -> requests.Response:
        headers = {"Authorization": double.token(person).header} if person else {}
        return requests.get(url, headers=headers)

    assert get("friend", f"{ppa}?ws.op=getPublishedSources").json()["total_size"] == 1
    for stranger in ("you", ""):
        assert get(stranger, ppa).json()["signing_key_fingerprint"] == "tag:launchpad.net:2008:redacted"
        assert get(stranger, f"{ppa}?ws.op=getPublishedSources").status_code == 401
        assert get(stranger, f"{ppa}/+sourcepub/{number}").status_code == 401
        by_reference = f"{double.api}/archives?ws.op=getByReference&reference=~me/ubuntu/secret"
        assert get(stranger, by_reference).json() is None
        assert get(stranger, f"{double.api}/~me/ppas").json()["total_size"] == 2


def test_a_new_ppa_belongs_to_who_makes_it(double: LaunchpadDouble, log_in: LogIn) -> None:
    made = log_in("me").people("me").createPPA(name="fresh", displayname="Fresh")
    assert (made.reference, made.displayname, made.private) == ("~me/ubuntu/fresh", "Fresh", False)
    with pytest.raises(Unauthorized):
        log_in("you").people("me").createPPA(name="other")


def test_the_demo_tells_how_it_is_used_and_answers() -> None:
    command = [sys.executable, "-u", "-m", "tests.doubles.launchpad", "--demo"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        url = first.split(" at ")[1].split(";")[0]
        found = requests.get(f"{url}/devel/~demo/+archive/ubuntu/trunk?ws.op=getPublishedSources").json()
        process.terminate()
    assert "hello 2.12-1 in noble" in [one["display_name"] for one in found["entries"]]
