"""The checkout stage: what stands in tree/ afterwards, and what is said when it cannot."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from buildfarm.files import remove_tree
from buildfarm.job import Branch, Job, SourcePart
from buildfarm.settings import Settings
from buildfarm.stages.runner import run_stage
from buildfarm.trunk import open_trunk, read_revisions
from buildfarm.verdict import Verdict
from buildfarm.workspace import Workspace


@pytest.fixture
def farm(tmp_path):
    """Runs checkout for a trunk at its tip, in one workspace."""

    class Farm:
        settings = Settings(tmp_path, tmp_path / "var", tmp_path / "recipes")
        workspace = Workspace(tmp_path / "run")

        def job(self, branch: Branch, *parts: SourcePart) -> Job:
            tip = open_trunk(branch, self.settings.cache).tip()
            return Job("1", "hello", branch, tip, "local:a/b", ("trixie",), ("amd64",), parts=parts)

        def checkout(self, branch: Branch, *parts: SourcePart):
            self.workspace.write_job(self.job(branch, *parts))
            return self.run()

        def run(self):
            return run_stage("checkout", self.workspace, self.settings)

        @property
        def tree(self) -> Path:
            return self.workspace.tree

    return Farm()


@pytest.fixture
def second(git_repository, tmp_path):
    """Another git repository beside the trunk's."""
    other = type(git_repository)(tmp_path / "second", git_repository.home)
    other.path.mkdir()
    other.git("init", "-q", "-b", "main")
    return other


def test_later_stages_read_where_the_tree_came_from(farm, git_repository):
    revision = git_repository.commit("Say hello", {"hello.py": "print('hello')\n"})
    result = farm.checkout(git_repository.branch)
    assert result.verdict is Verdict.PASS, (result.reason, result.details)
    assert (farm.tree / "hello.py").read_text() == "print('hello')\n"
    assert not (farm.tree / ".git").exists()
    info = read_revisions(farm.workspace)[""]
    assert info == open_trunk(git_repository.branch, farm.settings.cache).describe(revision)
    for name in ("revision", "revno", "committed_at", "author", "summary", "vcs"):
        assert result.facts[name] == getattr(info, name)
    assert result.facts["short"] == revision[:10]
    assert result.facts["branches"][0]["name"] == ""
    assert len(result.facts["tree_sha256"]) == 64
    assert result.tools["git"]


def test_git_and_bazaar_give_the_same_tree_for_the_same_content(farm, git_repository, bzr_repository):
    files = {"a": "1", "b/c": "2", "b/d e": "3"}
    git_repository.commit("one", files)
    bzr_repository.commit("one", files)
    digests = {
        farm.checkout(branch).facts["tree_sha256"] for branch in (git_repository.branch, bzr_repository.branch)
    }
    assert len(digests) == 1


def test_a_checkout_is_kept_while_its_tree_is_there(farm, git_repository):
    git_repository.commit("one")
    first = farm.checkout(git_repository.branch)
    assert farm.run() == first
    remove_tree(farm.tree)
    again = farm.run()
    assert again.started_at != first.started_at
    assert (farm.tree / "file").read_text() == "one"


def test_what_stood_in_the_tree_before_is_gone(farm, git_repository):
    git_repository.commit("one")
    (farm.tree / "left").mkdir(parents=True)
    farm.tree.joinpath("left", "over").touch()
    farm.checkout(git_repository.branch)
    assert [path.name for path in farm.tree.iterdir()] == ["file"]


def test_packaging_is_nested_from_another_branch(farm, git_repository, bzr_repository):
    git_repository.commit("one", {"hello.py": "x"})
    bzr_repository.commit("pack", {"control": "c", "rules": "r"})
    (bzr_repository.path / "copyright").symlink_to("../hello.py")
    bzr_repository.commit("link")
    result = farm.checkout(
        git_repository.branch, SourcePart("nest", "packaging", bzr_repository.branch, into="debian")
    )
    assert result.verdict is Verdict.PASS, (result.reason, result.details)
    assert (farm.tree / "debian" / "copyright").read_text() == "x"
    revisions = read_revisions(farm.workspace)
    assert (revisions["packaging"].revno, revisions["packaging"].vcs) == (2, "bzr")
    assert result.assumed == ("packaging: the recipe names no revision, so its tip r2 was taken",)


def test_a_directory_of_another_branch_is_nested_at_the_revision_asked_for(farm, git_repository, second):
    git_repository.commit("one", {"hello.py": "x"})
    second.commit("pack", {"debian/control": "old", "junk": "j"})
    second.git("tag", "1.0")
    second.commit("pack again", {"debian/control": "new"})
    part = SourcePart("nest-part", "packaging", second.branch, into="debian", subdir="debian", revision="1.0")
    result = farm.checkout(git_repository.branch, part)
    assert result.verdict is Verdict.PASS, (result.reason, result.details)
    assert (farm.tree / "debian" / "control").read_text() == "old"
    assert not (farm.tree / "junk").exists()
    assert result.assumed == ()


@pytest.mark.parametrize(
    ("into", "message"),
    [
        ("debian", "the tree has that already"),
        ("debian/control", "the tree has that already"),
        ("../out", "no place inside"),
        ("/etc/x", "no place inside"),
    ],
)
def test_a_branch_is_never_nested_over_something(farm, git_repository, second, into, message):
    git_repository.commit("one", {"debian/control": "x"})
    second.commit("pack", {"control": "y"})
    result = farm.checkout(git_repository.branch, SourcePart("nest", "packaging", second.branch, into=into))
    assert (result.verdict, message in result.reason) == (Verdict.FAIL, True), result
    assert not (farm.tree.parent / "out").exists()


def test_a_nested_link_may_not_leave_the_tree(farm, git_repository, second):
    git_repository.commit("one")
    (second.path / "bad").symlink_to("../../outside")
    second.commit("link")
    result = farm.checkout(git_repository.branch, SourcePart("nest", "p", second.branch, into="debian"))
    assert (result.verdict, result.where) == (Verdict.FAIL, "bad")
    assert "../../outside" in result.details


def fork(repository, tmp_path):
    """A second branch of the same history."""
    path = tmp_path / "fork"
    if (repository.path / ".git").exists():
        repository.git("clone", "-q", ".", path)
    else:
        repository.bzr("branch", "-q", ".", path)
    return type(repository)(path, repository.home, repository.clock + 100_000)


@pytest.fixture(params=["git_repository", "bzr_repository"])
def repository(request):
    return request.getfixturevalue(request.param)


def test_a_branch_is_really_merged(farm, repository, tmp_path):
    base = "".join(f"line {n}\n" for n in range(20))
    repository.commit("base", {"text": base, "gone": "x"})
    other = fork(repository, tmp_path)
    other.commit("theirs", {"text": base.replace("line 2\n", "line two\n"), "new": "n"})
    repository.commit("ours", {"text": base.replace("line 17\n", "line seventeen\n")})
    part = SourcePart("merge", "fixes", other.branch)
    result = farm.checkout(repository.branch, part)
    assert result.verdict is Verdict.PASS, (result.reason, result.details)
    text = (farm.tree / "text").read_text()
    assert ("line two\n" in text, "line seventeen\n" in text) == (True, True)
    assert (farm.tree / "new").read_text() == "n"
    assert sorted(path.name for path in farm.tree.iterdir()) == ["gone", "new", "text"]
    digest = result.facts["tree_sha256"]
    remove_tree(farm.workspace.path)
    assert farm.checkout(repository.branch, part).facts["tree_sha256"] == digest


def test_a_conflict_names_the_files(farm, repository, tmp_path):
    repository.commit("base", {"text": "base\n", "other": "x\n"})
    other = fork(repository, tmp_path)
    other.commit("theirs", {"text": "theirs\n"})
    repository.commit("ours", {"text": "ours\n"})
    result = farm.checkout(repository.branch, SourcePart("merge", "fixes", other.branch))
    assert (result.verdict, "fixes cannot be merged" in result.reason) == (Verdict.FAIL, True), result
    assert "text" in result.details
    assert "other" not in result.details
    assert result.resolution


def test_merging_what_is_merged_already_changes_nothing(farm, repository, tmp_path):
    repository.commit("base", {"text": "base\n"})
    other = fork(repository, tmp_path)
    repository.commit("ours", {"text": "ours\n"})
    plain = farm.checkout(repository.branch)
    merged = farm.checkout(repository.branch, SourcePart("merge", "fixes", other.branch))
    assert merged.verdict is Verdict.PASS, merged
    assert merged.facts["tree_sha256"] == plain.facts["tree_sha256"]


def test_histories_that_never_met_are_not_merged(farm, repository, tmp_path):
    repository.commit("base", {"text": "base\n"})
    other = type(repository)(tmp_path / "stranger", repository.home)
    other.path.mkdir()
    if repository.branch.vcs == "git":
        other.git("init", "-q", "-b", "main")
    else:
        other.bzr("init", "-q")
    other.commit("stranger", {"other": "x"})
    result = farm.checkout(repository.branch, SourcePart("merge", "strange", other.branch))
    assert (result.verdict, "strange cannot be merged" in result.reason) == (Verdict.FAIL, True), result


def test_git_cannot_be_merged_into_bazaar(farm, git_repository, bzr_repository):
    git_repository.commit("one")
    bzr_repository.commit("one")
    for trunk, other in ((git_repository, bzr_repository), (bzr_repository, git_repository)):
        result = farm.checkout(trunk.branch, SourcePart("merge", "x", other.branch))
        assert (result.verdict, "can be merged into a" in result.reason) == (Verdict.FAIL, True), result


def test_a_merge_obeys_no_attributes_of_the_branches(farm, git_repository, tmp_path):
    git_repository.commit("base", {".gitattributes": "* text eol=crlf ident\n", "a": "1\n", "b": "$Id$\n"})
    other = fork(git_repository, tmp_path)
    other.commit("theirs", {"c": "3\n"})
    git_repository.commit("ours", {"a": "2\n"})
    result = farm.checkout(git_repository.branch, SourcePart("merge", "fixes", other.branch))
    assert result.verdict is Verdict.PASS, (result.reason, result.details)
    assert {name: (farm.tree / name).read_bytes() for name in "abc"} == {"a": b"2\n", "b": b"$Id$\n", "c": b"3\n"}


def test_an_unreachable_trunk_is_an_error_and_a_lost_commit_a_failure(farm, git_repository, tmp_path):
    git_repository.commit("one")
    job = farm.job(git_repository.branch)
    farm.workspace.write_job(dataclasses.replace(job, revision="1" * 40))
    lost = farm.run()
    assert (lost.verdict, "rewritten" in lost.reason, bool(lost.resolution)) == (Verdict.FAIL, True, True)
    farm.workspace.write_job(job)
    git_repository.path.rename(tmp_path / "moved")
    remove_tree(farm.settings.cache)
    gone = farm.run()
    assert (gone.verdict, gone.where) == (Verdict.ERROR, str(git_repository.path))
    assert gone.resolution
    assert not (farm.workspace.path / "checkout" / "revision.json").exists()


def test_a_checkout_of_another_revision_is_not_kept(farm, git_repository):
    old = git_repository.commit("one")
    git_repository.commit("two")
    farm.checkout(git_repository.branch)
    farm.workspace.write_job(dataclasses.replace(farm.workspace.read_job(), revision=old))
    assert farm.run().facts["revision"] == old
    assert (farm.tree / "file").read_text() == "one"


@pytest.mark.parametrize(
    "edit",
    [
        lambda tree: (tree / "z").write_text("edited"),
        lambda tree: (tree / "new").touch(),
        lambda tree: (tree / "z").unlink(),
        lambda tree: (tree / "z").chmod(0o755),
    ],
    ids=["content", "another file", "a file less", "executable"],
)
def test_a_checkout_whose_tree_was_edited_is_made_again(farm, git_repository, edit):
    git_repository.commit("one", {"a": "1", "z": "2"})
    first = farm.checkout(git_repository.branch)
    edit(farm.tree)
    again = farm.run()
    assert again.started_at != first.started_at
    assert again.facts["tree_sha256"] == first.facts["tree_sha256"]
    assert sorted(path.name for path in farm.tree.iterdir()) == ["a", "z"]
    assert (farm.tree / "z").read_text() == "2"
