"""Watched branches: git and Bazaar."""
