"""Bad recipes: each is told with its place and with what would be right, and stops only itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from buildfarm.errors import UsageError
from buildfarm.recipe import Problem, load_recipes
from buildfarm.recipe.problem import RecipeFault
from buildfarm.recipe.yaml_tree import VALUES_LIMIT, parse_tree
from tests.recipe.conftest import GOOD, Shelf

TRUNK = "trunk: {vcs: git, location: x}\n"

# What is written (below GOOD, which has two lines), where the problem is, and words of its message and hint.
VALUES = [
    ("lnt: {targets: [a]}", "3:1", "unknown key 'lnt'", "Did you mean 'lint'?"),
    ("lint: {targets: [a], treshold: 9}", "3:22", "unknown key 'lint.treshold'", "'threshold'"),
    ("threshold: 9", "3:1", "unknown key 'threshold'", "It is written as lint.threshold"),
    ("lint: {threshold: 9}", "3:1", "lint.targets is missing", "'targets: [hello]'"),
    ("lint: {targets: []}", "3:17", "lint.targets", "targets: [hello]"),
    ("lint: {targets: hello}", "3:17", "a list is wanted, not the text 'hello'", "[hello]"),
    ("lint: {targets: [a], threshold: high}", "3:33", "a number is wanted, not the text 'high'", "threshold: 9.0"),
    ('lint: {targets: [a], threshold: "9"}', "3:33", "a number is wanted", "without quotes: 9"),
    ("lint: {targets: [a], threshold: 11}", "3:33", "lint.threshold is the number 11", "9.0"),
    ("lint: {targets: [a], threshold: .nan}", "3:33", "lint.threshold is the number .nan", "9.0"),
    ("lint: {targets: [/etc/passwd]}", "3:18", "is absolute", "relative"),
    ("lint: {targets: [a/../../b]}", "3:18", "leads out of the tree", ".."),
    ("lint: {targets: [--rcfile=x]}", "3:18", "begins with a dash", "./--rcfile=x"),
    ('lint: {targets: ["a\\nb"]}', "3:18", "'\\n' is not allowed", "one line"),
    ("lint: {targets: [a], packages: [aa, Foo]}", "3:37", "'Foo' is no Debian package name", "python3-pytest"),
    ("lint: {targets: [a], packages: [aa, aa]}", "3:32", "'aa' is named twice", "once"),
    ("lint: [a]", "3:7", "a mapping (key: value) is wanted, not a list", "targets"),
    ("series: bookworm", "3:9", "a list is wanted, not the text 'bookworm'", "Write a list: [bookworm]"),
    ("series: [Bookworm]", "3:10", "'Bookworm' is no series", "bookworm"),
    ("series: [12]", "3:10", "text is wanted, not the number 12", '"12"'),
    ("series: []", "3:9", "series", "[bookworm]"),
    ("series: ~", "3:9", "a list is wanted, not nothing", "[bookworm]"),
    ("architectures: [x86_64]", "3:17", "another name", "amd64"),
    ("architectures: [all]", "3:17", "no single architecture", "amd64"),
    ("maintainer: Jane Doe", "3:13", "is no maintainer", "<jane@example.org>"),
    ("build: {timeout_s: 0}", "3:20", "build.timeout_s is the number 0", "7200"),
    ("build: {timeout_s: 1.5}", "3:20", "a whole number is wanted, not the number 1.5", "7200"),
    ("build: {timeout_s: true}", "3:20", "not the truth value true", "7200"),
    ("build: {lintian_fail_on: errors}", "3:26", "the text 'errors'", "Did you mean 'error'?"),
    ("unittest: {command: []}", "3:21", "a command is wanted", "pytest"),
    ('unittest: {command: ""}', "3:21", "a command is wanted", "pytest"),
    ("unittest: {command: make check && true}", "3:21", "'&&' would need a shell", "script"),
    ("unittest: {command: FOO=1 make}", "3:21", "is no program", "environment"),
    ('unittest: {command: "it\'s"}', "3:21", "cannot be split", "list"),
    ("unittest: {command: [a, 1]}", "3:25", "text is wanted, not the number 1", '"1"'),
    ('unittest: {command: ["a\\0"]}', "3:22", "NUL", "argument"),
    ('unittest: {command: ["\\ud800"]}', "3:22", "surrogate", "Unicode"),
    ("unittest: {command: [a], environment: {1A: x}}", "3:40", "'1A' is no name", "PYTHONPATH"),
    ("unittest: {command: [a], environment: {A: 1}}", "3:43", "text is wanted, not the number 1", '"1"'),
    ("unittest: {command: [a], junit: ../x.xml}", "3:33", "leads out of the tree", "below"),
    ("unittest: {command: [a], coverage: {floor: 101}}", "3:44", "unittest.coverage.floor", "80"),
    ("packaging: {vcs: git, location: x, into: ..}", "3:42", "leads out of the tree", "below"),
    ("packaging: {vcs: git, location: x, into: .}", "3:42", "taken by the trunk", "debian"),
    ("packaging: {vcs: bzr, location: x, branch: main}", "3:44", "location is the branch", "Leave branch"),
    ('version: {template: "{debupsteam}"}', "3:21", "unknown variable {debupsteam}", "'debupstream'"),
    ("version: {template: 1-{revno:packaging}}", "3:23", "not valid YAML", "brackets"),
    ("version:\n  template: 1-{revno:packaging}", "4:15", "names a branch that is not here", "no branches"),
    ('version: {template: "1-{revno:packagin}"}', "3:21", "names a branch that is not here", "branches"),
    ('version: {template: "1 2"}', "3:21", "' ' cannot stand in a version", "{revno}"),
    ("parts: [{kind: nest, name: a, vcs: git, location: x}]", "3:9", "a nest needs into", "into:"),
    ("parts: [{kind: merge, name: a, vcs: git, location: x, subdir: y}]", "3:9", "takes no subdir", "nest-part"),
    ("parts: [{kind: rename, name: a, vcs: git, location: x}]", "3:16", "the text 'rename'", "merge"),
    ("parts: [{kind: merge, vcs: git, location: x}]", "3:9", "parts[0].name is missing", "name"),
    ("name: Hello", "3:7", "'Hello' is no recipe name", "hello-main"),
    (f"name: {'a' * 61}", "3:7", "longer than 60 characters", "hello-main"),
    ("name: hello-{series}", "3:13", "{series} is no axis", "no axes"),
    ("exclude: [{series: [a]}]", "3:12", "'series' is no axis", "no axes"),
    ("extends: nothing", "3:10", "no template is named 'nothing'", "no templates"),
    ("extends: {a: b}", "3:10", "a list is wanted, not a mapping", "python"),
    ("publish: local:a/c", "3:1", "'publish' appears twice", "first given on line 2"),
    ("build: {timeout_s: 1, timeout_s: 2}", "3:23", "'timeout_s' appears twice", "line 3"),
    ("1: 2", "3:1", "unknown key '1'", "Known"),
    ("<<: {a: b}", "3:1", "merge keys", "extends"),
    ("? [a]\n: b", "3:3", "a key must be plain text", "key: value"),
    ("build: !!python/object/apply:os.system [id]", "3:8", "tag", "without a tag"),
    ("build: !!str x", "3:8", "tag", "without a tag"),
    ("build: *x", "3:8", "alias *x is not defined", "in full"),
    ("build: &x {timeout_s: *x}", "3:23", "contains itself", "in full"),
    ("build: {timeout_s: 1", "4:1", "not valid YAML", ""),
    ("build:\n\ttimeout_s: 1", "4:1", "not valid YAML", "spaces"),
    ("build: a: b", "3:9", "not valid YAML", "quotes"),
    ("build\nseries: [a]", "4:1", "not valid YAML", ""),
    ("build: @x", "3:8", "not valid YAML", "quotes"),
    ("---\npublish: x", "3:1", "second document", "one recipe"),
    ("build: 'a\x07'", "3:10", "'\\x07' is not allowed", "escape"),
    ("machine: {memory_mib: 64}", "3:23", "greater than or equal to 128", "memory_mib: 1024"),
    ('machine: {memory_mib: "1024"}', "3:23", "a whole number is wanted", "without quotes: 1024"),
    ("machine: {start: warm}", "3:18", "machine.start is the text 'warm'", "cold, restored"),
    ("machine: {allow: pypi.org}", "3:18", "a list is wanted", "[pypi.org]"),
    (
        "machine: {allow: [a.example, 'https://pypi.org/']}",
        "3:30",
        "allow[1]: 'https://pypi.org/' is a URL",
        "host",
    ),
    ("machine: {allow: ['*.example.org']}", "3:19", "patterns are not taken", "deb.debian.org:80"),
    ("machine: {allow: ['pypi.org:0']}", "3:19", "'0' is no port", "deb.debian.org:80"),
    ("machine: {allow: ['pypi.org:65536']}", "3:19", "'65536' is no port", "deb.debian.org:80"),
    ("machine: {allow: ['pypi.org:']}", "3:19", "no port after the colon", "deb.debian.org:80"),
    ("machine: {allow: ['2001:db8::1']}", "3:19", "'2001:db8::1' names no host", "[2001:db8::1]:443"),
    ("machine: {allow: ['[2001:db8::g]:80']}", "3:19", "'[2001:db8::g]:80' names no host", "[2001:db8::1]:443"),
    ("machine: {allow: ['[::1']}", "3:19", "a bracket is not closed", "[2001:db8::1]:443"),
    ("machine: {allow: ['user@pypi.org']}", "3:19", "a user has no place here", "host:port"),
    ("machine: {allow: ['a b']}", "3:19", "'a b' names no host", "host:port"),
    ("machine: {allow: ['']}", "3:19", "names no host", "host:port"),
    ("machine: {allow: ['127.1:22']}", "3:19", "names no host", "host:port"),
    ("machine: {allow: ['localhost:8010']}", "3:19", "the farm's own machine", "need not be named"),
    ("machine: {allow: ['[::1]:80']}", "3:19", "the farm's own machine", "need not be named"),
    ("machine: {image: ../x}", "3:18", "is no name of an image", "[vm.images.cloud]"),
    ("boot: 5", "3:7", "a mapping (key: value) is wanted, not the number 5", "services: [hello.service]"),
    ("boot: {reboot: yes}", "3:16", "true or false is wanted, not the text 'yes'", "reboot: True"),
    ("boot: {services: [hello]}", "3:19", "'hello' is no unit of systemd", "hello.service"),
    ("boot: {services: [--now.service]}", "3:19", "is no unit of systemd", "hello.service"),
    ("boot: {script: /bin/true}", "3:16", "is absolute", "relative to the tree"),
    ("boot: {script: .}", "3:16", "the tree itself is no script", "Name a file"),
    ("boot: {commands: [[]]}", "3:19", "boot.commands[0]: a command is wanted", "pytest"),
    ("boot: {install_timeout_s: 0}", "3:27", "greater than or equal to 1", "install_timeout_s: 900"),
    ("autopkgtest: {timeout: 5}", "3:15", "unknown key 'autopkgtest.timeout'", "'timeout_s'"),
    ("suite: {results: [/x.xml]}", "3:1", "suite.script is missing", "tests/integration/run"),
    ("suite: {script: run, results: [x.xml]}", "3:32", "'x.xml' is no absolute path", "/var/log/hello"),
    ("suite: {script: run, results: [/x.txt]}", "3:32", "neither JUnit XML nor subunit", "logs:"),
    ("suite: {script: run, logs: [/var/../etc/shadow]}", "3:29", "has '..' in it", "path that it leads to"),
    ("suite: {script: run, machines: 17}", "3:32", "less than or equal to 16", "machines: 2"),
    ("firstboot: {packages: [debvm]}", "3:1", "firstboot.script is missing", "debian/tests/make-image"),
    ("promote: local:demo", "3:10", "ppa:owner/name or local:owner/name is wanted", "local:demo/trunk"),
    ("promote: local:demo/trunk", "3:10", "is what the recipe publishes to", "local:demo/stable"),
    ("promote: ppa:demo/stable", "3:10", "not promoted from local: to ppa:", "ppa-copy"),
]


@pytest.mark.parametrize(("text", "place", "message", "hint"), VALUES, ids=[row[0][:40] for row in VALUES])
def test_a_mistake_is_told_with_its_place_and_what_would_be_right(
    shelf: Shelf, text: str, place: str, message: str, hint: str
) -> None:
    (problem, *_) = shelf.problems(GOOD + text + "\n")
    assert f"{problem.file.name}:{problem.line}:{problem.column}" == f"bad.yaml:{place}", problem
    assert message in problem.message
    assert hint in problem.hint


# What stands in trunk: or publish:, and what is said of it.
BRANCHES = [
    ("trunk: {vcs: svn, location: x}", "1:14", "trunk.vcs is the text 'svn'", "bzr, git"),
    ("trunk: {vcs: git}", "1:1", "trunk.location is missing", "location: https://"),
    ("trunk: {vcs: git, location: x, brnch: main}", "1:32", "unknown key 'trunk.brnch'", "'branch'"),
    ("trunk: {vcs: git, location: x, branch: 1.10}", "1:40", "text is wanted, not the number 1.10", '"1.10"'),
    ("trunk: {vcs: git, location: x, branch: refs/heads/main}", "1:40", "full reference", "branch: main"),
    ("trunk: {vcs: git, location: x, branch: -main}", "1:40", "cannot be the name of a git branch", "main"),
    ("trunk: {vcs: git, location: x, branch: a..b}", "1:40", "cannot be the name of a git branch", "main"),
    ("trunk: {vcs: git, location: x, branch: a.lock}", "1:40", "cannot be the name of a git branch", "main"),
    ("trunk: {vcs: git, location: x, poll_interval_s: 4}", "1:49", "greater than or equal to 5", "60"),
    ("trunk:", "1:1", "a mapping (key: value) is wanted, not nothing", "git"),
    ("series: [bookworm]", "1:1", "trunk is missing", "vcs: git"),
    ('trunk: {vcs: git, location: "ext::sh -c id"}', "1:29", "helper that git would run", "https:"),
    ("trunk: {vcs: git, location: --upload-pack=id}", "1:29", "begins with '-'", "https:"),
    ("trunk: {vcs: git, location: ~/hello}", "1:29", "begins with '~'", "path"),
    ('trunk: {vcs: git, location: "a\\nb"}', "1:29", "'\\n' is not allowed", "one line"),
    ('trunk: {vcs: git, location: ""}', "1:29", "a location is wanted", "path"),
    ('trunk: {vcs: git, location: "ssh://-oProxyCommand=id/x"}', "1:29", "names no host", "ssh://"),
    ('trunk: {vcs: git, location: "ssh://-l@host/x"}', "1:29", "begins with a dash", "https:"),
    ('trunk: {vcs: git, location: "x@-oProxyCommand=id:x"}', "1:29", "is no host", "https:"),
    ('trunk: {vcs: git, location: "https://u:secret@example.org/x"}', "1:29", "a password or a token", "netrc"),
    ('trunk: {vcs: git, location: "https://TOKEN@example.org/x"}', "1:29", "a password or a token", "netrc"),
    ('trunk: {vcs: git, location: "https://[::1/x"}', "1:29", "is no URL", "https:"),
    ('trunk: {vcs: git, location: "https://h:port/x"}', "1:29", "is no URL", "https:"),
    ('trunk: {vcs: git, location: "htps://example.org/x"}', "1:29", "over 'htps'", "'https'"),
    ('trunk: {vcs: git, location: "sftp://example.org/x"}', "1:29", "git cannot be watched over 'sftp'", "ssh"),
    ('trunk: {vcs: git, location: "file://host/x"}', "1:29", "names a host", "file:///"),
    ('trunk: {vcs: git, location: "lp:-x"}', "1:29", "nothing on Launchpad", "lp:~owner/project"),
    ('trunk: {vcs: bzr, location: "trace+file:///x"}', "1:29", "over 'trace+file'", "file"),
    ('trunk: {vcs: bzr, location: "git@example.org:x"}', "1:29", "does not know", "bzr+ssh"),
]


@pytest.mark.parametrize(("text", "place", "message", "hint"), BRANCHES, ids=[row[0][7:50] for row in BRANCHES])
def test_a_location_is_checked_before_any_tool_sees_it(
    shelf: Shelf, text: str, place: str, message: str, hint: str
) -> None:
    problems = shelf.problems(text + "\npublish: local:a/b\n")
    assert [f"{problem.line}:{problem.column}" for problem in problems] == [place], problems
    assert message in problems[0].message
    assert hint in problems[0].hint


@pytest.mark.parametrize(
    "location",
    [
        "https://example.org:8443/a/b.git",
        "ssh://user@example.org/c.git",
        "ssh://git@example.org:22/a",
        "git@example.org:a/b.git",
        "git://example.org/b",
        "file:///srv/git/with%20space",
        "/srv/git/with space",
        "a:b" if os.name == "nt" else "./a:b",
        "https://[2001:db8::1]/a",
    ],
)
def test_honest_git_locations_are_taken(shelf: Shelf, location: str) -> None:
    recipe = shelf.recipe(f'trunk: {{vcs: git, location: "{location}"}}\npublish: local:a/b\n')
    assert recipe.trunk.location == location.replace("./", f"{shelf.path}/")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("publish: demo/trunk", "ppa:owner/name or local:owner/name is wanted"),
        ("publish: local:demo", "ppa:owner/name or local:owner/name is wanted"),
        ("publish: local:Demo/trunk", "lower case"),
        ("publish: local:../trunk", "lower case"),
    ],
)
def test_an_archive_is_named_by_its_address(shelf: Shelf, text: str, message: str) -> None:
    (problem,) = shelf.problems(TRUNK + text + "\n")
    assert (problem.line, problem.column) == (2, 10)
    assert message in problem.message


def test_all_mistakes_of_a_file_are_told_at_once(shelf: Shelf) -> None:
    problems = shelf.problems("trunk: {vcs: svn, location: x}\npublish: x\nseries: a\nfoo: bar\n")
    assert [problem.line for problem in problems] == [1, 2, 3, 4]


def test_a_name_is_taken_by_the_first_file_that_has_it(shelf: Shelf) -> None:
    first = shelf.write("a.yaml", GOOD + "name: hello\n")
    shelf.write("hello.yaml", GOOD)
    shelf.write("z.yaml", GOOD + "\nname: hello\n")
    book = shelf.load()
    assert [recipe.file for recipe in book.recipes.values()] == [first]
    assert [(p.file.name, p.line, p.column) for p in book.problems] == [("hello.yaml", 1, 1), ("z.yaml", 4, 7)]
    assert all("'hello'" in p.message and str(first) in p.hint for p in book.problems)


def test_an_empty_file_and_a_file_of_text_are_no_recipes(shelf: Shelf) -> None:
    (problem,) = shelf.problems("# nothing\n")
    assert problem.message == "the file is empty"
    (problem,) = shelf.problems("hello\n")
    assert "a mapping (key: value) is wanted, not the text 'hello'" in problem.message


def test_a_missing_directory_is_a_problem(tmp_path: Path) -> None:
    (problem,) = load_recipes(tmp_path / "recipes", ("bookworm",), ("amd64",)).problems
    assert problem.file == tmp_path / "recipes"


def test_what_is_no_regular_file_is_not_read(shelf: Shelf) -> None:
    os.mkfifo(shelf.path / "pipe.yaml")
    (shelf.path / "dir.yaml").mkdir()
    (shelf.path / "gone.yaml").symlink_to("nowhere")
    book = shelf.load()
    assert [problem.file.name for problem in book.problems] == ["dir.yaml", "gone.yaml", "pipe.yaml"]


def test_bytes_that_are_not_utf8_are_placed(shelf: Shelf) -> None:
    (shelf.path / "bad.yaml").write_bytes(b"trunk:\n  vcs: g\xefit\n")
    (problem,) = shelf.load().problems
    assert (problem.line, problem.column) == (2, 9)
    assert "0xef" in problem.message


def test_a_byte_order_mark_is_no_mistake(shelf: Shelf) -> None:
    (shelf.path / "hello.yaml").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert list(shelf.load().recipes) == ["hello"]


# Each of these would take all memory or all stack if it were expanded, or grow with the square of its size.
BOMBS = {
    "large": "a: " + "x" * (1024 * 1024),
    "deep lists": "a: " + "[" * 100_000,
    "deep mappings": "a: " + "{a: " * 100_000,
    "deep blocks": "".join(f"{' ' * depth}a:\n" for depth in range(1000)),
    "many values": "a: [" + "1," * 400_000 + "]",
    "laughs": "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'ha'}]\n" for n in range(20)),
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_and_not_expanded(shelf: Shelf, text: str) -> None:
    (problem,) = shelf.problems(text)
    assert any(words in problem.message for words in ("larger than", "deeper than", f"more than {VALUES_LIMIT}"))


def test_aliases_within_reason_are_taken(shelf: Shelf) -> None:
    recipe = shelf.recipe(
        GOOD + "lint: {targets: &code [hello]}\nunittest: {command: [make], coverage: {sources: *code}}\n"
    )
    assert recipe.unittest is not None
    assert recipe.unittest.coverage is not None
    assert recipe.unittest.coverage.sources == ("hello",)


def test_an_unknown_name_brings_the_nearest(shelf: Shelf) -> None:
    shelf.write("hello.yaml", GOOD)
    with pytest.raises(UsageError, match=r"(?s)no recipe is named 'helo'.*Did you mean 'hello'"):
        shelf.load().find("helo")


def test_the_name_of_a_bad_file_brings_its_problem(shelf: Shelf) -> None:
    shelf.write("hello.yaml", GOOD + "foo: bar\n")
    with pytest.raises(UsageError, match=r"(?s)no recipe is named 'hello'.*hello.yaml:3:1: unknown key 'foo'"):
        shelf.load().find("hello")


YAML_PIECES = st.sampled_from(
    ["a", "trunk", ": ", ":", "- ", "\n", "  ", "[", "]", "{", "}", ",", "&a ", "*a", "|", ">", "'", '"',
     "\\x", "#", "!!int ", "!", "%YAML 1.1", "---", "...", "?", "~", "1.5", "\t", "\r", "\u2028", "\x00",
     "é", "\\UFFFFFFFF"]
)  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(YAML_PIECES, max_size=30).map("".join) | st.text(max_size=60))
@example('"\\UFFFFFFFF"')
@example("%YAML 9.9\n---\na")
@example("%TAG ! x\n--- !a b")
def test_any_text_is_a_tree_or_a_fault(text: str) -> None:
    file = Path("x.yaml")
    problems: tuple[Problem, ...] = ()
    try:
        parse_tree(text, file)
    except RecipeFault as fault:
        problems = fault.problems
    assert all(p.file == file and p.line >= 1 and p.column >= 1 and p.message for p in problems)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(
            ["trunk", "publish", "series", "lint", "unittest", "matrix", "exclude", "extends", "name", "source",
             "parts", "packaging", "version", "x"]
        ),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-5, 5)
            | st.sampled_from(["git", "a", "local:a/b", ".", "{x}"]),
            lambda inner: st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["vcs", "location", "branch", "targets", "command", "kind", "name", "series", "trunk.branch",
                     "environment", "into", "subdir", "template"]
                ),
                inner,
                max_size=4,
            ),
            max_leaves=8,
        ),
        max_size=6,
    )
)  # fmt: skip
def test_any_values_are_recipes_or_problems(shelf: Shelf, values: dict[str, object]) -> None:
    import json

    (shelf.path / "any.yaml").write_text(json.dumps(values))
    book = shelf.load()
    assert bool(book.recipes) != bool(book.problems)
