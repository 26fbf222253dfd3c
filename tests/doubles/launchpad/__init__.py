"""A double of Launchpad for tests: see README.md."""

from tests.doubles.launchpad.client import ControlError, Credentials, LaunchpadDouble

__all__ = ["ControlError", "Credentials", "LaunchpadDouble"]
