"""However polls fall between pushes, each mainline commit is told exactly once."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildfarm.job import Branch
from buildfarm.trunk import open_trunk

# A history is a list of commits; each names how far back its first parent is, and maybe a second one's distance.
HISTORIES = st.lists(st.tuples(st.integers(1, 3), st.none() | st.integers(1, 5)), min_size=1, max_size=12)
BOUNDED = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def parents_of(history) -> list[list[int]]:
    """For each commit the numbers of its parents; commit 0 is the root."""
    parents: list[list[int]] = [[]]
    for first, second in history:
        here = len(parents)
        mine = [max(0, here - first)]
        if second is not None and (other := max(0, here - second)) != mine[0]:
            mine.append(other)
        parents.append(mine)
    return parents


def ancestors(parents: list[list[int]], start: int) -> set[int]:
    found: set[int] = set()
    waiting = [start]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += parents[one]
    return found


def mainline(parents: list[list[int]], start: int) -> list[int]:
    line = [start]
    while parents[line[-1]]:
        line.append(parents[line[-1]][0])
    return line[::-1]


def check_any_split(trunk, ids: list[str], parents: list[list[int]], polls: list[int]) -> None:
    """Poll when the branch stands at each of ``polls``; compare with what the graph says."""
    old, told = -1, []
    for now in polls:
        news = trunk.commits_between(ids[old] if old >= 0 else "", ids[now])
        had = ancestors(parents, old) if old >= 0 else set(mainline(parents, now)[:-1])
        wanted = [one for one in mainline(parents, now) if one not in had]
        assert [commit.revision for commit in news.commits] == [ids[one] for one in wanted]
        assert [commit.revno for commit in news.commits] == [len(mainline(parents, one)) for one in wanted]
        assert news.rewritten == (old >= 0 and old not in ancestors(parents, now))
        if not news.rewritten:
            told += wanted
            assert len(told) == len(set(told))
        else:
            told = wanted
        old = now


@given(history=HISTORIES, data=st.data())
@BOUNDED
def test_in_git(history, data):
    parents = parents_of(history)
    polls = data.draw(st.lists(st.integers(0, len(history)), min_size=1, max_size=4))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "trunk")
        subprocess.run(["git", "init", "-q", "--bare", path], check=True)
        stream = ""
        for number, mine in enumerate(parents):
            stream += (
                f"commit refs/heads/c{number}\nmark :{number + 1}\ncommitter A <a@b> {1700000000 + number} +0000\n"
            )
            stream += f"data 1\nc\n{f'from :{mine[0] + 1}' if mine else ''}\n"
            stream += "".join(f"merge :{other + 1}\n" for other in mine[1:])
        subprocess.run(["git", "fast-import", "--quiet"], cwd=path, input=stream, text=True, check=True)
        ids = [
            subprocess.run(
                ["git", "rev-parse", *(f"c{n}" for n in range(len(parents)))],
                cwd=path,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()
        ][0]

        class Pushed:
            """The trunk, whose branch is moved to what is asked for before each look."""

            def commits_between(self, old, new):
                subprocess.run(["git", "update-ref", "refs/heads/main", new], cwd=path, check=True)
                return open_trunk(Branch("git", str(path), "main"), Path(directory, "cache")).commits_between(
                    old, new
                )

        check_any_split(Pushed(), ids, parents, polls)


@given(history=HISTORIES, data=st.data())
@BOUNDED
def test_in_bazaar(history, data):
    from breezy.branchbuilder import BranchBuilder
    from breezy.controldir import ControlDir
    from breezy.transport import get_transport

    import buildfarm.trunk.breezy_room  # noqa: F401 (sets breezy up without the user's configuration)

    parents = parents_of(history)
    polls = data.draw(st.lists(st.integers(0, len(history)), min_size=1, max_size=4))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "trunk")
        path.mkdir()
        builder = BranchBuilder(get_transport(str(path)), format="2a")
        ids = [f"rev-{number}" for number in range(len(parents))]
        builder.start_series()
        for number, mine in enumerate(parents):
            actions = [("add", ("", b"root-id", "directory", None))] if not mine else []
            builder.build_snapshot(
                [ids[one].encode() for one in mine] or None,
                actions,
                revision_id=ids[number].encode(),
                committer="A <a@b>",
            )
        builder.finish_series()
        branch = builder.get_branch()

        class Pushed:
            """The trunk, whose branch is moved to what is asked for before each look."""

            def commits_between(self, old, new):
                with branch.lock_write():
                    branch.generate_revision_history(new.encode())
                return open_trunk(Branch("bzr", str(path)), Path(directory, "cache")).commits_between(old, new)

        check_any_split(Pushed(), ids, parents, polls)
        assert ControlDir.open(str(path))
