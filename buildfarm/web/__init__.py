"""Pages of nightly rebuilds inside Buildbot's own web server: HTML without scripts, a feed, reports, logs."""
