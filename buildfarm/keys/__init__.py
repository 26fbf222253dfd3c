"""Signing: the upload key, and checking what it signs."""
