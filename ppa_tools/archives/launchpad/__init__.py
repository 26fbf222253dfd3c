"""Launchpad PPAs behind the door of all archives: few requests, sent in parallel, and none repeated blindly."""

from ppa_tools.archives.launchpad.archive import LaunchpadArchive
from ppa_tools.archives.launchpad.client import LaunchpadClient
from ppa_tools.archives.launchpad.opening import open_launchpad

__all__ = ["LaunchpadArchive", "LaunchpadClient", "open_launchpad"]
