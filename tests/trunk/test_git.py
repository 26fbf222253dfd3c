"""Trunks in git: every commit once, content as committed, hostile repositories kept out."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.job import Branch
from buildfarm.trunk import TimeLimits, open_trunk, redact, summarize_tree, tree

SHORT = TimeLimits(ask_s=1.0, fetch_s=1.5)


def summaries(news) -> list[str]:
    return [commit.summary for commit in news.commits]


def listing(root: Path) -> dict[bytes, bytes | str]:
    """Every path below ``root``: a file's content, ``-> target`` for a link, ``/`` for a directory."""
    found: dict[bytes, bytes | str] = {}
    for path in tree.walk(root):
        name = os.fsencode(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = "/" if path.is_dir() else path.read_bytes()
    return found


def test_the_tip_is_found_wherever_git_keeps_the_ref(git_repository, cache, tmp_path):
    git = git_repository.git
    tip = git_repository.commit("one")
    trunk = open_trunk(git_repository.branch, cache)
    assert trunk.tip() == tip
    git("pack-refs", "--all", "--prune")
    assert not (git_repository.path / ".git/refs/heads/main").exists()
    assert trunk.tip() == tip
    assert open_trunk(Branch("git", str(git_repository.path)), cache).tip() == tip
    git("symbolic-ref", "refs/heads/alias", "refs/heads/main")
    assert open_trunk(Branch("git", str(git_repository.path), "alias"), cache).tip() == tip
    git("worktree", "add", "-q", "-b", "other", tmp_path / "linked")
    assert open_trunk(Branch("git", str(tmp_path / "linked"), "main"), cache).tip() == tip
    assert open_trunk(Branch("git", f"file://{git_repository.path}", "main"), cache).tip() == tip
    newer = git_repository.commit("two")
    assert trunk.tip() == newer


def test_a_commit_is_described_in_full(git_repository, cache):
    git_repository.commit("one")
    git_repository.git("tag", "v1.0")
    revision = git_repository.commit("Say it\n\nAt length.")
    info = open_trunk(git_repository.branch, cache).describe(revision)
    assert (info.vcs, info.location, info.branch) == ("git", str(git_repository.path), "main")
    assert (info.revision, info.revno, info.latest_tag) == (revision, 2, "v1.0")
    assert (info.author, info.summary) == ("Ann Author <ann@example.org>", "Say it")
    assert info.committed_at == int(git_repository.git("log", "-1", "--format=%ct"))
    assert info.short == revision[:10]


def test_names_and_messages_cannot_carry_anything_but_text(git_repository, cache):
    git_repository.commit("one")
    tree_id = git_repository.git("rev-parse", "HEAD^{tree}")
    raw = (
        f"tree {tree_id}\nauthor A\x1b[2J\xe9 <a@b\u202e> 1700000000 +0000\n"
        "committer C <c@d> 1700000000 +0000\n\nred \x1b[31m \x07" + "x" * 5000 + "\n"
    ).encode("latin-1", "replace")
    commit = git_repository.git("hash-object", "-t", "commit", "-w", "--stdin", "--literally", input_bytes=raw)
    git_repository.git("update-ref", "refs/heads/main", commit)
    info = open_trunk(git_repository.branch, cache).describe(commit)
    assert info.author.isprintable()
    assert info.summary.isprintable()
    assert info.summary.startswith("red [31m xxx")
    assert len(info.summary) <= 200
    assert info.author.startswith("A [2J")


def test_several_commits_between_two_polls_are_several_commits(git_repository, cache):
    first = git_repository.commit("one")
    trunk = open_trunk(git_repository.branch, cache)
    assert summaries(trunk.commits_between("", trunk.tip())) == ["one"]
    for message in ("two", "three", "four"):
        git_repository.commit(message)
    news = trunk.commits_between(first, trunk.tip())
    assert summaries(news) == ["two", "three", "four"]
    assert [commit.revno for commit in news.commits] == [2, 3, 4]
    assert not news.rewritten
    assert trunk.commits_between(trunk.tip(), trunk.tip()).commits == ()


def test_more_commits_than_are_read_at_once_all_come(git_repository, cache):
    first = git_repository.commit("0")
    stream = "".join(
        f"commit refs/heads/main\ncommitter A <a@b> {1700000100 + n} +0000\ndata 4\nc{n:03}\n"
        + (f"from {first}\n" if n == 1 else "")
        for n in range(1, 451)
    )
    git_repository.git("fast-import", "--quiet", "--force", input_bytes=stream.encode())
    trunk = open_trunk(git_repository.branch, cache)
    news = trunk.commits_between(first, trunk.tip())
    assert summaries(news) == [f"c{n:03}" for n in range(1, 451)]
    assert [commit.revno for commit in news.commits] == list(range(2, 452))


def test_a_merge_is_one_commit_of_the_mainline(git_repository, cache):
    first = git_repository.commit("one")
    git_repository.git("switch", "-q", "-c", "feature")
    git_repository.commit("side 1", {"side": "1"})
    git_repository.commit("side 2", {"side": "2"})
    git_repository.git("switch", "-q", "main")
    git_repository.commit("two")
    git_repository.git("merge", "-q", "--no-ff", "-m", "merge feature", "feature")
    trunk = open_trunk(git_repository.branch, cache)
    news = trunk.commits_between(first, trunk.tip())
    assert summaries(news) == ["two", "merge feature"]
    assert [commit.revno for commit in news.commits] == [2, 3]


def test_a_force_push_gives_what_stands_there_now(git_repository, cache):
    base = git_repository.commit("base")
    old = git_repository.commit("lost")
    trunk = open_trunk(git_repository.branch, cache)
    trunk.commits_between(base, old)
    git_repository.git("reset", "-q", "--hard", base)
    git_repository.commit("kept 1")
    git_repository.commit("kept 2")
    news = trunk.commits_between(old, trunk.tip())
    assert news.rewritten
    assert summaries(news) == ["kept 1", "kept 2"]
    following = git_repository.commit("after")
    again = trunk.commits_between(news.commits[-1].revision, following)
    assert (summaries(again), again.rewritten) == (["after"], False)
    assert trunk.describe(old).summary == "lost"


def test_a_branch_that_went_back_has_nothing_new(git_repository, cache):
    base = git_repository.commit("base")
    old = git_repository.commit("undone")
    trunk = open_trunk(git_repository.branch, cache)
    trunk.commits_between(base, old)
    git_repository.git("reset", "-q", "--hard", base)
    news = trunk.commits_between(old, trunk.tip())
    assert (news.commits, news.rewritten) == ((), True)


@pytest.mark.parametrize("old_is_known", [True, False])
def test_a_branch_begun_anew_gives_only_its_tip(git_repository, cache, old_is_known):
    old = git_repository.commit("before")
    trunk = open_trunk(git_repository.branch, cache)
    if old_is_known:
        trunk.describe(old)
    git_repository.git("checkout", "-q", "--orphan", "fresh")
    git_repository.commit("new 1")
    git_repository.commit("new 2")
    git_repository.git("branch", "-q", "-M", "fresh", "main")
    news = trunk.commits_between(old, trunk.tip())
    assert (summaries(news), news.rewritten) == (["new 2"], True)


def test_a_branch_may_become_a_directory_of_branches(git_repository, cache):
    git_repository.git("switch", "-q", "-c", "topic")
    first = git_repository.commit("one")
    open_trunk(Branch("git", str(git_repository.path), "topic"), cache).describe(first)
    git_repository.git("branch", "-q", "-m", "topic", "topic/part")
    second = git_repository.commit("two")
    trunk = open_trunk(Branch("git", str(git_repository.path), "topic/part"), cache)
    assert summaries(trunk.commits_between(first, second)) == ["two"]


def test_a_commit_rewritten_away_is_told_as_such(git_repository, cache):
    base = git_repository.commit("base")
    lost = git_repository.commit("lost")
    git_repository.git("reset", "-q", "--hard", base)
    git_repository.commit("kept")
    trunk = open_trunk(git_repository.branch, cache)
    with pytest.raises(PackageFault, match=f"rewritten.*{lost}") as caught:
        trunk.export(lost, cache / "out")
    assert caught.value.resolution
    with pytest.raises(FarmTrouble, match="rewritten"):
        trunk.commits_between(base, lost)


def test_recipes_name_revisions_by_tag_branch_and_id(git_repository, cache):
    first = git_repository.commit("one")
    git_repository.git("tag", "-a", "-m", "release", "1.0")
    git_repository.git("switch", "-q", "-c", "stable")
    stable = git_repository.commit("fix")
    git_repository.git("switch", "-q", "main")
    tip = git_repository.commit("two")
    trunk = open_trunk(git_repository.branch, cache)
    assert trunk.resolve("") == tip
    assert trunk.resolve("main") == tip
    assert trunk.resolve("1.0") == first
    assert trunk.resolve("stable") == stable
    assert trunk.resolve(first) == first
    assert trunk.resolve(first[:8]) == first
    for nonsense in ("2.0", "HEAD~1", "main@{0}", ":/one", "--all", "deadbeef"):
        with pytest.raises(PackageFault, match="neither a tag"):
            trunk.resolve(nonsense)
    newer = git_repository.commit("three")
    git_repository.git("tag", "2.0")
    assert trunk.resolve("2.0") == newer


def test_content_comes_exactly_as_committed(git_repository, cache, tmp_path):
    files: dict[str | bytes, str | bytes] = {
        ".gitattributes": "* text eol=crlf ident\n*.txt export-subst filter=evil working-tree-encoding=UTF-16\n"
        "secret export-ignore\n[attr]text ident\n",
        "crlf.c": "one\ntwo\n",
        "real-crlf": "one\r\ntwo\r\n",
        "ident.c": "$Id$ $Format:%H$\n",
        "subst.txt": "$Format:%H$ $Id$\n",
        "secret": "kept",
        "with space/and 'quotes' \"double\"": "x",
        "new\nline": "y",
        b"latin-\xe9\xff": b"\0\1\2\xff",
        "-dash": "z",
        "empty": "",
    }
    git_repository.write(files)
    (git_repository.path / "run.sh").write_text("#!/bin/sh\n")
    (git_repository.path / "run.sh").chmod(0o755)
    (git_repository.path / "link").symlink_to("with space")
    (git_repository.path / "dangling").symlink_to("not there")
    git_repository.git("add", "link", "dangling")
    git_repository.git("update-index", "--add", "--chmod=+x", "run.sh")
    # What is committed is what hash-object says without conversion, whatever the attributes made of it.
    for name, content in files.items():
        blob = git_repository.git(
            "hash-object", "-w", "--stdin", input_bytes=content if isinstance(content, bytes) else content.encode()
        )
        entry = b"100644 " + blob.encode() + b"\t" + os.fsencode(name) + b"\0"
        git_repository.git("update-index", "-z", "--index-info", input_bytes=entry)
    git_repository.git("commit", "-q", "-m", "odd")
    out = tmp_path / "out"
    trunk = open_trunk(git_repository.branch, cache)
    assert trunk.export(trunk.tip(), out) == ()
    wanted = {os.fsencode(n): c if isinstance(c, bytes) else c.encode() for n, c in files.items()}
    wanted |= {
        b"with space": "/",
        b"link": "-> with space",
        b"dangling": "-> not there",
        b"run.sh": b"#!/bin/sh\n",
    }
    assert listing(out) == wanted
    assert stat.S_IMODE((out / "run.sh").stat().st_mode) == 0o755
    assert stat.S_IMODE((out / "empty").stat().st_mode) == 0o644


def test_an_export_is_the_same_whatever_the_umask(git_repository, cache, tmp_path):
    git_repository.commit("one", {"a/b": "1", "c": "2"})
    trunk = open_trunk(git_repository.branch, cache)
    before = os.umask(0o077)
    try:
        trunk.export(trunk.tip(), tmp_path / "strict")
    finally:
        os.umask(before)
    trunk.export(trunk.tip(), tmp_path / "plain")
    modes = [[path.stat().st_mode for path in sorted(tree.walk(tmp_path / n))] for n in ("strict", "plain")]
    assert modes[0] == modes[1]
    assert summarize_tree(tmp_path / "strict") == summarize_tree(tmp_path / "plain")


def test_the_digest_tells_content_modes_and_names_apart(tmp_path):
    digests = set()
    for number, (name, content, mode) in enumerate(
        [("a", "1", 0o644), ("a", "2", 0o644), ("a", "1", 0o755), ("b", "1", 0o644), ("a/a", "1", 0o644)]
    ):
        root = tmp_path / str(number)
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(content)
        (root / name).chmod(mode)
        digests.add(summarize_tree(root).sha256)
    assert len(digests) == 5


def test_a_directory_of_the_branch_can_be_taken_alone(git_repository, cache, tmp_path):
    git_repository.commit("one", {"debian/control": "c", "debian/sub/x": "x", "other": "o"})
    trunk = open_trunk(git_repository.branch, cache)
    trunk.export(trunk.tip(), tmp_path / "out", subdir="debian")
    assert listing(tmp_path / "out") == {b"control": b"c", b"sub": "/", b"sub/x": b"x"}
    for missing in ("nothing", "other", "../trunk", "debian/control"):
        with pytest.raises(PackageFault, match="no directory"):
            trunk.export(trunk.tip(), tmp_path / "out2", subdir=missing)


def test_submodules_are_left_out_and_named(git_repository, cache, tmp_path):
    revision = git_repository.set_tree(("100644", b"file", b"x"), ("160000", b"lib", b""))
    trunk = open_trunk(git_repository.branch, cache)
    assert trunk.export(revision, tmp_path / "out") == ("submodule lib: left out",)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("100644", b".git", b"gitdir: /")], r"\.git is named like"),
        ([("100644", b".GIT", b"x")], r"\.GIT is named like"),
        ([("100644", b"..", b"x")], "no path inside"),
        ([("100644", b"../up", b"x")], "no path inside"),
        ([("100644", b"/etc/passwd", b"x")], "no path inside"),
        ([("120000", b"a", b"sub"), ("100644", b"a/b", b"x")], "no directory"),
        ([("100644", b"a", b"1"), ("120000", b"a", b"2")], "stands for two things"),
        ([("100644", b"n" * 256, b"x")], "longer than a file system"),
        ([("120000", b"long", b"t" * 5000)], "target of 5000 bytes"),
    ],
)
def test_names_that_mean_something_else_are_refused(git_repository, cache, tmp_path, entries, message):
    revision = git_repository.set_tree(*entries)
    with pytest.raises(PackageFault, match=message):
        open_trunk(git_repository.branch, cache).export(revision, tmp_path / "out")
    assert not (tmp_path / "up").exists()
    assert not (tmp_path / "out" / ".git").exists()


@pytest.mark.parametrize(
    "links",
    [
        {"bad": "/etc/passwd"},
        {"bad": "../outside"},
        {"sub/bad": "../../outside"},
        {"x/up": "..", "x/bad": "up/../outside"},
        {"bad": "missing/../../outside"},
    ],
)
def test_a_link_out_of_the_tree_names_the_link_and_its_target(git_repository, cache, tmp_path, links):
    git_repository.commit("one", {"sub/file": "x", "x/file": "x"})
    for name, target in links.items():
        (git_repository.path / name).symlink_to(target)
    git_repository.git("add", "-A")
    git_repository.git("commit", "-q", "-m", "links")
    trunk = open_trunk(git_repository.branch, cache)
    with pytest.raises(PackageFault, match="out of the tree") as caught:
        trunk.export(trunk.tip(), tmp_path / "out")
    assert caught.value.where.endswith("bad")
    assert links[caught.value.where] in caught.value.details


def test_links_that_stay_inside_are_kept(git_repository, cache, tmp_path):
    git_repository.commit("one", {"sub/deep/file": "x"})
    wanted = {"sub/deep/up": "../..", "sub/again": "deep/up/sub", "loop": "loop", "dot": "."}
    for name, target in wanted.items():
        (git_repository.path / name).symlink_to(target)
    git_repository.git("add", "-A")
    git_repository.git("commit", "-q", "-m", "links")
    trunk = open_trunk(git_repository.branch, cache)
    trunk.export(trunk.tip(), tmp_path / "out")
    assert {name: str((tmp_path / "out" / name).readlink()) for name in wanted} == wanted


def test_a_tree_that_is_too_big_is_refused_before_it_is_written(git_repository, cache, tmp_path, monkeypatch):
    git_repository.commit("one", {f"f{n}": "12345" for n in range(4)})
    trunk = open_trunk(git_repository.branch, cache)
    monkeypatch.setattr(tree, "TREE_LIMIT_FILES", 3)
    with pytest.raises(PackageFault, match=r"has 4 files.*limit of 3"):
        trunk.export(trunk.tip(), tmp_path / "out")
    monkeypatch.setattr(tree, "TREE_LIMIT_FILES", 4)
    monkeypatch.setattr(tree, "TREE_LIMIT_BYTES", 19)
    with pytest.raises(PackageFault, match=r"has 20 bytes.*limit of 19"):
        trunk.export(trunk.tip(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_small_repository_that_unfolds_to_a_billion_files_is_refused(git_repository, cache, tmp_path):
    blob = git_repository.git("hash-object", "-w", "--stdin", input_bytes=b"boom")
    kind, name = "100644 blob", blob
    for _ in range(9):
        lines = "".join(f"{kind} {name}\td{n}\n" for n in range(10))
        kind, name = "040000 tree", git_repository.git("mktree", input_bytes=lines.encode())
    revision = git_repository.commit_tree(name)
    with pytest.raises(PackageFault, match=r"files|longer"):
        open_trunk(git_repository.branch, cache).export(revision, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_repository_cannot_make_the_farm_run_programs(git_repository, cache, tmp_path):
    marker = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho $0 $@ >> {marker}\nexit 1\n")
    program.chmod(0o755)
    git_repository.commit("one", {".gitattributes": "* filter=evil diff=evil merge=evil\n", "f": "x"})
    for option in (
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "core.editor",
        "core.gitProxy",
        "core.alternateRefsCommand",
        "uploadpack.packObjectsHook",
        "filter.evil.smudge",
        "filter.evil.process",
        "diff.evil.textconv",
        "merge.evil.driver",
        "gpg.program",
        "credential.helper",
    ):
        git_repository.git("config", option, str(program))
    for hook in ("post-checkout", "reference-transaction", "post-index-change", "pre-merge-commit"):
        path = git_repository.path / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(program.read_bytes())
        path.chmod(0o755)
    trunk = open_trunk(git_repository.branch, cache)
    assert trunk.commits_between("", trunk.tip()).commits
    trunk.export(trunk.tip(), tmp_path / "out")
    assert (tmp_path / "out" / "f").read_bytes() == b"x"
    assert not marker.exists(), marker.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another user")
def test_a_trunk_may_belong_to_another_user(git_repository, cache, tmp_path):
    tip = git_repository.commit("one")
    for path in (git_repository.path, *tree.walk(git_repository.path)):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    trunk = open_trunk(git_repository.branch, cache)
    trunk.export(tip, tmp_path / "out")
    assert (tmp_path / "out" / "file").read_text() == "one"
    assert trunk.resolve("main") == tip


def test_an_unreachable_trunk_is_the_farms_trouble_and_says_what_to_do(cache, tmp_path):
    for location, why in (
        (str(tmp_path / "nowhere"), f"'{tmp_path}/nowhere' does not appear to be a git repository"),
        ("git://127.0.0.1:1/x", "unable to connect to 127.0.0.1"),
        ("http://127.0.0.1:1/x.git", "unable to access 'http://127.0.0.1:1/x.git/': Failed to connect"),
        ("ssh://127.0.0.1:1/x", "ssh: connect to host 127.0.0.1 port 1: Connection refused"),
    ):
        with pytest.raises(FarmTrouble, match=re.escape(f"the trunk cannot be read: {why}")) as caught:
            open_trunk(Branch("git", location, "main"), cache).tip()
        assert caught.value.where == location
        assert caught.value.resolution


def test_a_branch_that_is_not_there_is_named(git_repository, cache):
    git_repository.commit("one")
    with pytest.raises(FarmTrouble, match="no branch 'releases'") as caught:
        open_trunk(Branch("git", str(git_repository.path), "releases"), cache).tip()
    assert "recipe" in caught.value.resolution


@pytest.mark.parametrize("scheme", ["git", "http"])
def test_a_server_that_never_answers_is_given_up(silent_server, cache, scheme):
    branch = Branch("git", f"{scheme}://127.0.0.1:{silent_server.port}/x.git", "main")
    trunk = open_trunk(branch, cache, limits=SHORT)
    with pytest.raises(FarmTrouble, match="stopped after its limit"):
        trunk.tip()
    with pytest.raises(FarmTrouble, match="stopped after its limit"):
        trunk.describe("1" * 40)


@pytest.mark.parametrize(
    "branch",
    [
        Branch("git", "ext::sh -c touch% /tmp/x", "main"),
        Branch("git", "--upload-pack=touch", "main"),
        Branch("git", "ftp://example.org/x", "main"),
        Branch("git", "", "main"),
        Branch("git", "/srv/x\n", "main"),
        Branch("git", "/srv/x", "--all"),
        Branch("git", "/srv/x", "a..b"),
        Branch("git", "/srv/x", "a b"),
        Branch("bzr", "git://example.org/x"),
        Branch("bzr", "-oProxyCommand=x"),
    ],
)
def test_locations_no_tool_may_be_given_are_refused(branch, cache):
    with pytest.raises(PackageFault, match="cannot be used"):
        open_trunk(branch, cache)


@pytest.mark.parametrize("location", ["https://TOKEN@github.com/o/r.git", "HTTP://TOKEN@example.org/r"])
def test_a_token_in_the_place_of_a_user_is_refused_and_not_repeated(cache, location):
    with pytest.raises(PackageFault, match="token") as caught:
        open_trunk(Branch("git", location), cache)
    assert "TOKEN" not in str(caught.value)
    assert "netrc" in caught.value.resolution
    assert redact(f"fatal: {location} is away") == f"fatal: {location.replace('TOKEN', '***')} is away"


@pytest.mark.parametrize("location", ["ssh://git@example.org/r.git", "git@example.org:r.git", "https://x.org/a@b"])
def test_a_user_of_ssh_is_no_secret(cache, location):
    assert open_trunk(Branch("git", location), cache).branch.location == redact(location) == location


def test_a_password_in_a_location_is_refused_and_not_repeated(cache):
    with pytest.raises(PackageFault, match="password") as caught:
        open_trunk(Branch("git", "https://ann:s3cret@example.org/x.git", "main"), cache)
    assert "s3cret" not in str(caught.value)


def test_a_killed_fetch_leaves_nothing_that_stops_the_next(git_repository, cache):
    trunk = open_trunk(git_repository.branch, cache)
    trunk.describe(git_repository.commit("one"))
    (mirror,) = (cache / "trunks").glob("*.git")
    (ref,) = (mirror / "refs" / "trunk").iterdir()
    ref.with_name(ref.name + ".lock").touch()
    (mirror / "shallow.lock").touch()
    mirror.with_name(mirror.name + ".new").mkdir()
    assert trunk.describe(git_repository.commit("two")).summary == "two"


def test_several_processes_share_one_mirror(git_repository, cache):
    tips = [git_repository.commit(f"c{n}") for n in range(4)]
    program = (
        "import sys; from pathlib import Path\n"
        "from buildfarm.job import Branch; from buildfarm.trunk import open_trunk\n"
        "print(open_trunk(Branch('git', sys.argv[1], 'main'), Path(sys.argv[2])).describe(sys.argv[3]).summary)"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, git_repository.path, cache, tip], stdout=subprocess.PIPE, text=True
        )
        for tip in tips
    ]
    assert [child.communicate(timeout=60)[0].strip() for child in children] == ["c0", "c1", "c2", "c3"]
    assert len(list((cache / "trunks").glob("*.git"))) == 1


def test_a_commit_that_is_here_already_needs_no_trunk(git_repository, cache, tmp_path):
    tip = git_repository.commit("one")
    trunk = open_trunk(git_repository.branch, cache)
    trunk.describe(tip)
    git_repository.path.rename(tmp_path / "gone")
    trunk.export(tip, tmp_path / "out")
    assert (tmp_path / "out" / "file").read_text() == "one"
