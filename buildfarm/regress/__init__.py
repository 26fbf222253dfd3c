"""Nightly rebuilds of packages that nobody touched: what broke, since when, and because of what."""
