"""What a served archive does by itself, beside readers and uploads: what is due, and Contents that lag."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from ppa_tools.archives.errors import ArchiveError
from ppa_tools.archives.local import LocalArchive
from ppa_tools.openpgp import OpenPGPError

INTERVAL_S = 60.0


def begin(archive: LocalArchive, say: Callable[[str], None], interval_s: float = INTERVAL_S) -> Callable[[], None]:
    """Work every ``interval_s`` in a thread of its own; returns what ends it, within seconds.

    What cannot be done is said, and tried again the next time.
    """
    ending = threading.Event()

    def work() -> None:
        while not ending.wait(interval_s):
            try:
                archive.publish_due()
                for problem in archive.publish_lagging_contents(until=ending.is_set):
                    say(f"Contents has no lines of {problem}")
            except (ArchiveError, OpenPGPError, SQLAlchemyError, OSError) as error:
                say(f"to be tried again in {interval_s:g} s: {error}")

    thread = threading.Thread(target=work, name="background")
    thread.start()

    def end() -> None:
        ending.set()
        thread.join()

    return end
