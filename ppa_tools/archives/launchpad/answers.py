"""What Launchpad says when it says no, in words for people, as the door's errors."""

from __future__ import annotations

import re

from ppa_tools.archives.door import DoorError, NoRights, NotThere, Refused, Unreachable
from ppa_tools.archives.launchpad.credentials import HOW_TO_SIGN_IN, Token
from ppa_tools.archives.launchpad.session import Answer

BAD_TOKEN = (
    "Expired token",
    "Invalid signature",
    "Invalid token",
    "Unauthorized token",
    "Unknown access token",
    "Unknown consumer",
)
UPLOAD_RIGHTS = "no upload rights"
"""What is in Launchpad's reason, with status 400, when one may not copy to a PPA."""

LONGEST_TEXT = 600
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def refusal(answer: Answer, doing: str, token: Token | None) -> DoorError:
    """Why Launchpad did not do something; ``doing`` says what, as in "read ppa:owner/name"."""
    said = in_words(answer)
    if answer.status == 401 and token is None:
        return NoRights(f"Launchpad lets nobody {doing} without credentials", resolution=HOW_TO_SIGN_IN)
    if answer.status == 401 and said.startswith(BAD_TOKEN):
        return NoRights(
            f"Launchpad does not know the credentials from {token.origin if token else 'here'}: {said}",
            resolution=f"They have been revoked, or have run out. Remove them. {HOW_TO_SIGN_IN}",
        )
    if answer.status in (401, 403) or UPLOAD_RIGHTS in said:
        with_these = f" with the credentials from {token.origin}" if token and token.origin else ""
        told = f": {said}" if said and not said.startswith("(") else ""
        return NoRights(
            f"Launchpad does not let you {doing}{with_these}{told}",
            resolution="Ask who owns the PPA to have you in its team, or use the credentials of someone who is.",
        )
    if answer.status in (404, 410):
        return NotThere(f"Launchpad cannot {doing}: {said or 'there is no such thing'}")
    if answer.status >= 500 or answer.status == 429:
        return Unreachable(
            f"Launchpad is in trouble and did not {doing}: it answers {answer.status}",
            resolution="Try again in a while.",
        )
    return Refused(f"Launchpad refuses to {doing}: {said or answer.status}")


def in_words(answer: Answer) -> str:
    """The text of an answer, without what could upset a terminal; "" for a page of HTML."""
    text = CONTROL.sub("", answer.text).strip()
    if text.startswith("<"):
        return ""
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} ..."
