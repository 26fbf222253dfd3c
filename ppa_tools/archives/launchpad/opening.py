"""Opening PPAs of Launchpad, so that all of one instance share connections, login and what they need to know."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from typing import Protocol

from ppa_tools.address import Address
from ppa_tools.archives.door import NotThere
from ppa_tools.archives.launchpad.archive import LaunchpadArchive
from ppa_tools.archives.launchpad.client import LaunchpadClient
from ppa_tools.archives.launchpad.credentials import Login, Token, someone_is_there
from ppa_tools.archives.launchpad.instances import Instance, find_instance


class Options(Protocol):
    """What of the options of all archives concerns Launchpad."""

    @property
    def instance(self) -> str:
        """production, staging, qastaging or a URL."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Where credentials may stand."""


_clients: weakref.WeakValueDictionary[tuple[Instance, Token | None], LaunchpadClient] = (
    weakref.WeakValueDictionary()
)
_clients_lock = threading.Lock()


def open_launchpad(address: Address, options: Options) -> LaunchpadArchive:
    """A PPA of Launchpad; nothing is asked yet. Raises NotThere for no instance, NoRights for bad credentials."""
    try:
        instance = find_instance(options.instance)
    except ValueError as error:
        raise NotThere(str(error)) from error
    login = Login(options.environment, interactive=someone_is_there())
    with _clients_lock:
        key = (instance, login.at_hand())
        client = _clients.get(key)
        if client is None:
            client = _clients[key] = LaunchpadClient(instance, login)
    return LaunchpadArchive(client, address)
