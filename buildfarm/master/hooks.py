"""Change hooks: a push makes the farm look at the trunk at once.

``change_hook/trunk`` takes our own ``buildfarm notify``. The forges' dialects are Buildbot's own, with their
check of the forge's secret; what they tell is only where to look: the commits themselves come from the trunk,
so that a hook that is lost, repeated or forged adds and loses nothing.
"""

from __future__ import annotations

from typing import Any

from buildbot.util import bytes2unicode
from buildbot.www.hooks.base import BaseHookHandler
from buildbot.www.hooks.bitbucketcloud import BitbucketCloudEventHandler
from buildbot.www.hooks.bitbucketserver import BitbucketServerEventHandler
from buildbot.www.hooks.github import GitHubHandler
from buildbot.www.hooks.gitlab import GitLabHandler
from twisted.internet import defer

FORGES: dict[str, type[Any]] = {
    "github": GitHubHandler,
    "gitlab": GitLabHandler,
    "bitbucketcloud": BitbucketCloudEventHandler,
    "bitbucketserver": BitbucketServerEventHandler,
}
FIELDS = ("recipe", "location", "branch")
FIELD_LIMIT = 2048


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


def forge_hook(handler: type[Any]) -> type[Any]:
    """Buildbot's handler of a forge, made to poke the trunk instead of adding changes itself."""

    class ForgeHook(handler):  # type: ignore[misc]
        @defer.inlineCallbacks
        def getChanges(self, request: Any) -> Any:
            changes, _ = yield super().getChanges(request)
            for location in {bytes2unicode(change["repository"]) for change in changes}:
                _farm(self.master).poke(location=location)
            return [], None

    ForgeHook.__name__ = f"Poking{handler.__name__}"
    return ForgeHook
