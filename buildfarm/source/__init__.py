"""Revision to version to tarball to Debian source package."""
