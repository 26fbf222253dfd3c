"""The way in for dput by HTTP: PUT /~OWNER/NAME[/SERIES]/FILE, with a token that may upload to the PPA.

The token is the password of HTTP Basic, or a Bearer. Files of one token and client for one PPA gather in a
session; their .changes comes last, and is answered when it is known what became of the upload. A reason stands in
the status line too, which is all that dput shows.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet import defer
from twisted.python.failure import Failure

from ppa_tools.archives.access import secret_of
from ppa_tools.archives.bodies import Answer, ArchiveRequest, Body
from ppa_tools.archives.dropbox import Arrival, NameNotTaken, NoRoom, Outcome, TooLarge
from ppa_tools.archives.drops import Drop, Drops
from ppa_tools.archives.errors import ArchiveError, UnknownPPA, UploadRefused
from ppa_tools.archives.local import AccessToken, LocalArchive
from ppa_tools.archives.upload_paths import Target, find_target, targets_of

STATUSES = ((NameNotTaken, 400), (TooLarge, 413), (NoRoom, 507), (UnknownPPA, 404), (UploadRefused, 422))
REASON_LIMIT = 500
Key = tuple[int, str, Target]


class PutBody(Body):
    """A file on its way into a session."""

    def __init__(self, drop: Drop, arrival: Arrival) -> None:
        super().__init__(Path(), {})
        self.drop, self.arrival = drop, arrival
        self.is_settled = False

    def write(self, data: bytes) -> None:
        """Take a piece."""
        if self.refused is not None:
            return
        try:
            self.drop.touch()
            self.arrival.write(data)
        except ArchiveError as error:
            self.refused = in_words(status_of(error), str(error))

    def close(self) -> None:
        """The request has ended: what is not whole is removed."""
        if not self.is_settled:
            self.arrival.abandon()


class Puts:
    """The sessions of this way in: one for each token, client and target."""

    def __init__(self, drops: Drops, archive: LocalArchive) -> None:
        self._drops, self._archive = drops, archive
        self._open: dict[Key, Drop] = {}

    def admit(self, request: ArchiveRequest, path: list[bytes], length: int | None) -> defer.Deferred[Body]:
        """A place for a request's body, or one that has refused it already; the token is looked up in a thread."""
        try:
            *directory, name = [segment.decode() for segment in path]
        except UnicodeDecodeError:
            return defer.succeed(Body.refusing(in_words(400, "a path in UTF-8 is wanted")))
        peer = request.channel.transport.getPeer().host
        found: defer.Deferred[Any] = self._drops.look(self._find, directory, secret_of(request))
        found.addCallback(self._begin, peer, name, length)
        return found.addErrback(lambda failure: Body.refusing(_refusal(failure, self._drops)))

    def settle(self, body: PutBody) -> defer.Deferred[Answer]:
        """The answer to a file that has come whole."""
        body.is_settled, drop = True, body.drop
        settled = drop.settle(body.arrival).addCallbacks(_answer, _refusal, errbackArgs=(drop,))
        return settled.addCallback(self._tidy, drop)

    def _find(self, path: list[str], secret: str) -> tuple[AccessToken, Target] | None:
        """A path's token and target; None without a token. Raises UnknownPPA, to those who have one."""
        try:
            target = find_target(self._archive, path)
        except UnknownPPA:
            if any(self._token(one, secret) for one in targets_of(path)):
                raise
            return None
        token = self._token(target, secret)
        return (token, target) if token else None

    def _token(self, target: Target, secret: str) -> AccessToken | None:
        try:
            return self._archive.check_token(target.address, secret, upload=True)
        except UnknownPPA:
            return None

    def _begin(self, found: tuple[AccessToken, Target] | None, peer: str, name: str, length: int | None) -> Body:
        if found is None:
            return Body.refusing(in_words(401, "a token that may upload to this PPA is wanted as the password"))
        if length is None:
            return Body.refusing(in_words(411, "Content-Length is required"))
        drop = self._session(peer, *found)
        return PutBody(drop, drop.box.begin(found[1], name, length))

    def _session(self, peer: str, token: AccessToken, target: Target) -> Drop:
        key = (token.id, peer, target)
        drop = self._open.get(key)
        if drop is None:
            # A token's holder is known; behind a proxy all of them have one address.
            drop = self._open[key] = self._drops.open(f"token {token.id}", "put", keeps_surplus=True)
            drop.when_ended = partial(self._forget, key)
        return drop

    def _forget(self, key: Key) -> None:
        self._open.pop(key, None)

    def _tidy(self, answer: Answer, drop: Drop) -> Answer:
        """A session in which nothing waits has ended."""
        if drop.box.is_empty:
            drop.end()
        return answer


def status_of(error: ArchiveError) -> int:
    """The HTTP status for an error."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 503)


def in_words(status: int, words: str) -> Answer:
    """An answer for whoever runs dput, in the status line, too."""
    line = " ".join(words.split())[:REASON_LIMIT].encode("ascii", "backslashreplace")
    return Answer(
        status, "text/plain; charset=utf-8", f"{words}\n".encode(), reason=line, challenge='Basic realm="uploads"'
    )


def _answer(outcome: Outcome) -> Answer:
    return in_words(200 if outcome.receipt else 202 if outcome.missing else 201, outcome.words)


def _refusal(failure: Failure, explains: Drop | Drops) -> Answer:
    status = status_of(failure.value) if isinstance(failure.value, ArchiveError) else 500
    return in_words(status, explains.explain(failure))
