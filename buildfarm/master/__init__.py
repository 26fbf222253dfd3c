"""The Buildbot adapter: watching trunks, scheduling, steps, workers."""
