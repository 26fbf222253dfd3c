"""``buildfarm archive`` as a person gives it: every operation, what it prints, and its exit status."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import pytest

from buildfarm.cli import main
from ppa_tools.address import parse_address
from ppa_tools.archives.local import LocalArchive
from tests.archive.conftest import SERIES, Signer, architecture, make_binaries, make_source

TOOLS, STABLE = "local:demo/tools", "local:demo/stable"


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


class Command:
    """``buildfarm archive`` in this process, with a home of its own."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self._capsys = home, capsys

    def __call__(self, *words: str, status: int = 0) -> str:
        """Give a command; what it printed, with its complaints."""
        try:
            found = main(["--home", str(self.home), "archive", *words])
        except SystemExit as error:  # argparse's own way
            found = int(error.code or 0)
        printed = self._capsys.readouterr()
        assert found == status, printed.out + printed.err
        return printed.out if status == 0 else printed.err + printed.out

    def json(self, *words: str) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = json.loads(self(*words, "--format", "json"))
        return rows

    def versions(self, ppa: str) -> list[tuple[object, object, object]]:
        return [(row["series"], row["source"], row["version"]) for row in self.json("list", ppa)]


@pytest.fixture
def command(
    tmp_path: Path, signer: Signer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BUILDFARM_HOME", "")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    (tmp_path / "me.asc").write_bytes(signer.public)
    one = Command(tmp_path / "home", capsys)
    for ppa in (TOOLS, STABLE):
        one(
            *("create", ppa, "--series", SERIES, "--architecture", architecture()),
            *("--uploader", "me.asc", "--description", f"The {ppa}"),
        )
    return one


@pytest.fixture
def opened(command: Command) -> LocalArchive:
    return LocalArchive(command.home / "archive")


def upload(archive: LocalArchive, signer: Signer, directory: Path, version: str, source: str = "hello") -> None:
    """A source and its binary, as an upload and a build bring them."""
    address = parse_address(TOOLS)
    changes = make_source(directory / f"{source}-{version}", signer, source=source, version=version)
    archive.accept_source(address, SERIES, changes.parent, changes.name)
    built = make_binaries(directory / f"{source}-{version}-built", source=source, version=version)
    archive.accept_binaries(address, SERIES, architecture(), built.parent, built.name, "a worker")
    archive.publish(address)


def test_packages_go_from_one_ppa_to_another_and_out_again(
    command: Command, opened: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    for source in ("hello", "world"):
        upload(opened, signer, tmp_path, "1.0-1", source)
    assert "hello   1.0-1    copied  1" in command("copy", TOOLS, STABLE, "hello", "--why", "it is ready")
    assert command.versions(STABLE) == [(SERIES, "hello", "1.0-1")]
    said = command("copy", TOOLS, STABLE, "nothing", "hello=2", status=1)
    assert "\n  nothing: not there" in said
    assert "\n  hello 2: not there; there was 1.0-1" in said
    assert command.json("copy", TOOLS, STABLE, "--all")[0]["what"] == "already there"
    assert len(command.versions(STABLE)) == 2
    assert "superseded" in command("supersede", STABLE, "world=1.0-1")
    assert "deleted" in command("delete", STABLE, "hello", "--series", SERIES)
    assert "hello is not published" in command("delete", STABLE, "hello", status=1)
    assert command.versions(STABLE) == []
    assert {row["status"] for row in command.json("list", STABLE, "--all")} == {"Superseded", "Deleted"}
    assert "it is ready" in command("history", STABLE, "--source", "hello")
    whats = [row["what"] for row in command.json("changes", STABLE)]
    assert whats == ["create", "copy", "copy", "supersede", "delete"]
    assert [row["what"] for row in command.json("changes", STABLE, "--limit", "2")] == ["supersede", "delete"]


def test_everything_is_ended_only_with_a_yes(
    command: Command, opened: LocalArchive, signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(opened, signer, tmp_path, "1.0-1")
    for words in (("delete", TOOLS, "--all"), ("remove", TOOLS), ("configure", TOOLS, "--remove-series", SERIES)):
        assert "--yes" in command(*words, status=2)
        monkeypatch.setattr("sys.stdin", Terminal("no\n"))
        assert "nothing was done" in command(*words, status=1)
        monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert "packages are wanted, or --all" in command("delete", TOOLS, status=2)
    assert command.versions(TOOLS) == [(SERIES, "hello", "1.0-1")]
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    command("delete", TOOLS, "--all")
    assert command.versions(TOOLS) == []
    command("remove", TOOLS, "--yes")
    assert "there is no local:demo/tools" in command("list", TOOLS, status=2)
    assert [row["archive"] for row in command.json("list")] == [STABLE]


def test_a_ppa_goes_back_to_a_snapshot_as_the_plan_said(
    command: Command, opened: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    upload(opened, signer, tmp_path, "1.0-1")
    command("snapshot", "create", TOOLS, "good", "--why", "before the change")
    upload(opened, signer, tmp_path, "2.0-1")
    assert [row["name"] for row in command.json("snapshot", "list", TOOLS)] == ["good"]
    assert "before the change" in command("snapshot", "list", TOOLS)
    rows = command.json("diff", TOOLS, "good")
    assert [(row["architecture"], row["before"], row["after"]) for row in rows] == [
        ("source", ["1.0-1"], ["2.0-1"]),
        (architecture(), ["1.0-1"], ["2.0-1"]),
    ]
    plan = command("rollback", TOOLS, "good", "--dry-run")
    assert f"{SERIES}  source  hello    2.0-1  1.0-1" in plan
    assert "--yes" in command("rollback", TOOLS, "good", status=2)
    assert command.versions(TOOLS) == [(SERIES, "hello", "2.0-1")]
    assert command("rollback", TOOLS, "good", "--yes").startswith(plan)
    assert command.versions(TOOLS) == [(SERIES, "hello", "1.0-1")]
    assert command("diff", TOOLS, "good") == "nothing differs\n"
    assert "nothing is to be done" in command("rollback", TOOLS, "good", "--yes")
    command("snapshot", "delete", TOOLS, "good")
    assert "has no snapshot good" in command("diff", TOOLS, "good", status=1)


def test_a_moment_is_named_as_changes_prints_it(
    command: Command, opened: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    upload(opened, signer, tmp_path, "1.0-1")
    last = command("changes", TOOLS).splitlines()[-1]
    assert command("diff", TOOLS, f"@{last[:10]}T{last[11:19]}") == "nothing differs\n"
    assert "hello" in command("diff", TOOLS, "2020-01-01")
    assert command("diff", TOOLS, "@2020-01-01", "@2020-01-02T00:00+02:00") == "nothing differs\n"
    assert "@tomorrow" not in command("diff", TOOLS, "@tomorrow", status=2)


def test_settings_are_given_and_shown_in_peoples_units(command: Command) -> None:
    said = command(
        *("configure", TOOLS, "--quota", "1.5G", "--keep-days", "14", "--versions", "2"),
        *("--compression", "gz,xz", "--valid-for", "7"),
    )
    for words in (
        "0 B of 1.5 GiB used",
        "2 versions",
        "kept for 14 days",
        "indexes in gz, xz",
        "valid for 7 days",
    ):
        assert words in said
    why = command.json("changes", TOOLS, "--limit", "1")[0]["why"]
    assert str(why).split("; ") == [
        *("a quota of 1.5 GiB", "2 versions of a package", "ended ones kept for 14 days"),
        *("indexes in gz, xz", "a Release valid for 7 days"),
    ]
    assert "gz is what every apt reads" in command("configure", TOOLS, "--compression", "xz", status=1)
    assert "is no size" in command("configure", TOOLS, "--quota", "much", status=2)
    assert "is no number of days" in command("configure", TOOLS, "--keep-days", "nan", status=2)


def test_series_and_uploaders_come_and_go(command: Command, signer: Signer, stranger: Signer) -> None:
    Path("other.asc").write_bytes(stranger.public)
    said = command("configure", TOOLS, "--add-series", "trixie", "--add-uploader", "other.asc")
    assert f"trixie: {architecture()}" in said
    assert stranger.fingerprint in said
    assert "Say which by --series" in command("delete", TOOLS, "hello", status=2)
    said = command(
        *("configure", TOOLS, "--remove-series", SERIES, "--remove-uploader", stranger.fingerprint, "--yes")
    )
    assert f"{SERIES}:" not in said
    assert stranger.fingerprint not in said
    assert "has no series nosuch" in command("configure", TOOLS, "--remove-series", "nosuch", status=2)


def test_a_new_series_has_the_architectures_of_the_others(command: Command) -> None:
    assert f"trixie: {architecture()}" in command("create", TOOLS, "--series", "trixie")
    assert "Say which by --architecture" in command("create", "local:demo/new", "--series", SERIES, status=2)
    assert "no local:demo/new" in command("show", "local:demo/new", status=2)


def test_only_a_public_key_makes_an_uploader(command: Command, signer: Signer) -> None:
    argv = ["gpg", "--homedir", str(signer.home), "--batch", "--export-secret-keys"]
    Path("secret.asc").write_bytes(subprocess.run([*argv, "--armor"], check=True, capture_output=True).stdout)
    Path("secret.gpg").write_bytes(subprocess.run(argv, check=True, capture_output=True).stdout)
    Path("notes.txt").write_text("no key\n")
    for name in ("secret.asc", "secret.gpg", "notes.txt"):
        said = command("configure", TOOLS, "--uploader", name, status=2)
        assert f"{name} is no uploader's public key" in said


def test_show_tells_all_that_holds_for_a_ppa(command: Command, signer: Signer) -> None:
    lines = command("show", TOOLS).splitlines()
    assert lines[0].startswith(f"# {TOOLS}, signed by ")
    for line in (f"#   The {TOOLS}", f"#   {SERIES}: {architecture()}"):
        assert line in lines
    assert any(line.startswith(f"#   uploader {signer.fingerprint} ") for line in lines)
    assert "has no series sid" in command("show", TOOLS, "--series", "sid", status=2)


def test_a_listing_of_all_tells_since_when_each_is_what_it_is(
    command: Command, opened: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    upload(opened, signer, tmp_path, "1.0-1")
    upload(opened, signer, tmp_path, "1.1-1")
    events = opened.history(parse_address(TOOLS))
    ended = {one.version: one.at for one in events if (one.what, one.kind) == ("superseded", "source")}
    rows = command.json("list", TOOLS, "--all")
    assert [row["since"] for row in rows if row["status"] == "Superseded"] == [ended["1.0-1"]]
    assert "Uploader <uploader@example.com>" in command("changes", TOOLS)


def test_a_private_ppa_is_made_public_by_consent_only(command: Command) -> None:
    assert "private" in command("create", "local:demo/hidden", "--private")
    assert "--unembargo" in command("configure", "local:demo/hidden", "--public", status=1)
    assert "private" in command("configure", TOOLS, "--private")
    assert "public" in command("configure", TOOLS, "--public", "--unembargo")
    assert [(row["archive"], row["private"]) for row in command.json("list")] == [
        ("local:demo/hidden", True),
        (STABLE, False),
        (TOOLS, False),
    ]


def test_a_token_is_shown_once_as_apt_wants_it(command: Command) -> None:
    command("create", "local:demo/hidden", "--private", "--series", SERIES, "--architecture", architecture())
    line = command("token", "create", "local:demo/hidden", "anna").split()
    assert line[:-1] == ["machine", "http://127.0.0.1:8011/demo/hidden/", "login", "anna", "password"]
    shown = command("token", "list", "local:demo/hidden") + command("show", "local:demo/hidden")
    assert "anna" in shown
    assert "login NAME password TOKEN" in shown
    assert line[-1] not in shown
    assert "read, upload" not in shown
    command("token", "create", "local:demo/hidden", "robot", "--upload")
    assert command.json("token", "list", "local:demo/hidden")[1]["may_upload"] is True
    command("token", "revoke", "local:demo/hidden", "anna")
    assert "has no token anna" in command("token", "revoke", "local:demo/hidden", "anna", status=1)


def test_keys_are_rotated_in_two_steps(command: Command) -> None:
    [old] = command("key", "list", TOOLS).split()
    new = command("key", "add", TOOLS).strip()
    assert command("key", "list", TOOLS).split() == [old, new]
    assert new in command("key", "retire", TOOLS, old.lower())
    assert command("key", "list", TOOLS).split() == [new]
    assert "only key" in command("key", "retire", TOOLS, new, status=1)


def test_refused_uploads_are_listed_with_their_reasons(command: Command, opened: LocalArchive) -> None:
    opened.note_refusal(parse_address(TOOLS), SERIES, "x_1_source.changes", "it is not signed", via="ftp")
    assert "it is not signed" in command("refusals", TOOLS)
    assert command.json("refusals", TOOLS)[0]["via"] == "ftp"


def test_a_wrong_address_is_a_wrong_usage(command: Command) -> None:
    assert "is on Launchpad" in command("list", "ppa:demo/tools", status=2)
    assert "is no archive" in command("list", "tools", status=2)


def test_a_database_that_cannot_be_used_is_told_without_its_password(command: Command) -> None:
    Path("farm.toml").write_text("[archive]\ndatabase = 'nosuchdatabase://me:secret@host/archive'\n")
    assert "secret" not in command("list", status=2)
    Path("farm.toml").write_text("[archive]\ndatabase = 'me:secret@host'\n")
    assert "secret" not in command("list", status=2)


def test_another_database_serves_the_same_archive(command: Command, tmp_path: Path) -> None:
    Path("farm.toml").write_text(f"[archive]\ndatabase = 'sqlite:///{tmp_path}/other.sqlite'\n")
    assert command.json("list") == []
    command("create", "local:demo/elsewhere")
    assert [row["archive"] for row in command.json("list")] == ["local:demo/elsewhere"]
