"""Change hooks: a right call makes the farm look, any other is refused with words and harms nothing."""

import hashlib
import hmac
import json

import pytest

SECRET = b"a secret of the hook"


def location(shared):
    return str(shared.repositories["tiny"].location)


def signature(body, secret=SECRET):
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def github(shared):
    body = json.dumps(
        {"ref": "refs/heads/main", "repository": {"clone_url": location(shared), "html_url": "https://x.test/a"}}
    ).encode()
    return "github", body, {"X-GitHub-Event": "push", "X-Hub-Signature-256": signature(body)}


def gitlab(shared):
    body = json.dumps({"object_kind": "push", "project": {"git_http_url": location(shared)}}).encode()
    return "gitlab", body, {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": SECRET.decode()}


def bitbucket(shared):
    body = json.dumps({"repository": {"links": {"html": {"href": location(shared)}}}}).encode()
    return "bitbucketcloud", body, {"X-Event-Key": "repo:push", "X-Hub-Signature": signature(body)}


PROOFS = ("X-Hub-Signature-256", "X-Gitlab-Token", "X-Hub-Signature")


def send(web, dialect, body, headers):
    return web.post(f"change_hook/{dialect}", data=body, headers={"Content-Type": "application/json"} | headers)


@pytest.mark.parametrize("forge", [github, gitlab, bitbucket])
def test_a_push_told_by_a_forge_that_knows_the_secret_is_looked_at(shared, anonymous, forge):
    revision = shared.repositories["tiny"].commit({"debian/changelog": f"none: {forge.__name__}\n"})
    assert send(anonymous, *forge(shared)).ok
    shared.await_run("tiny", revision, 60, ended=False)


@pytest.mark.parametrize("forge", [github, gitlab, bitbucket])
@pytest.mark.parametrize("proof", ["", "sha256=00", signature(b"", b"another secret"), "ä"])
def test_a_call_without_the_secret_is_refused(shared, anonymous, forge, proof):
    dialect, body, headers = forge(shared)
    wrong = {key: proof.encode() if key in PROOFS else value for key, value in headers.items()}
    answer = send(anonymous, dialect, body, wrong)
    assert answer.status_code == 400
    assert "secret" in answer.text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"repository": 3}', b"\xff", b"[" * 100_000])
def test_a_signed_call_that_makes_no_sense_is_refused_with_words(shared, anonymous, body):
    answer = send(anonymous, "github", body, {"X-GitHub-Event": "push", "X-Hub-Signature-256": signature(body)})
    assert answer.status_code == 400
    assert "not what this forge sends" in answer.text


@pytest.mark.parametrize(
    ("dialect", "fields", "words"),
    [
        ("trunk", {}, "say which trunk"),
        ("trunk", {"recipe": "nobody"}, "no recipe here watches"),
        ("trunk", {"location": "/nowhere"}, "no recipe here watches"),
        ("base", {"author": "x", "comments": "y"}, "base"),
        ("", {"author": "x", "comments": "y"}, "base"),
    ],
)
def test_what_nobody_watches_and_dialects_that_are_off_are_refused_with_words(
    shared, anonymous, dialect, fields, words
):
    answer = anonymous.post(f"change_hook/{dialect}", data=fields)
    assert answer.status_code == 400
    assert words in answer.text
