"""Doubles of services that the tests may not reach: each runs in a process of its own, over loopback."""
