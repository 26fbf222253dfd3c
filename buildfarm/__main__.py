"""``python -m buildfarm`` is the ``buildfarm`` command."""

import sys

from buildfarm.cli import main

sys.exit(main())
