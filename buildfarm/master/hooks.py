"""Change hooks: a push makes the farm look at the trunk at once.

``change_hook/trunk`` takes our own ``buildfarm notify``; the others take what forges send. What they tell is only
where to look: the commits themselves come from the trunk, so that a hook that is lost, repeated or forged adds and
loses nothing. Buildbot's own handlers of forges are not used: they make changes of what they are told, those of
Bitbucket check no secret, and GitHub's knows only SHA-1.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from buildbot.util import bytes2unicode
from buildbot.www.hooks.base import BaseHookHandler
from twisted.internet import defer

FIELDS = ("recipe", "location", "branch")
FIELD_LIMIT = 2048
PAYLOAD_LIMIT_BYTES = 25 * 1024 * 1024  # GitHub sends no more
Header = Callable[[str], str]


def _farm(master: Any) -> Any:
    return master.service_manager.namedServices["farm"]


class TrunkHook(BaseHookHandler):  # type: ignore[misc]
    """``POST change_hook/trunk`` with any of recipe, location and branch."""

    def getChanges(self, request: Any) -> defer.Deferred[tuple[list[Any], None]]:
        """Look at the trunks that are meant; a poke that means none is an error the sender sees."""
        wanted = {}
        for name in FIELDS:
            value = request.args.get(name.encode(), [b""])[0]
            if value:
                wanted[name] = bytes2unicode(value[:FIELD_LIMIT], errors="replace")
        if not wanted:
            raise ValueError("say which trunk: recipe, location or branch")
        if not _farm(self.master).poke(**wanted):
            said = ", ".join(f"{name}={value!r}" for name, value in wanted.items())
            raise ValueError(f"no recipe here watches {said}")
        return defer.succeed(([], None))


@dataclass(frozen=True)
class Forge:
    """How a forge calls: the header that names the event, its pushes, its proof, where it names the repository."""

    event_header: str
    pushes: tuple[str, ...]
    is_genuine: Callable[[Header, bytes, str], bool]
    locations: Callable[[Mapping[str, Any]], Iterator[Any]]


def _signed_by(header: Header, body: bytes, secret: str) -> bool:
    """GitHub's proof, which Gitea and Forgejo give, too: docs.github.com, "Validating webhook deliveries"."""
    return _is_signature(header("X-Hub-Signature-256"), body, secret)


def _signed_by_bitbucket(header: Header, body: bytes, secret: str) -> bool:
    """The same under an older name: support.atlassian.com, "Manage webhooks"."""
    return _is_signature(header("X-Hub-Signature"), body, secret)


def _is_signature(given: str, body: bytes, secret: str) -> bool:
    right = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(given.encode(), right.encode())


def _has_token(header: Header, _body: bytes, secret: str) -> bool:
    """GitLab's proof: the secret itself."""
    return hmac.compare_digest(header("X-Gitlab-Token").encode(), secret.encode())


def _named(of: str, *keys: str) -> Callable[[Mapping[str, Any]], Iterator[Any]]:
    return lambda payload: (payload[of].get(key) for key in keys)


def _bitbucket_server_clones(payload: Mapping[str, Any]) -> Iterator[Any]:
    return (link["href"] for link in payload["repository"]["links"]["clone"])


FORGES = {
    "github": Forge(
        "X-GitHub-Event", ("push",), _signed_by, _named("repository", "clone_url", "ssh_url", "html_url")
    ),
    "gitlab": Forge(
        "X-Gitlab-Event",
        ("Push Hook", "System Hook"),
        _has_token,
        _named("project", "git_http_url", "git_ssh_url", "web_url"),
    ),
    "bitbucketcloud": Forge(
        "X-Event-Key",
        ("repo:push",),
        _signed_by_bitbucket,
        lambda payload: iter([payload["repository"]["links"]["html"]["href"]]),
    ),
    "bitbucketserver": Forge(
        "X-Event-Key", ("repo:refs_changed",), _signed_by_bitbucket, _bitbucket_server_clones
    ),
}


def forge_hook(name: str, secret: str) -> type[BaseHookHandler]:
    """The handler of a forge's calls; ValueError, which the sender is shown, for one without the right secret."""
    forge = FORGES[name]

    class ForgeHook(BaseHookHandler):  # type: ignore[misc]
        def getChanges(self, request: Any) -> defer.Deferred[tuple[list[Any], None]]:
            body = request.content.read(PAYLOAD_LIMIT_BYTES + 1)
            if len(body) > PAYLOAD_LIMIT_BYTES:
                raise ValueError("the call is too long")

            def header(key: str) -> str:
                return bytes2unicode(request.getHeader(key) or b"", errors="replace")

            if not forge.is_genuine(header, body, secret):
                raise ValueError("the call does not prove that it knows the hook's secret")
            if header(forge.event_header) in forge.pushes:
                for location in pushed_locations(forge, body, header("Content-Type")):
                    _farm(self.master).poke(location=location)
            return defer.succeed(([], None))

    return ForgeHook


def pushed_locations(forge: Forge, body: bytes, content_type: str) -> frozenset[str]:
    """The names that a push gives its repository; raises ValueError for what is no push of this forge."""
    try:
        text = body.decode()
        if content_type.startswith("application/x-www-form-urlencoded"):
            text = parse_qs(text)["payload"][0]
        return frozenset(
            one for one in forge.locations(json.loads(text)) if isinstance(one, str) and len(one) <= FIELD_LIMIT
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not what this forge sends for a push: {type(error).__name__}") from error
