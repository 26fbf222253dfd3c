"""A testbed's way out: a gateway on a socket that lets apt reach its mirrors and the archive, and nothing else."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from buildfarm.build.apt_sources import AptSources
from buildfarm.vm.callbacks import Callbacks
from buildfarm.vm.gateway import Gateway, GatewayOrder
from buildfarm.vm.places import machine_directory
from buildfarm.vm.targets import Target, parse_targets
from buildfarm.vm.upstream import Reach, read_proxies

ANY_MIB = 1 << 40  # it takes none of what machines may have
URL = re.compile(r"\bhttps?://[^\s\]]+")


@contextlib.contextmanager
def way_out(
    archive_sources: str, mirrors: AptSources, allow: Sequence[str], cache: Path, say: Callable[[str], None]
) -> Iterator[Path]:
    """The socket of a gateway, for the ``with`` block; raises FarmTrouble, and UsageError for bad ``allow``."""
    proxies, notes = read_proxies(mirrors.settings)
    for note in notes:
        say(note)
    with machine_directory(memory_mib=0, limit_mib=ANY_MIB) as directory:
        order = GatewayOrder(
            socket_path=directory / "way-out",
            callbacks=Callbacks("", ""),
            reach=reach(archive_sources, mirrors.text, allow),
            proxies=proxies,
            cache=cache / "downloads",
        )
        with Gateway(order):
            yield order.socket_path


def reach(archive_sources: str, mirror_sources: str, allow: Sequence[str]) -> Reach:
    """What may be reached, by apt's source files and the recipe's words."""
    return Reach(
        archive=frozenset(_targets(URL.findall(_without_keys(archive_sources)))),
        mirrors=frozenset(_targets(URL.findall(_without_keys(mirror_sources)))),
        recipe=frozenset(_targets(allow)),
    )


def _targets(words: Sequence[str]) -> list[Target]:
    return [target for word in words for target in parse_targets(word)]


def _without_keys(text: str) -> str:
    """Apt's sources without comments and without the lines of keys."""
    return "\n".join(line for line in text.splitlines() if not line.startswith(("#", " ")))
