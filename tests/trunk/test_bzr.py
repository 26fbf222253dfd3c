"""Trunks in Bazaar: the same promises as in git, on local branches and over a network."""

from __future__ import annotations

import os
import threading

import pytest

from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.job import Branch
from buildfarm.trunk import TimeLimits, bzr_child, open_trunk, tree

SHORT = TimeLimits(ask_s=1.5, fetch_s=1.5)


def summaries(news) -> list[str]:
    return [commit.summary for commit in news.commits]


def test_several_commits_between_two_polls_are_several_commits(bzr_repository, cache):
    first = bzr_repository.commit("one")
    trunk = open_trunk(bzr_repository.branch, cache)
    assert trunk.tip() == first
    assert summaries(trunk.commits_between("", first)) == ["one"]
    bzr_repository.bzr("tag", "v1.0")
    for message in ("two", "three"):
        bzr_repository.commit(message)
    news = trunk.commits_between(first, trunk.tip())
    assert summaries(news) == ["two", "three"]
    assert [(commit.revno, commit.latest_tag) for commit in news.commits] == [(2, "v1.0"), (3, "v1.0")]
    assert not news.rewritten
    assert trunk.commits_between(trunk.tip(), trunk.tip()).commits == ()


def test_a_revision_is_described_in_full(bzr_repository, cache):
    bzr_repository.bzr("commit", "-q", "--unchanged", "--author=Bob <b@x>", "-m", "Say it\n\nAt \x07length.")
    info = open_trunk(bzr_repository.branch, cache).describe(bzr_repository.tip())
    assert (info.vcs, info.location, info.branch, info.revno) == ("bzr", str(bzr_repository.path), "", 1)
    assert (info.revision, info.author, info.summary) == (bzr_repository.tip(), "Bob <b@x>", "Say it")
    assert info.committed_at > 1_600_000_000
    assert (info.latest_tag, info.short) == ("", "r1")


def test_a_merge_is_one_commit_of_the_mainline(bzr_repository, cache, tmp_path):
    first = bzr_repository.commit("one")
    bzr_repository.bzr("branch", "-q", ".", tmp_path / "feature")
    side = type(bzr_repository)(tmp_path / "feature", bzr_repository.home)
    side.commit("side 1", {"side": "1"})
    side.commit("side 2", {"side": "2"})
    bzr_repository.commit("two")
    bzr_repository.bzr("merge", "-q", side.path)
    bzr_repository.bzr("commit", "-q", "-m", "merge feature")
    trunk = open_trunk(bzr_repository.branch, cache)
    news = trunk.commits_between(first, trunk.tip())
    assert summaries(news) == ["two", "merge feature"]
    assert [commit.revno for commit in news.commits] == [2, 3]
    assert trunk.resolve("1.1.2") == side.tip()


def test_uncommit_and_overwrite_give_what_stands_there_now(bzr_repository, cache, tmp_path):
    base = bzr_repository.commit("base")
    bzr_repository.bzr("branch", "-q", ".", tmp_path / "other")
    other = type(bzr_repository)(tmp_path / "other", bzr_repository.home)
    old = bzr_repository.commit("lost")
    trunk = open_trunk(bzr_repository.branch, cache)
    bzr_repository.bzr("uncommit", "-q", "--force")
    news = trunk.commits_between(old, trunk.tip())
    assert (trunk.tip(), news.commits, news.rewritten) == (base, (), True)
    other.commit("kept 1")
    other.commit("kept 2")
    other.bzr("push", "-q", "--overwrite", bzr_repository.path)
    news = trunk.commits_between(old, trunk.tip())
    assert (summaries(news), news.rewritten) == (["kept 1", "kept 2"], True)


def test_an_unrelated_branch_in_its_place_gives_only_its_tip(bzr_repository, cache, tmp_path):
    old = bzr_repository.commit("before")
    fresh = type(bzr_repository)(tmp_path / "fresh", bzr_repository.home)
    fresh.path.mkdir()
    fresh.bzr("init", "-q")
    fresh.commit("new 1")
    fresh.commit("new 2")
    fresh.bzr("push", "-q", "--overwrite", bzr_repository.path)
    trunk = open_trunk(bzr_repository.branch, cache)
    news = trunk.commits_between(old, trunk.tip())
    assert (summaries(news), news.rewritten) == (["new 2"], True)
    news = trunk.commits_between("never-heard-of", trunk.tip())
    assert (summaries(news), news.rewritten) == (["new 2"], True)


def test_recipes_name_revisions_by_number_tag_and_id(bzr_repository, cache):
    first = bzr_repository.commit("one")
    bzr_repository.bzr("tag", "1.0")
    bzr_repository.bzr("tag", "release:2")
    tip = bzr_repository.commit("two")
    trunk = open_trunk(bzr_repository.branch, cache)
    assert trunk.resolve("") == tip
    assert trunk.resolve("1") == first
    assert trunk.resolve("revno:2") == tip
    assert trunk.resolve("1.0") == first
    assert trunk.resolve("tag:1.0") == first
    assert trunk.resolve("release:2") == first
    assert trunk.resolve(f"revid:{tip}") == tip
    assert trunk.resolve(tip) == tip
    for nonsense in ("3", "0", "revno:1.0", "tag:none", "branch:/etc", "revno:1:/etc", "-1", "last:1", "revid:x"):
        with pytest.raises(PackageFault, match="neither a revision number"):
            trunk.resolve(nonsense)


def test_of_two_tags_on_a_revision_the_later_version_is_the_latest(bzr_repository, cache):
    tip = bzr_repository.commit("one")
    for name in ("v1.9", "v1.10"):
        bzr_repository.bzr("tag", name)
    assert open_trunk(bzr_repository.branch, cache).describe(tip).latest_tag == "v1.10"


def test_content_comes_exactly_as_committed(bzr_repository, cache, tmp_path):
    files = {
        ".bzrignore": "*.o\n",
        "with space/and 'quotes' \"double\"": "x",
        "caf\u00e9 \u2603": b"\0\1\2\xff",
        "crlf": "one\r\ntwo\r\n",
        "-dash": "z",
        "empty": "",
        "big": b"0123456789" * 300_000,
    }
    bzr_repository.write(files)
    (bzr_repository.path / "run.sh").write_text("#!/bin/sh\n")
    (bzr_repository.path / "run.sh").chmod(0o755)
    (bzr_repository.path / "link").symlink_to("with space")
    (bzr_repository.path / "hollow").mkdir()
    revision = bzr_repository.commit("odd", {"more": "x"})
    out = tmp_path / "out"
    assert open_trunk(bzr_repository.branch, cache).export(revision, out) == ()
    found = {str(path.relative_to(out)) for path in tree.walk(out)}
    assert found == {*files, "with space", "run.sh", "link", "hollow", "more"}
    for name, content in files.items():
        assert (out / name).read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert os.access(out / "run.sh", os.X_OK)
    assert not os.access(out / "empty", os.X_OK)
    assert str((out / "link").readlink()) == "with space"


def test_a_directory_of_the_branch_can_be_taken_alone(bzr_repository, cache, tmp_path):
    tip = bzr_repository.commit("one", {"debian/control": "c", "debian/sub/x": "x", "debian2": "o"})
    trunk = open_trunk(bzr_repository.branch, cache)
    trunk.export(tip, tmp_path / "out", subdir="debian")
    assert {str(path.relative_to(tmp_path / "out")) for path in tree.walk(tmp_path / "out")} == {
        "control",
        "sub",
        "sub/x",
    }
    for missing in ("nothing", "debian/control"):
        with pytest.raises(PackageFault, match="no directory"):
            trunk.export(tip, tmp_path / "out2", subdir=missing)


def test_links_out_of_the_tree_and_hostile_names_are_refused(bzr_repository, cache, tmp_path):
    (bzr_repository.path / "sub").mkdir()
    (bzr_repository.path / "sub" / "bad").symlink_to("../../outside")
    trunk = open_trunk(bzr_repository.branch, cache)
    with pytest.raises(PackageFault, match="out of the tree") as caught:
        trunk.export(bzr_repository.commit("link"), tmp_path / "out")
    assert (caught.value.where, "../../outside" in caught.value.details) == ("sub/bad", True)
    (bzr_repository.path / "sub" / "bad").unlink()
    with pytest.raises(PackageFault, match=r"\.git is named like"):
        trunk.export(bzr_repository.commit("git", {".git/config": "[core]"}), tmp_path / "out2")


def test_what_is_no_usable_branch_is_the_farms_trouble(bzr_repository, cache, tmp_path):
    for location in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(FarmTrouble, match="no Bazaar branch") as caught:
            open_trunk(Branch("bzr", str(location)), cache).tip()
        assert caught.value.resolution
    with pytest.raises(FarmTrouble, match="no commits yet"):
        open_trunk(bzr_repository.branch, cache).tip()
    (tmp_path / "git" / ".git").mkdir(parents=True)
    with pytest.raises(FarmTrouble, match="no Bazaar branch"):
        open_trunk(Branch("bzr", str(tmp_path / "git")), cache).tip()


def test_a_local_branch_cannot_send_the_farm_elsewhere(bzr_repository, cache, silent_server):
    tip = bzr_repository.commit("one")
    (bzr_repository.path / ".bzr/branch/branch.conf").write_text(
        f"stacked_on_location = bzr://127.0.0.1:{silent_server.port}/x\n"
    )
    with pytest.raises(FarmTrouble, match="cannot be read"):
        open_trunk(bzr_repository.branch, cache).describe(tip)
    assert not silent_server.held


def test_a_revision_that_is_gone_is_told_as_such(bzr_repository, cache):
    tip = bzr_repository.commit("one")
    trunk = open_trunk(bzr_repository.branch, cache)
    with pytest.raises(PackageFault, match=r"rewritten.*never-was"):
        trunk.export("never-was", cache / "out")
    with pytest.raises(FarmTrouble, match="rewritten"):
        trunk.commits_between(tip, "never-was")


def test_many_threads_may_ask_at_once(bzr_repository, cache):
    first = bzr_repository.commit("one")
    tip = bzr_repository.commit("two")
    answers: list[tuple[str, list[str]]] = []

    def ask() -> None:
        trunk = open_trunk(bzr_repository.branch, cache)
        answers.extend((trunk.tip(), summaries(trunk.commits_between(first, tip))) for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [(tip, ["two"])] * 160


def test_nothing_is_read_from_or_written_to_the_users_home(bzr_repository, cache, tmp_path, monkeypatch):
    home = tmp_path / "someone"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    bzr_repository.commit("one")
    open_trunk(bzr_repository.branch, cache).export(bzr_repository.tip(), tmp_path / "out")
    assert not list(home.iterdir())


def test_a_branch_on_a_server_is_followed_through_a_mirror(bzr_repository, bzr_server, cache, tmp_path):
    first = bzr_repository.commit("one")
    trunk = open_trunk(Branch("bzr", bzr_server.url), cache)
    assert trunk.tip() == first
    assert trunk.describe(first).location == bzr_server.url
    bzr_repository.bzr("tag", "v1")
    old = bzr_repository.commit("two")
    assert summaries(trunk.commits_between(first, trunk.tip())) == ["two"]
    bzr_repository.bzr("uncommit", "-q", "--force")
    new = bzr_repository.commit("other two")
    news = trunk.commits_between(old, trunk.tip())
    assert (summaries(news), news.rewritten) == (["other two"], True)
    trunk.export(new, tmp_path / "out")
    assert (tmp_path / "out" / "file").read_text() == "other two"
    assert trunk.resolve("tag:v1") == first
    bzr_server.process.kill()
    trunk.export(old, tmp_path / "old")
    with pytest.raises(FarmTrouble, match="cannot be read") as caught:
        trunk.tip()
    assert caught.value.where == bzr_server.url


def test_a_mirror_whose_fetch_was_killed_is_used_again(bzr_repository, bzr_server, cache):
    trunk = open_trunk(Branch("bzr", bzr_server.url), cache)
    trunk.describe(bzr_repository.commit("one"))
    (mirror,) = (cache / "trunks").glob("*.bzr")
    for place in ("branch", "repository"):
        held = mirror / ".bzr" / place / "lock" / "held"
        held.mkdir()
        (held / "info").write_text("pid: 1\nhostname: elsewhere\nnonce: x\n")
    mirror.with_name(mirror.name + ".new").mkdir()
    assert trunk.describe(bzr_repository.commit("two")).summary == "two"


def test_the_child_that_asks_servers_is_used_again(bzr_repository, bzr_server, cache):
    bzr_repository.commit("one")
    trunk = open_trunk(Branch("bzr", bzr_server.url), cache)
    trunk.tip()
    (before,) = [child.pid for child in bzr_child._idle]
    for _ in range(3):
        trunk.tip()
    assert [child.pid for child in bzr_child._idle] == [before]
    bzr_child._idle[0].kill()
    bzr_child._idle[0].wait()
    assert trunk.tip() == bzr_repository.tip()


@pytest.mark.parametrize("scheme", ["bzr", "http"])
def test_a_server_that_never_answers_is_given_up(silent_server, cache, scheme):
    trunk = open_trunk(Branch("bzr", f"{scheme}://127.0.0.1:{silent_server.port}/x"), cache, limits=SHORT)
    with pytest.raises(FarmTrouble, match="did not answer within"):
        trunk.tip()
    with pytest.raises(FarmTrouble, match="did not answer within"):
        trunk.describe("some-revision")
    assert not bzr_child._idle


def test_an_unreachable_server_is_the_farms_trouble(cache):
    for location in ("bzr://127.0.0.1:1/x", "http://127.0.0.1:1/x", "bzr+ssh://127.0.0.1:1/x"):
        with pytest.raises(FarmTrouble, match="cannot be read") as caught:
            open_trunk(Branch("bzr", location), cache).tip()
        assert (caught.value.where, bool(caught.value.resolution)) == (location, True)


@pytest.fixture(autouse=True)
def end_children():
    yield
    while bzr_child._idle:
        bzr_child._kill(bzr_child._idle.pop())
