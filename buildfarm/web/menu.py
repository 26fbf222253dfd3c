"""The item ``Nightly rebuilds`` in the menu of Buildbot's own pages: a plugin of its web interface.

Found by the entry point ``rebuilds`` of ``buildbot.www``, which Buildbot loads whenever it is there. Without it
(a checkout that was updated and not installed again) the pages are served all the same; the menu lacks the item.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from twisted.web.resource import Resource
from twisted.web.static import File

from buildfarm.web.rendering import STATIC

NAME = "rebuilds"
GROUP = "buildbot.www"


class Menu:
    """What Buildbot wants of a plugin: it serves ``scripts.js``, which every page of Buildbot's loads."""

    def __init__(self) -> None:
        self.description = "pages of nightly rebuilds"
        self.version = "1"
        self.static_dir = STATIC
        self.ui = True
        self.resource = Resource()
        self.resource.putChild(b"scripts.js", File(str(STATIC / "menu.js"), "text/javascript"))

    def setMaster(self, master: Any) -> None:  # noqa: N802 (Buildbot's word)
        """Take note of the master."""
        self.master = master

    def setConfiguration(self, config: Any) -> None:  # noqa: N802 (Buildbot's word)
        """Take note of the plugin's part of the configuration."""
        self.config = config


def menu_plugins() -> dict[str, Any]:
    """What is to be among Buildbot's ``plugins``: nothing where the entry point is not installed."""
    return {NAME: {}} if entry_points(group=GROUP, name=NAME) else {}


ep = Menu()
