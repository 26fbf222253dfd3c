"""checkout: the trunk's content at the revision, with the recipe's other branches laid over it."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath

from buildfarm.errors import PackageFault
from buildfarm.files import empty_directory, is_inside, write_json
from buildfarm.job import SourcePart
from buildfarm.stages.runner import TREE_FACT, StageContext
from buildfarm.trunk import REVISIONS_FILE, Merge, Trunk, open_trunk, redact, summarize_tree
from buildfarm.verdict import Outcome, Verdict


@dataclasses.dataclass(frozen=True)
class Layer:
    """A part of the recipe with its branch and the commit of it that is taken."""

    part: SourcePart
    trunk: Trunk
    revision: str


def run(context: StageContext) -> Outcome:
    """Export, merge, nest; then record what stands in tree/ and where it came from."""
    trunk = open_trunk(context.job.trunk, context.settings.cache)
    context.say(f"trunk {redact(context.job.trunk.location)} at {context.job.revision}")
    layers = [_resolve(context, part) for part in context.job.parts]
    tree = empty_directory(context.tree)
    merges = [Merge(one.part.name, one.trunk, one.revision) for one in layers if one.part.kind == "merge"]
    left_out = list(trunk.export(context.job.revision, tree, merges=merges))
    for layer in layers:
        if layer.part.kind != "merge":
            left_out += _nest(layer, tree)
    infos = {"": trunk.describe(context.job.revision)}
    infos |= {one.part.name: one.trunk.describe(one.revision) for one in layers}
    branches = [{"name": name, **dataclasses.asdict(info)} for name, info in infos.items()]
    write_json(context.workspace.path / REVISIONS_FILE, branches)
    summary = summarize_tree(tree)
    own = infos[""]
    return Outcome(
        Verdict.PASS,
        f"{own.short}, {own.summary!r} by {own.author}: {summary.files} files, {_size(summary.size_bytes)}",
        inputs=("job.json",),
        outputs=(REVISIONS_FILE,),
        tools=dict([trunk.tool(), *(one.trunk.tool() for one in layers)]),
        skipped=tuple(left_out),
        assumed=tuple(
            f"{one.part.name}: the recipe names no revision, so its tip {infos[one.part.name].short} was taken"
            for one in layers
            if not one.part.revision
        ),
        facts={
            **{
                name: getattr(own, name)
                for name in ("vcs", "revision", "revno", "committed_at", "author", "summary", "short")
            },
            "branches": branches,
            TREE_FACT: summary.sha256,
            "files": summary.files,
            "size_bytes": summary.size_bytes,
        },
    )


def _resolve(context: StageContext, part: SourcePart) -> Layer:
    trunk = open_trunk(part.branch, context.settings.cache)
    revision = trunk.resolve(part.revision)
    place = f" {part.into}" if part.into else ""
    context.say(f"{part.kind} {part.name} {redact(part.branch.location)}{place} at {revision}")
    return Layer(part, trunk, revision)


def _nest(layer: Layer, tree: Path) -> tuple[str, ...]:
    """Lay a branch, or its directory ``subdir``, into a place of the tree where nothing stands yet."""
    part = layer.part
    into = PurePosixPath(part.into or part.subdir or part.name)
    target = tree / into
    if into.is_absolute() or ".." in into.parts or not into.parts or not is_inside(tree, target):
        raise PackageFault(
            f"{part.name} cannot be nested into {str(into)!r}: that is no place inside the tree",
            resolution="Give a relative path below the trunk in the recipe.",
        )
    if target.exists() or target.is_symlink():
        raise PackageFault(
            f"{part.name} cannot be nested into {str(into)!r}: the tree has that already",
            where=redact(part.branch.location),
            resolution=f"Remove {into} from the trunk, or nest the branch at another place.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    subdir = part.subdir if part.kind == "nest-part" else ""
    noted = layer.trunk.export(layer.revision, target, subdir=subdir, inside=tree)
    return tuple(f"{part.name}: {line}" for line in noted)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1024**2:.1f} MiB" if size_bytes >= 1024**2 else f"{size_bytes / 1024:.1f} KiB"
