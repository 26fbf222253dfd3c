"""Run the double: ``--serve`` for tests, ``--demo`` by hand."""

from __future__ import annotations

import argparse
import os
import sys
import threading

from tests.doubles.launchpad.server import Server


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.doubles.launchpad", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="the port on loopback; 0: any that is free")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--serve", action="store_true", help="an empty world, until standard input closes")
    how.add_argument("--demo", action="store_true", help="a small world to try tools on, until Ctrl-C")
    arguments = parser.parse_args()
    server = Server(arguments.port)
    if arguments.demo:
        from tests.doubles.launchpad.demo import build, explain

        build(server.double)
        print(explain(server.double))
    else:
        print(server.url, flush=True)
        threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        sys.exit(0)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


main()
