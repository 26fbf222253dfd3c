"""Source package to binaries in a clean environment; reading build logs."""
