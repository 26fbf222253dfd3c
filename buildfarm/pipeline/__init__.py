"""Recipe and revision to the jobs to run (pure), and running them without Buildbot."""
