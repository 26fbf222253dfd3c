"""The pages of rebuilds within Buildbot's web server: put there by a service of the master's configuration.

Buildbot serves its pages from a resource of the plugin ``base``, which stays the same for the life of the process.
A child that is put into it is there before the server begins to listen, and after every reconfiguration; one that
came with an entry point of ``buildbot.www`` would live below ``plugins/``, where no digest's link leads.
"""

from __future__ import annotations

from typing import Any, ClassVar

from buildbot.util.service import BuildbotService
from buildbot.util.twisted import async_to_deferred
from twisted.internet import threads
from twisted.python import log
from twisted.python.threadpool import ThreadPool

from buildfarm.settings import Settings
from buildfarm.web.resource import Rebuilds
from buildfarm.web.site import Site

NAME = b"rebuilds"
THREADS = 4  # the pages' own: who reads them never keeps what is due from being given out


class RebuildPages(BuildbotService):  # type: ignore[misc]
    """Serves the pages of the farm's rebuilds below ``rebuilds/``."""

    name: ClassVar[str] = "rebuild-pages"

    def checkConfig(self, settings: Settings) -> None:  # noqa: N802 (Buildbot's word)
        """Nothing to check that the settings' loading did not."""

    @async_to_deferred  # type: ignore[untyped-decorator]
    async def reconfigService(self, settings: Settings) -> None:  # noqa: N802 (Buildbot's word)
        """Serve the record of these settings from now on; without it the farm goes on, and has no such pages."""
        if not hasattr(self, "_pool"):
            self._site: Site | None = None
            self._pool, self._slow = ThreadPool(0, THREADS, "pages"), ThreadPool(0, 1, "reports")
            self._pool.start()
            self._slow.start()
        try:
            site = await threads.deferToThreadPool(self.master.reactor, self._pool, Site, settings)
        except Exception:  # noqa: BLE001 (told in full; building matters more)
            log.err(None, "the pages of nightly rebuilds are not served")
            return
        self._pages.putChild(NAME, Rebuilds(site, self.master.reactor, self._pool, self._slow))
        before, self._site = self._site, site
        if before is not None:
            before.close()

    @async_to_deferred  # type: ignore[untyped-decorator]
    async def stopService(self) -> None:  # noqa: N802 (Buildbot's word)
        """Serve them no more."""
        if hasattr(self, "_pool"):
            if self._pages.getStaticEntity(NAME) is not None:
                self._pages.delEntity(NAME)
            self._pool.stop()
            self._slow.stop()
            del self._pool
        await super().stopService()

    @property
    def _pages(self) -> Any:
        www = self.master.www
        return www.apps.get(www.base_plugin_name).resource
