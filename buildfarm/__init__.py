"""A packaging and regression build farm: every commit on a trunk ends as a package that apt installs."""

__version__ = "0.1.0"
