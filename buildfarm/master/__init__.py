"""The Buildbot adapter: watching trunks, giving tasks to workers, showing what they came to."""

from buildfarm.master.config import configure

__all__ = ["configure"]
