"""Benchmarks are scripts in a directory of their own: make their modules importable as they import each other."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
