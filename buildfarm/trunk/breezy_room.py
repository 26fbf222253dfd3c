"""The only module that imports breezy: reads Bazaar branches, without anybody's configuration or plugins.

Importing it sets breezy up for this process. breezy's lazy imports and caches are not made for threads, so the
functions take turns; on local branches each is short.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# Before the first import of breezy: it finds its configuration through these.
NOWHERE = "/nonexistent"
os.environ["BRZ_HOME"] = os.environ["BZR_HOME"] = NOWHERE

import breezy  # noqa: E402
import breezy.branch  # noqa: E402
import breezy.bzr  # noqa: E402
from breezy import errors, library_state, revision, ui  # noqa: E402
from breezy.bzr import BzrProber, RemoteBzrProber  # noqa: E402
from breezy.url_policy_open import BadUrl, BranchOpener, BranchOpenPolicy  # noqa: E402
from breezy.urlutils import local_path_from_url, local_path_to_url  # noqa: E402
from vcsgraph.errors import Error as GraphError  # noqa: E402

from buildfarm.errors import FarmTrouble, PackageFault  # noqa: E402
from buildfarm.trunk.model import Merge, NewCommits, RevisionInfo, clean_author, clean_text  # noqa: E402
from buildfarm.trunk.tree import REGULAR_MODE, Entry, check_entries, show_path  # noqa: E402

NETWORK_SCHEMES = ("bzr", "bzr+ssh", "http", "https", "sftp")
_turn = threading.RLock()


def _set_up() -> None:
    if breezy._global_state is None:
        # Not breezy.initialize(): that opens a log in the user's home and a user interface that may ask.
        library_state.BzrLibraryState(ui=ui.SilentUIFactory(), trace=contextlib.nullcontext())._start()


_set_up()


class _SchemePolicy(BranchOpenPolicy):  # type: ignore[misc]
    """What a branch may lead to (what it is stacked on, references, redirections): the schemes it came by."""

    def __init__(self, schemes: Sequence[str]) -> None:
        self._schemes = schemes

    def should_follow_references(self) -> bool:
        return True

    def transform_fallback_location(self, branch: Any, url: str) -> tuple[str, bool]:
        return breezy.urlutils.join(branch.base, url), True

    def check_one_url(self, url: str) -> None:
        if url.partition("://")[0].lower() not in self._schemes:
            raise BadUrl(url=url)


def open_local(path: Path) -> Any:
    """The breezy branch at a path; it may lead to other paths, never to a network."""
    url = local_path_to_url(str(path.absolute()))
    return BranchOpener(_SchemePolicy(["file"]), [BzrProber]).open(url)


def open_far(location: str) -> Any:
    """The breezy branch at a URL; it may never lead to a path of this machine."""
    if location.startswith("lp:"):
        # Public branches; a person's `lp:~owner/project/branch` and a project's `lp:project` alike.
        name = location.removeprefix("lp:").strip("/")
        location = f"https://bazaar.launchpad.net/{name if name.startswith('~') else '+branch/' + name}"
    return BranchOpener(_SchemePolicy(NETWORK_SCHEMES), [BzrProber, RemoteBzrProber]).open(location)


@contextlib.contextmanager
def explained(location: str) -> Iterator[None]:
    """Turn breezy's errors into FarmTrouble."""
    try:
        yield
    except (errors.BzrError, GraphError, PermissionError, ConnectionError) as error:
        missing = isinstance(error, errors.NotBranchError)
        raise FarmTrouble(
            "there is no Bazaar branch at the trunk's location" if missing else "the trunk cannot be read",
            where=location,
            details="" if missing else f"{type(error).__name__}: {clean_text(str(error))}",
            resolution="Check the location in the recipe, and that the farm's user may read it from this machine.",
        ) from error


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[Any]:
    with _turn, explained(str(path)):
        branch = open_local(path)
        with branch.lock_read():
            yield branch


def version() -> str:
    """breezy's version."""
    return str(breezy.__version__)


def tip(path: Path) -> str:
    """The newest revision of a local branch; FarmTrouble when it has none."""
    with _turn, explained(str(path)):
        return tip_of(open_local(path))


def tip_of(branch: Any) -> str:
    """The newest revision of a breezy branch, not locked; FarmTrouble when it has none."""
    newest: bytes = branch.last_revision()
    if revision.is_null(newest):
        raise FarmTrouble(
            "the branch has no commits yet", where=branch.user_url, resolution="Commit to it, or push to it."
        )
    return newest.decode()


def has(path: Path, wanted: str) -> bool:
    """Whether a local branch's repository has a revision."""
    with _reading(path) as branch:
        return bool(branch.repository.has_revision(_bytes(wanted)))


def describe(path: Path, location: str, wanted: str) -> RevisionInfo:
    """See ``Trunk``."""
    with _reading(path) as branch:
        return _infos(branch, location, [_bytes(wanted)])[0]


def commits_between(path: Path, location: str, old: str, new: str) -> NewCommits:
    """See ``Trunk``."""
    with _reading(path) as branch:
        was, now = _bytes(old), _bytes(new)
        graph = branch.repository.get_graph()
        if not old or not branch.repository.has_revision(was):
            return NewCommits(_infos(branch, location, [now]), rewritten=bool(old))
        rewritten = not graph.is_ancestor(was, now)
        if rewritten and not graph.find_lca(was, now) - {revision.NULL_REVISION}:
            return NewCommits(_infos(branch, location, [now]), rewritten=True)
        fresh = graph.find_unique_ancestors(now, [was])
        mainline = list(itertools.takewhile(fresh.__contains__, graph.iter_lefthand_ancestry(now)))
        return NewCommits(_infos(branch, location, mainline[::-1]), rewritten)


def resolve(path: Path, location: str, expression: str) -> str:
    """See ``Trunk``; never breezy's own revision specifications, which can open other branches."""
    kind, _, rest = expression.partition(":")
    if kind not in ("revno", "tag", "revid"):
        kind, rest = "", expression
    with _reading(path) as branch:
        for wanted, find in (("revid", _by_id), ("tag", _by_tag), ("revno", _by_number)):
            if kind in ("", wanted) and (found := find(branch, rest)):
                return found.decode()
    raise PackageFault(
        f"{expression!r} is neither a revision number, a tag nor a revision id of the branch",
        where=location,
        resolution="Name one that is there (revno:12, tag:1.0, revid:...), or leave it out for the tip.",
    )


def _by_id(branch: Any, text: str) -> bytes | None:
    return _bytes(text) if branch.repository.has_revision(_bytes(text)) else None


def _by_tag(branch: Any, text: str) -> bytes | None:
    found: bytes | None = branch.tags.get_tag_dict().get(text)
    return found if found and branch.repository.has_revision(found) else None


def _by_number(branch: Any, text: str) -> bytes | None:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})*", text):
        return None
    try:
        found: bytes = branch.dotted_revno_to_revision_id(tuple(map(int, text.split("."))))
    except (errors.NoSuchRevision, errors.RevnoOutOfBounds, errors.GhostRevisionsHaveNoRevno):
        return None
    return None if revision.is_null(found) else found


def export(
    path: Path, wanted: str, destination: Path, subdir: str, merges: Sequence[tuple[Merge, Path]]
) -> tuple[str, ...]:
    """See ``Trunk``; links are not judged here."""
    if not merges:
        with _reading(path) as branch:
            return _write(branch.repository.revision_tree(_bytes(wanted)), destination, subdir)
    with tempfile.TemporaryDirectory(prefix="buildfarm-bzr-") as scratch:
        with _reading(path) as branch:
            merged = _merge(branch, _bytes(wanted), merges, Path(scratch) / "merge")
        with _reading(Path(scratch) / "merge") as branch:
            return _write(branch.repository.revision_tree(merged), destination, subdir)


def configure(path: Path, options: Mapping[str, str]) -> Path:
    """Set options in a local branch's branch.conf, "" removes one; returns the branch's path."""
    with _turn, explained(str(path)):
        branch = open_local(path)
        with branch.lock_write():
            stack = branch.get_config_stack()
            for name, value in options.items():
                if value:
                    stack.set(name, value)
                elif stack.get(name) is not None:
                    stack.remove(name)
        return Path(local_path_from_url(branch.user_url)).resolve()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _infos(branch: Any, location: str, revids: Sequence[bytes]) -> tuple[RevisionInfo, ...]:
    """Consecutive mainline revisions, oldest first, as people are told of them."""
    if not revids:
        return ()
    graph = branch.repository.get_graph()
    known = branch.last_revision_info()
    first_revno = graph.find_distance_to_null(revids[0], [(known[1], known[0])])
    names: Mapping[bytes, set[str]] = branch.tags.get_reverse_tag_dict()
    tag = _latest_tag(graph, names, revids[0])
    infos = []
    for number, revid in enumerate(revids):
        tag = _newest(names[revid]) if revid in names else tag
        told = branch.repository.get_revision(revid)
        who = (told.get_apparent_authors() or [told.committer or ""])[0]
        name, bracket, mail = who.partition("<")
        infos.append(
            RevisionInfo(
                "bzr",
                location,
                "",
                revid.decode("utf-8", "replace"),
                first_revno + number,
                max(0, int(told.timestamp)),
                clean_author(name, mail) if bracket or "@" not in who else clean_author("", who),
                clean_text(told.message.lstrip().partition("\n")[0]),
                tag,
            )
        )
    return tuple(infos)


def _latest_tag(graph: Any, names: Mapping[bytes, set[str]], revid: bytes) -> str:
    if not names:
        return ""
    mainline = graph.iter_lefthand_ancestry(revid, [revision.NULL_REVISION])
    return next((_newest(names[one]) for one in mainline if one in names), "")


def _newest(names: set[str]) -> str:
    """Of several tags on one revision the one that sorts last, numbers by value."""

    def key(name: str) -> list[tuple[int, int, str]]:
        return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.split(r"([0-9]+)", name)]

    return clean_text(max(names, key=key))


def _write(tree: Any, destination: Path, subdir: str) -> tuple[str, ...]:
    prefix = f"{subdir.strip('/')}/" if subdir.strip("/") else ""
    with tree.lock_read():
        if prefix and (not tree.has_filename(prefix[:-1]) or tree.kind(prefix[:-1]) != "directory"):
            raise PackageFault(f"the branch has no directory {subdir!r} at this revision")
        found = [
            (path[len(prefix) :], entry)
            for path, entry in tree.iter_entries_by_dir()
            if path.startswith(prefix) and path not in ("", prefix)
        ]
        check_entries(_entry(path, entry) for path, entry in found)
        destination.mkdir(parents=True, exist_ok=True)
        wanted = []
        for path, entry in found:
            target = destination / os.fsdecode(_bytes(path))
            if entry.kind == "directory":
                target.mkdir()
            elif entry.kind == "symlink":
                target.symlink_to(os.fsdecode(_bytes(entry.symlink_target)))
            elif entry.kind == "file":
                wanted.append((entry.file_id, entry.revision, (target, bool(entry.executable))))
        for (target, executable), chunks in tree._repository.iter_files_bytes(wanted):
            with target.open("xb") as file:
                file.writelines([chunks] if isinstance(chunks, bytes) else chunks)
            target.chmod(REGULAR_MODE[executable])
    return tuple(
        f"nested tree {show_path(path)}: left out" for path, entry in found if entry.kind == "tree-reference"
    )


def _entry(path: str, entry: Any) -> Entry:
    name = _bytes(path)
    if entry.kind == "file":
        return Entry(name, "file", entry.text_size or 0)
    if entry.kind == "symlink":
        return Entry(name, "symlink", len(_bytes(entry.symlink_target)))
    return Entry(name, "directory" if entry.kind == "directory" else "submodule")


def _merge(branch: Any, wanted: bytes, merges: Sequence[tuple[Merge, Path]], scratch: Path) -> bytes:
    """Merge in a scratch branch with a working tree; returns the merged revision, which is always the same."""
    _check_tree(branch.repository.revision_tree(wanted))
    copy = branch.controldir.sprout(
        local_path_to_url(str(scratch)), revision_id=wanted, source_branch=branch, stacked=False
    )
    working_tree = copy.open_workingtree()
    merged = wanted
    for number, (merge, path) in enumerate(merges):
        other = open_local(path)
        with other.lock_read():
            _check_tree(other.repository.revision_tree(_bytes(merge.revision)))
            with working_tree.branch.lock_read():
                # In both histories: the other branch need not know what is merged into.
                graph = working_tree.branch.repository.get_graph(other.repository)
                merged_already = graph.is_ancestor(_bytes(merge.revision), merged)
            if merged_already:
                continue
            try:
                conflicts = working_tree.merge_from_branch(other, to_revision=_bytes(merge.revision))
            except errors.UnrelatedBranches as error:
                raise _conflict(merge, ["the branches have no common ancestor"]) from error
        if conflicts:
            raise _conflict(merge, sorted(str(one) for one in working_tree.conflicts()))
        merged = working_tree.commit(
            f"Merge {merge.name}",
            committer="buildfarm <buildfarm@localhost>",
            timestamp=0,
            timezone=0,
            rev_id=b"%s-merge-%d" % (wanted, number),
            allow_pointless=True,
        )
    return merged


def _check_tree(tree: Any) -> None:
    with tree.lock_read():
        check_entries(_entry(path, entry) for path, entry in tree.iter_entries_by_dir() if path)


def _conflict(merge: Merge, said: Sequence[str]) -> PackageFault:
    return PackageFault(
        f"{merge.name} cannot be merged",
        where=merge.trunk.branch.location,
        details="\n".join(map(show_path, said)),
        resolution="Merge the branch by hand, solve the conflicts, and commit that to one of the two.",
    )
