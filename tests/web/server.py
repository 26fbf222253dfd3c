"""The pages on a port of their own: the real resource in Twisted's server, in a process beside the test's.

python -m tests.web.server HOME [below] serves the record in HOME, and prints its port. ``below`` is a path such as
a proxy's, that all of it stands under.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.python.threadpool import ThreadPool
from twisted.web.resource import Resource
from twisted.web.server import Site as Server

from buildfarm.settings import Settings
from buildfarm.web.resource import Rebuilds
from buildfarm.web.site import Site


def serve(root: Path, below: str) -> None:
    settings = Settings(root=root, home=root / "home", recipes=root / "recipes")
    pool = ThreadPool(0, 4)
    reactor.callWhenRunning(pool.start)
    reactor.addSystemEventTrigger("during", "shutdown", pool.stop)
    top = under = Resource()
    for part in filter(None, below.split("/")):
        under.putChild(part.encode(), found := Resource())
        under = found
    under.putChild(b"rebuilds", Rebuilds(Site(settings), reactor, pool, pool))
    port = reactor.listenTCP(int(sys.argv[3]) if len(sys.argv) > 3 else 0, Server(top), interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
