"""Makes the farm fixture known to the scenarios."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from running_farm import farm, series

__all__ = ["farm", "series"]
