"""Scripts that a recipe names by their paths in the tree."""

from __future__ import annotations

from pathlib import Path

from buildfarm.errors import PackageFault
from buildfarm.files import is_inside
from buildfarm.stages.runner import StageContext

SCRIPT_LIMIT_BYTES = 64 << 10


def find_script(context: StageContext, path: str) -> Path:
    """Where a script lies; raises PackageFault when it is no file in the tree."""
    file = context.tree / path
    if not is_inside(context.tree, file) or not file.is_file():
        raise PackageFault(
            f"{path} is no file in the tree", where="the recipe", resolution="Give a path relative to the trunk."
        )
    return file


def read_script(context: StageContext, path: str) -> bytes:
    """A script's content, which is alone where it runs; b"" for none. Raises PackageFault."""
    if not path:
        return b""
    file = find_script(context, path)
    if file.stat().st_size > SCRIPT_LIMIT_BYTES:
        raise PackageFault(f"{path} is larger than {SCRIPT_LIMIT_BYTES >> 10} KiB", where="the recipe")
    return file.read_bytes()
