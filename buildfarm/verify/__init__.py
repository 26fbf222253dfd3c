"""Checks of what was published, made where it is installed as a user installs it."""
