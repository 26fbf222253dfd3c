"""PPAs, on Launchpad and in the embedded archive; usable alone, without Buildbot."""
