"""What ran, its results, its artifacts (SQL)."""
