"""git: everything the farm asks of it, through a bare mirror and without the configuration of anybody."""

from __future__ import annotations

import hashlib
import itertools
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.files import remove_tree
from buildfarm.job import Branch
from buildfarm.process import Finished, how_it_ended, run
from buildfarm.trunk.location import local_path, locked, mirror_path, reaching_environment, redact
from buildfarm.trunk.model import (
    DEFAULT_LIMITS,
    Merge,
    NewCommits,
    RevisionInfo,
    TimeLimits,
    clean_author,
    clean_text,
)
from buildfarm.trunk.tree import Entry, check_entries, check_size, settle_tree, show_path

CONFIG = Path(__file__).with_name("gitconfig")
SSH = "ssh -oBatchMode=yes -oConnectTimeout=20 -oServerAliveInterval=15 -oServerAliveCountMax=3"
# $GIT_DIR/info/attributes wins over every .gitattributes: content is written as it was committed.
ATTRIBUTES = "* -text -eol -ident -filter -working-tree-encoding\n"
OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
ABBREVIATED_ID = re.compile(r"[0-9a-f]{4,63}")
READ_LIMIT_S = 300.0
LOG_CHUNK = 200
REASON_LIMIT = 300  # characters
# Fields of %(...) are cut by git itself, so that a hostile message cannot fill our memory.
LOG_FORMAT = "%H%x00%<(250,trunc)%an%x00%<(250,trunc)%ae%x00%ct%x00%<(250,trunc)%s%x00"


@dataclass(frozen=True)
class GitTrunk:
    """A branch in a git repository. Its content is read from a bare mirror below ``cache``.

    The farm never works inside somebody's repository, whose own configuration could run programs: a fetch
    brings what is wanted into the mirror, and only when the mirror does not have it.
    """

    branch: Branch
    cache: Path
    limits: TimeLimits = DEFAULT_LIMITS

    def tip(self) -> str:
        """The newest commit: read from the ref files of a local repository, else asked with one ``ls-remote``."""
        path = local_path(self.branch.location)
        if path is not None and (found := read_ref(path, self._ref)):
            return found
        return self._ask(self._ref)[self._ref]

    def commits_between(self, old: str, new: str) -> NewCommits:
        """See ``Trunk``."""
        try:
            mirror = self._mirror_with(new)
        except PackageFault as gone:
            raise FarmTrouble(
                gone.brief, where=gone.where, resolution="The branch moved meanwhile; it is looked at again."
            ) from gone
        if not old or not _has(mirror, old):
            return NewCommits((self.describe(new),), rewritten=bool(old))
        rewritten = not _answer(mirror, "merge-base", "--is-ancestor", old, new)
        if rewritten and not _answer(mirror, "merge-base", old, new):
            return NewCommits((self.describe(new),), rewritten=True)
        # Excluding follows every parent of ``old``, listing only the first parents of ``new``.
        listed = git(mirror, "rev-list", "--first-parent", "--reverse", new, f"^{old}").output.decode().split()
        return NewCommits(self._infos(mirror, listed), rewritten)

    def describe(self, revision: str) -> RevisionInfo:
        """See ``Trunk``."""
        return self._infos(self._mirror_with(revision), [revision])[0]

    def resolve(self, expression: str) -> str:
        """See ``Trunk``: a commit id or its start, a tag, a branch; never git's other revision syntax."""
        if expression in ("", self.branch.branch):
            return self.tip()
        if OBJECT_ID.fullmatch(expression):
            self._mirror_with(expression)
            return expression
        tag, head = f"refs/tags/{expression}", f"refs/heads/{expression}"
        known = self._ask(tag, tag + "^{}", head, required=False)
        for ref in (tag, head):
            if ref in known:
                wanted = known.get(ref + "^{}", known[ref])
                self._mirror_with(wanted, ref)
                return wanted
        if ABBREVIATED_ID.fullmatch(expression):
            mirror = self._mirror_with(self.tip())
            found = _git(mirror, "rev-parse", "--verify", "--quiet", expression + "^{commit}")
            if found.ok:
                return found.text.strip()
        raise PackageFault(
            f"{expression!r} is neither a tag, a branch nor a commit of the repository",
            where=self.branch.location,
            resolution="Name a tag, a branch or a commit that is there, or leave the revision out for the tip.",
        )

    def export(
        self,
        revision: str,
        destination: Path,
        *,
        subdir: str = "",
        inside: Path | None = None,
        merges: Sequence[Merge] = (),
    ) -> tuple[str, ...]:
        """See ``Trunk``. Submodules are left out, as empty directories."""
        repository = self._mirror_with(revision)
        with tempfile.TemporaryDirectory(prefix="buildfarm-git-") as scratch:
            if merges:
                repository = self._merged(repository, revision, merges, Path(scratch) / "merge")
                revision = git(repository, "rev-parse", "HEAD").text.strip()
            left_out = self._write(repository, revision, subdir, destination, Path(scratch) / "index")
        settle_tree(destination, inside or destination)
        return left_out

    def tool(self) -> tuple[str, str]:
        """See ``Trunk``."""
        return "git", git(None, "--version").text.removeprefix("git version ").strip()

    @property
    def _ref(self) -> str:
        return f"refs/heads/{self.branch.branch}" if self.branch.branch else "HEAD"

    @property
    def _source(self) -> str:
        """The location for git, which never runs in the caller's directory (that may be a repository)."""
        path = local_path(self.branch.location)
        return self.branch.location if path is None else str(path.absolute())

    def _ask(self, *refs: str, required: bool = True) -> dict[str, str]:
        """The ids of refs, as the repository has them now; FarmTrouble when none is there and one is required."""
        asked = _git(None, "ls-remote", "--exit-code", "--", self._source, *refs, timeout_s=self.limits.ask_s)
        if asked.returncode == 2 and not asked.output:
            if not required:
                return {}
            raise FarmTrouble(
                f"the repository has no branch {self.branch.branch!r}"
                if self.branch.branch
                else "the repository's HEAD names no commit",
                where=self.branch.location,
                resolution="Correct the branch in the recipe, or push it.",
            )
        if not asked.ok:
            raise self._unreachable(asked)
        lines = (line.partition("\t") for line in asked.text.splitlines())
        return {ref: found for found, _, ref in lines if ref in refs}

    def _unreachable(self, finished: Finished) -> FarmTrouble:
        if "No space left" in finished.error_text:
            return FarmTrouble("the disk is full", details=finished.tail(5), resolution="Free room on it.")
        return FarmTrouble(
            f"the trunk cannot be read: {_why_unreachable(finished)}",
            where=self.branch.location,
            details=finished.tail(10),
            resolution="Check the location in the recipe, and that the farm's user may read it from this machine.",
        )

    def _mirror_with(self, revision: str, ref: str = "") -> Path:
        """The mirror with ``revision``, fetched when it is not there yet; PackageFault when it is gone."""
        if not OBJECT_ID.fullmatch(revision):
            raise PackageFault(f"{revision!r} is no commit id", where=self.branch.location)
        mirror = mirror_path(self.cache, self.branch, ".git" if len(revision) == 40 else ".git256")
        if _has(mirror, revision):
            return mirror
        with locked(mirror.with_name(mirror.name + ".lock"), self.limits.fetch_s):
            if not _has(mirror, revision):
                _make_mirror(mirror, "sha1" if len(revision) == 40 else "sha256")
                self._fetch(mirror, ref or self._ref)
                if not _has(mirror, revision):
                    raise self._gone(revision)
        return mirror

    def _fetch(self, mirror: Path, ref: str) -> None:
        # Branches live under the hash of their name: `a` may have become `a/b` since.
        kept_as = f"refs/trunk/{hashlib.sha256(ref.encode()).hexdigest()[:24]}"
        words = ("fetch", "--quiet", "--no-write-fetch-head", "--", self._source, f"+{ref}:{kept_as}")
        fetched = _git(mirror, *words, timeout_s=self.limits.fetch_s)
        if not fetched.ok and ".lock" in fetched.error_text:
            # Whoever left these was killed: nobody else writes here while we hold the mirror's lock.
            for left in (*mirror.glob("*.lock"), *(mirror / "refs").rglob("*.lock")):
                left.unlink(missing_ok=True)
            fetched = _git(mirror, *words, timeout_s=self.limits.fetch_s)
        if not fetched.ok:
            raise self._unreachable(fetched)

    def _gone(self, revision: str) -> PackageFault:
        return PackageFault(
            f"the branch was rewritten: commit {revision} is gone from it",
            where=f"{self.branch.location} {self.branch.branch}".rstrip(),
            resolution="Nothing is to be done when the rewriting was meant: what replaced the commit has a run of"
            " its own. Else push the commit again and start this run once more.",
        )

    def _infos(self, mirror: Path, revisions: Sequence[str]) -> tuple[RevisionInfo, ...]:
        """Consecutive mainline commits, oldest first, as people are told of them."""
        if not revisions:
            return ()
        first_revno = int(git(mirror, "rev-list", "--first-parent", "--count", revisions[0]).output)
        tagged = bool(git(mirror, "for-each-ref", "--count=1", "refs/tags").output)
        infos: list[RevisionInfo] = []
        for start in range(0, len(revisions), LOG_CHUNK):
            chunk = revisions[start : start + LOG_CHUNK]
            tags = _latest_tags(mirror, chunk) if tagged else itertools.repeat("")
            revno = first_revno + start
            for number, (fields, tag) in enumerate(zip(_log(mirror, chunk), tags, strict=False)):
                revision, name, mail, committed_at, summary = fields
                infos.append(
                    RevisionInfo(
                        "git",
                        self.branch.location,
                        self.branch.branch,
                        revision,
                        revno + number,
                        max(0, int(committed_at or 0)),
                        clean_author(name, mail),
                        clean_text(summary),
                        tag,
                    )
                )
        return tuple(infos)

    def _write(
        self, repository: Path, revision: str, subdir: str, destination: Path, index: Path
    ) -> tuple[str, ...]:
        treeish = f"{revision}:{subdir.strip('/')}" if subdir.strip("/") else revision
        if subdir and _git(repository, "cat-file", "-t", treeish).output.strip() != b"tree":
            raise PackageFault(
                f"the branch has no directory {subdir!r} at {revision[:10]}", where=self.branch.location
            )
        entries = _list(repository, treeish)
        check_entries(entries)
        destination.mkdir(parents=True, exist_ok=True)
        env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(destination.resolve())}
        git(repository, "read-tree", treeish, env=env)
        git(
            repository,
            "checkout-index",
            "--all",
            "--quiet",
            env=env,
            cwd=destination,
            timeout_s=self.limits.fetch_s,
        )
        return tuple(
            f"submodule {show_path(entry.path)}: left out" for entry in entries if entry.kind == "submodule"
        )

    def _merged(self, mirror: Path, revision: str, merges: Sequence[Merge], scratch: Path) -> Path:
        """A scratch repository whose HEAD is ``revision`` with all ``merges`` merged in turn."""
        sources = [mirror]
        for merge in merges:
            if not isinstance(merge.trunk, GitTrunk):
                raise PackageFault(
                    f"{merge.name}: only a git branch can be merged into a git trunk",
                    resolution="Nest the branch instead, or name one in git.",
                )
            sources.append(merge.trunk._mirror_with(merge.revision))
            check_entries(_list(sources[-1], merge.revision))
        check_entries(_list(mirror, revision))
        scratch.mkdir()
        git(None, "init", "--quiet", "--template=", "--", str(scratch))
        repository = scratch / ".git"
        _set_attributes(repository)
        (repository / "objects" / "info").mkdir(exist_ok=True)
        (repository / "objects" / "info" / "alternates").write_text(
            "".join(f"{source.resolve()}/objects\n" for source in sources), encoding="utf-8"
        )
        env = {"GIT_WORK_TREE": str(scratch), **_fixed_identity()}
        limit_s = self.limits.fetch_s
        git(repository, "checkout", "--quiet", "--detach", revision, env=env, cwd=scratch, timeout_s=limit_s)
        for merge in merges:
            words = ("merge", "--quiet", "--no-ff", "--no-verify", "-m", f"Merge {merge.name}", merge.revision)
            merged = _git(repository, *words, env=env, cwd=scratch, timeout_s=limit_s)
            if not merged.ok:
                raise _conflict(merge, merged, _git(repository, "ls-files", "-u", "-z", env=env, cwd=scratch))
        return repository


def git(
    repository: Path | None,
    *words: str,
    timeout_s: float = READ_LIMIT_S,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    input_bytes: bytes = b"",
) -> Finished:
    """Run git to a good end, or raise FarmTrouble."""
    finished = _git(repository, *words, timeout_s=timeout_s, env=env, cwd=cwd, input_bytes=input_bytes)
    if not finished.ok:
        full = "No space left" in finished.error_text
        raise FarmTrouble(
            "the disk is full" if full else f"git {words[0]} {how_it_ended(finished)}",
            where=str(repository or ""),
            details=finished.tail(10),
            resolution="Free room on the farm's disk."
            if full
            else "If the mirror is damaged, remove its directory: it is made again.",
        )
    return finished


def _git(
    repository: Path | None,
    *words: str,
    timeout_s: float = READ_LIMIT_S,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    input_bytes: bytes = b"",
) -> Finished:
    where = [] if repository is None else [f"--git-dir={repository.resolve()}"]
    return run(
        ["git", *where, *words],
        timeout_s=timeout_s,
        env=_environment() | dict(env or {}),
        cwd=cwd or Path("/"),
        input_bytes=input_bytes,
    )


def _why_unreachable(finished: Finished) -> str:
    """git's own last word on why a repository cannot be read, or how it ended when it had none."""
    how = f"git {how_it_ended(finished)}"
    if finished.timed_out or finished.output_limit_hit or finished.returncode < 0:
        return how
    # That sentence only follows what went wrong: git's own line, or ssh's.
    said = finished.error_text.partition("fatal: Could not read from remote repository")[0].splitlines()
    lines = [line.strip() for line in said if line.strip()]
    fatal = [line for line in lines if line.startswith("fatal: ")]
    last = show_path(redact((fatal or lines or [how])[-1])).removeprefix("fatal: ").rstrip(":")
    return last if len(last) <= REASON_LIMIT else last[: REASON_LIMIT - 1] + "…"


def _environment() -> dict[str, str]:
    return reaching_environment(
        GIT_CONFIG_NOSYSTEM="1",
        GIT_CONFIG_GLOBAL=str(CONFIG),
        GIT_ATTR_NOSYSTEM="1",
        GIT_NO_REPLACE_OBJECTS="1",
        GIT_TERMINAL_PROMPT="0",
        GIT_ASKPASS="/bin/false",
        SSH_ASKPASS="/bin/false",
        # These three win over the configuration of a repository that is fetched from.
        GIT_ALLOW_PROTOCOL="file:git:http:https:ssh",
        GIT_SSH_COMMAND=SSH,
        GIT_NO_LAZY_FETCH="1",
    )


def read_ref(path: Path, ref: str) -> str:
    """The id a ref has in the local repository at ``path``, read from its files; "" when git must be asked.

    As gitrepository-layout(5) has it: a loose ref wins over packed-refs, HEAD and other symbolic refs name
    another ref. Linked worktrees, reftables and whatever else is unusual have no such files and are left to git.
    """
    root = path / ".git" if (path / ".git").is_dir() else path
    try:
        for _ in range(5):
            loose = root / ref
            if not loose.is_file():
                return _packed_ref(root / "packed-refs", ref)
            content = loose.read_text(encoding="utf-8").strip()
            if OBJECT_ID.fullmatch(content):
                return content
            if not content.startswith("ref: refs/") or ".." in content:
                return ""
            ref = content.removeprefix("ref: ")
    except (OSError, UnicodeDecodeError):
        return ""
    return ""


def _packed_ref(packed: Path, ref: str) -> str:
    wanted = b" " + ref.encode()
    with packed.open("rb") as lines:
        for line in lines:
            if line.rstrip().endswith(wanted):
                found, _, name = line.rstrip().decode().partition(" ")
                if name == ref and OBJECT_ID.fullmatch(found):
                    return found
    return ""


def _make_mirror(mirror: Path, object_format: str) -> None:
    if mirror.is_dir():
        return
    fresh = mirror.with_name(mirror.name + ".new")
    remove_tree(fresh)
    git(None, "init", "--quiet", "--bare", "--template=", f"--object-format={object_format}", "--", str(fresh))
    _set_attributes(fresh)
    fresh.rename(mirror)


def _set_attributes(repository: Path) -> None:
    (repository / "info").mkdir(exist_ok=True)
    (repository / "info" / "attributes").write_text(ATTRIBUTES, encoding="utf-8")


def _has(repository: Path, revision: str) -> bool:
    return repository.is_dir() and _git(repository, "cat-file", "-e", revision + "^{commit}").ok


def _answer(repository: Path, *words: str) -> bool:
    """A question that git answers with exit status 0 or 1."""
    asked = _git(repository, *words)
    if asked.returncode not in (0, 1) or asked.timed_out:
        raise FarmTrouble(f"git {words[0]} {how_it_ended(asked)}", details=asked.tail(10))
    return asked.ok


def _log(repository: Path, revisions: Sequence[str]) -> Iterator[tuple[str, str, str, str, str]]:
    """For each revision: id, author's name, mail, commit time, summary."""
    listed = "".join(f"{revision}\n" for revision in revisions).encode()
    words = ("log", "--no-walk=unsorted", "--stdin", "--no-notes", "--encoding=UTF-8", f"--format={LOG_FORMAT}")
    told = git(repository, *words, input_bytes=listed).output.decode("utf-8", "replace").split("\0")
    for start in range(0, len(told) - 1, 5):
        revision, name, mail, committed_at, summary = told[start : start + 5]
        yield revision.strip(), name, mail, committed_at, summary


def _latest_tags(repository: Path, revisions: Sequence[str]) -> Iterator[str]:
    """For each revision the nearest tag; git-describe(1) gives the id itself where there is none."""
    told = git(repository, "describe", "--tags", "--abbrev=0", "--always", *revisions).text.splitlines()
    for revision, tag in zip(revisions, told, strict=True):
        yield "" if tag == revision else clean_text(tag)


def _list(repository: Path, treeish: str) -> list[Entry]:
    """What a tree holds. Counted before sizes are asked for: a small repository can unfold to a billion files."""
    names = _git(repository, "ls-tree", "-r", "-z", "--full-tree", treeish)
    if names.output_limit_hit:
        raise PackageFault(
            f"the tree's list of files is longer than {len(names.output)} bytes",
            resolution="Take what is no source out of the branch, or split the package.",
        )
    check_size(names.output.count(b"\0"), 0)
    listed = git(repository, "ls-tree", "-r", "-l", "-z", "--full-tree", treeish)
    return [_entry(line) for line in listed.output.split(b"\0")[:-1]]


def _entry(line: bytes) -> Entry:
    # <mode> SP <type> SP <object> SP <size, padded> TAB <path>
    head, _, path = line.partition(b"\t")
    mode, kind, _, size = head.split()
    if kind == b"commit":
        return Entry(path, "submodule")
    return Entry(path, "symlink" if mode == b"120000" else "file", int(size))


def _fixed_identity() -> dict[str, str]:
    """Who merges, and when: always the same, so that the same merge is the same commit."""
    names = {f"GIT_{role}_{what}": "buildfarm" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return names | {"GIT_AUTHOR_DATE": "@0 +0000", "GIT_COMMITTER_DATE": "@0 +0000"}


def _conflict(merge: Merge, merged: Finished, unmerged: Finished) -> PackageFault:
    paths = sorted({line.partition(b"\t")[2] for line in unmerged.output.split(b"\0")[:-1]})
    return PackageFault(
        f"{merge.name} cannot be merged: {len(paths)} files conflict"
        if paths
        else f"{merge.name} cannot be merged",
        where=merge.trunk.branch.location,
        details="\n".join(map(show_path, paths)) or merged.text + merged.tail(10),
        resolution="Merge the branch by hand, solve the conflicts, and commit that to one of the two.",
    )
