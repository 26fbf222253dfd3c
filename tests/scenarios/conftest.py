"""Makes the farm fixture known to the scenarios."""

from tests.scenarios.running_farm import farm

__all__ = ["farm"]
