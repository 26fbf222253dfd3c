"""Uploads by the clients that people have: dput-ng by FTP, SFTP and HTTP, against a real server."""

from __future__ import annotations

import base64
import contextlib
import ftplib
import hashlib
import http.client
import io
import json
import random
import socket
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppa_tools import openpgp
from ppa_tools.address import Address
from tests.archive.conftest import (
    PPA,
    SERIES,
    TOKEN,
    Signer,
    architecture,
    make_binaries,
    make_signer,
    make_source,
)
from tests.archive.test_server import put
from tests.archive.test_uploads import BAD_SOURCES, put_bomb
from tests.archive.uploads import (
    FILE_LIMIT_MIB,
    INCOMING,
    SESSIONS,
    Dput,
    Uploads,
    ftp_session,
    in_order,
    send,
    serving,
    store,
)


@pytest.fixture
def uploads(tmp_path: Path, signer: Signer) -> Iterator[Uploads]:
    with serving(tmp_path / "home", signer) as one:
        yield one


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Iterator[Uploads]:
    """One server for the tests that leave nothing behind."""
    with serving(tmp_path_factory.mktemp("shared") / "home", signer) as one:
        yield one


@pytest.fixture
def dput(tmp_path: Path, uploads: Uploads, signer: Signer) -> Dput:
    return Dput(tmp_path / "user", uploads, signer)


@contextlib.contextmanager
def nothing_is_left(uploads: Uploads) -> Iterator[None]:
    before = uploads.files()
    yield
    uploads.wait_until(lambda: uploads.files() == before)


@pytest.mark.parametrize("method", ["ftp", "sftp", "http"])
def test_dput_uploads_and_the_source_is_published(
    method: str, dput: Dput, uploads: Uploads, signer: Signer, tmp_path: Path
) -> None:
    done = dput(method, make_source(tmp_path / "s", signer, version="1.1-1"))
    assert done.returncode == 0, done.stdout + uploads.log
    assert uploads.versions() == ["1.1-1"]
    assert "accepted: hello 1.1-1" in uploads.log


@pytest.mark.parametrize("method", ["ftp", "sftp", "http"])
def test_dput_says_why_an_upload_is_refused(
    method: str, dput: Dput, uploads: Uploads, signer: Signer, tmp_path: Path
) -> None:
    send(uploads, make_source(tmp_path / "s", signer, version="1.1-1"))
    with nothing_is_left(uploads):
        done = dput(method, make_source(tmp_path / "s2", signer))
    assert done.returncode != 0
    assert "refused: hello 1.0-1 is not newer than 1.1-1" in done.stdout
    (refusal,) = uploads.refusals()
    assert refusal.reason.startswith("hello 1.0-1 is not newer")
    assert (refusal.signer, refusal.via) == (signer.fingerprint, {"http": "put"}.get(method, method))
    assert uploads.versions() == ["1.1-1"]


@pytest.mark.parametrize("path", [f"{INCOMING}/{SERIES}", "~demo/ubuntu/trunk", f"/~demo/ubuntu/trunk/{SERIES}"])
def test_a_path_may_name_the_series_and_the_distribution(
    path: str, uploads: Uploads, signer: Signer, tmp_path: Path
) -> None:
    assert send(uploads, make_source(tmp_path / "s", signer), path).startswith("226 accepted: hello 1.0-1")
    assert uploads.versions() == ["1.0-1"]


def test_one_session_takes_one_upload_after_another(uploads: Uploads, signer: Signer, tmp_path: Path) -> None:
    with ftp_session(uploads) as ftp:
        for n in range(1, 4):
            changes = make_source(tmp_path / f"s{n}", signer, version=f"1.{n}-1")
            assert store(ftp, *in_order(changes)).startswith(f"226 accepted: hello 1.{n}-1")
        assert store(ftp, *in_order(make_source(tmp_path / "other", signer, source="other"))).startswith("226 acc")
    assert uploads.versions() == ["1.3-1"]


def test_a_changes_that_comes_first_waits_for_its_files(uploads: Uploads, signer: Signer, tmp_path: Path) -> None:
    changes = make_source(tmp_path / "s", signer)
    *files, last = [path for path in in_order(changes) if path != changes]
    with ftp_session(uploads) as ftp:
        assert "waits for hello_1.0-1.debian.tar.gz, hello_1.0-1.dsc" in store(ftp, changes)
        assert last.name in store(ftp, *files)
        assert store(ftp, last).startswith("226 accepted: hello 1.0-1")


def test_the_same_upload_again_changes_nothing_and_says_so(
    uploads: Uploads, signer: Signer, tmp_path: Path
) -> None:
    changes = make_source(tmp_path / "s", signer)
    send(uploads, changes)
    with nothing_is_left(uploads):
        assert "already there: hello 1.0-1" in send(uploads, changes)
        with ftp_session(uploads) as ftp:
            assert "nothing has changed" in store(ftp, changes)
    assert uploads.refusals() == ()
    assert uploads.versions() == ["1.0-1"]


def test_of_two_with_one_version_at_once_one_wins_and_the_other_is_told(
    uploads: Uploads, signer: Signer, tmp_path: Path
) -> None:
    barrier, answers = threading.Barrier(2), []

    def upload(name: str) -> None:
        *files, changes = in_order(make_source(tmp_path / name, signer, content=name.encode()))
        with ftp_session(uploads) as ftp:
            store(ftp, *files)
            barrier.wait(60)
            try:
                answers.append(store(ftp, changes))
            except ftplib.error_temp as error:
                answers.append(str(error))

    threads = [threading.Thread(target=upload, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    won, lost = sorted(answers)
    assert won.startswith("226 accepted: hello 1.0-1")
    assert lost.startswith("451 refused: hello 1.0-1 is already in local:demo/trunk with other content")
    assert len(uploads.refusals()) == 1


NOT_SENT_AS_FILES = ("a directory", "a symbolic link", "an endless .changes")


@pytest.mark.parametrize("name", [name for name in BAD_SOURCES if name not in NOT_SENT_AS_FILES])
def test_a_bad_upload_is_refused_with_its_reason_everywhere_and_leaves_nothing(
    name: str, shared: Uploads, signer: Signer, stranger: Signer, tmp_path: Path
) -> None:
    changes = make_source(tmp_path / "s", signer)
    spoil, reason = BAD_SOURCES[name]
    spoil(changes, signer, stranger)
    with nothing_is_left(shared), pytest.raises(ftplib.error_temp) as refused:
        send(shared, changes, f"{INCOMING}/{SERIES}")
    assert str(refused.value).startswith("451 refused: ")
    assert reason in str(refused.value)
    assert shared.versions() == []
    newest = shared.refusals()[0]
    assert reason in newest.reason
    assert newest.reason in shared.log
    assert (newest.changes_name, newest.via) == (changes.name, "ftp")
    sure = not any(word in name for word in ("unsigned", "stranger", "after signing", "before the signature"))
    assert newest.signer == (signer.fingerprint if sure or name == "unsigned .dsc" else "")


class OldSigner(Signer):
    """Signs as on the first day of 2020, for which its key was made."""

    def sign(self, text: str) -> bytes:
        return gpg(self.home, "--faked-system-time", "20200101T010000!", "--clear-sign", data=f"{text}\n".encode())


def gpg(home: Path, *words: str, data: bytes = b"") -> bytes:
    argv = ["gpg", "--homedir", str(home), "--batch", "--passphrase", "", "--pinentry-mode", "loopback", *words]
    return subprocess.run(argv, input=data, capture_output=True, check=True).stdout


def test_expired_and_revoked_keys_and_strangers_to_the_ppa_are_refused(
    shared: Uploads, signer: Signer, tmp_path: Path
) -> None:
    (old_home := tmp_path / "old").mkdir(mode=0o700)
    when = ("--faked-system-time", "20200101T000000!")
    gpg(old_home, *when, "--quick-generate-key", "Old <old@example.com>", "ed25519", "sign", "1d")
    old = OldSigner(old_home, openpgp.secret_keys(old_home)[0].fingerprint)
    gone = make_signer(tmp_path / "gone", "Gone <gone@example.com>")
    by_gone = make_source(tmp_path / "by-gone", gone)
    certificate = (gone.home / "openpgp-revocs.d" / f"{gone.fingerprint}.rev").read_bytes()
    gpg(gone.home, "--import", data=certificate.replace(b":-----BEGIN", b"-----BEGIN"))
    other = make_signer(tmp_path / "other", "Other <other@example.com>")
    ppa = Address("local", "demo", "keys")
    keyring = openpgp.dearmor_keys(other.public) + openpgp.dearmor_keys(gone.public)
    shared.archive.ensure_ppa(
        ppa, series=[SERIES], architectures=[architecture()], uploaders=[old.public, keyring]
    )
    for changes, reason in (
        (make_source(tmp_path / "by-old", old), "has expired"),
        (by_gone, "is revoked"),
        (make_source(tmp_path / "by-another", signer), "is not known here"),
    ):
        with nothing_is_left(shared), pytest.raises(ftplib.error_temp, match=f"451 refused: .*{reason}"):
            send(shared, changes, "~demo/keys")
        assert reason in shared.archive.refusals(ppa)[0].reason
    for one in (old, gone, other):
        openpgp.stop_agent(one.home)


@pytest.mark.parametrize(
    "name",
    [
        "../x.dsc",
        "../../../../tmp/x.dsc",
        "/etc/x.dsc",
        "sub/x.dsc",
        "..",
        ".hidden",
        "-rf",
        "ä.dsc",
        "x" * 300,
        "a b.dsc",
        "a\x00b.dsc",
        "a\\b",
        "a\u202eb.dsc",
        "~demo/trunk/nosuch/x.dsc",
    ],
)
def test_names_that_lead_elsewhere_are_not_taken(name: str, shared: Uploads) -> None:
    with nothing_is_left(shared), ftp_session(shared) as ftp:
        ftp.encoding = "utf-8"
        with pytest.raises(ftplib.Error, match=r"no name for a file|no place for uploads|has no series|NUL"):
            ftp.storbinary(f"STOR {name}", io.BytesIO(b"x"))


@pytest.mark.parametrize(
    "path",
    ["demo/trunk", "~demo/trunk/sid", "~demo/ubuntu/trunk/sid", "~../trunk", "/etc", "~demo/trunk/a/b/c"],
)
def test_only_what_can_be_a_place_is_entered(path: str, shared: Uploads) -> None:
    with (
        pytest.raises(ftplib.error_perm, match=r"550 .*(there is no|has no|is no place)"),
        ftp_session(shared, path),
    ):
        pass


@pytest.mark.parametrize(
    "command",
    [
        "LIST",
        "NLST",
        "MLSD",
        "RETR x.dsc",
        "SIZE x.dsc",
        "MDTM x.dsc",
        "DELE x.dsc",
        "RNFR x.dsc",
        "RMD /",
        "PORT 127,0,0,1,4,1",
        "EPRT |1|127.0.0.1|1025|",
        "APPE x.dsc",
        "STOU",
        "REST 5",
        "SITE EXEC id",
    ],
)
def test_ftp_is_for_writing_only(command: str, shared: Uploads) -> None:
    with ftp_session(shared) as ftp, pytest.raises(ftplib.error_perm, match=r"^502 "):
        ftp.sendcmd(command)


def test_ftp_wants_no_names_and_no_passwords(shared: Uploads) -> None:
    with ftplib.FTP() as ftp:
        ftp.connect("127.0.0.1", shared.ftp_port, timeout=60)
        with pytest.raises(ftplib.error_perm, match=r"^530 log in as anonymous"):
            ftp.login("me", "secret")
        with pytest.raises(ftplib.error_perm, match=r"^530 "):
            ftp.cwd(INCOMING)


def sftp(key: Path, uploads: Uploads, *commands: str) -> subprocess.CompletedProcess[str]:
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes", "BatchMode=yes"]
    argv = ["sftp", "-P", str(uploads.sftp_port), "-i", str(key), *[f"-o{one}" for one in options], "-b", "-"]
    return subprocess.run(
        [*argv, "me@127.0.0.1"],
        input="\n".join(commands),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def ssh_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ssh") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def test_openssh_uploads_and_its_last_put_fails_when_refused(
    uploads: Uploads, signer: Signer, ssh_key: Path, tmp_path: Path
) -> None:
    for version in ("1.1-1", "1.0-1"):
        changes = make_source(tmp_path / version, signer, version=version)
        done = sftp(ssh_key, uploads, f"cd {INCOMING}", *(f"put -p {path}" for path in in_order(changes)))
        assert (done.returncode == 0) == (version == "1.1-1"), done.stdout
    assert done.stdout.endswith("close remote: Failure\n")
    assert uploads.refusals()[0].reason.startswith("hello 1.0-1 is not newer")
    assert uploads.versions() == ["1.1-1"]


@pytest.mark.parametrize(
    "command",
    [f"ls {INCOMING}", f"get {INCOMING}/x.dsc", "rename a b", "ln -s /etc/passwd x", "rm x", "rmdir x"]
    + [f"put /etc/hostname {name}" for name in ("x.dsc", "../../../x.dsc", f"{INCOMING}/.x", f"{INCOMING}/a/b")],
)
def test_sftp_is_for_writing_to_ppas_only(command: str, shared: Uploads, ssh_key: Path) -> None:
    with nothing_is_left(shared):
        assert sftp(ssh_key, shared, command).returncode != 0


def test_there_is_no_shell_and_no_forwarding(shared: Uploads, ssh_key: Path) -> None:
    options = ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oExitOnForwardFailure=yes"]
    ssh = ["ssh", "-p", str(shared.sftp_port), "-i", str(ssh_key), *options, "127.0.0.1"]
    for words in (["id"], ["-R", "0:127.0.0.1:22", "-N"], ["-W", f"127.0.0.1:{shared.port}"]):
        done = subprocess.run(
            [*ssh, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
        assert done.returncode != 0
        assert done.stdout == b""


GIGANTIC_PACKET = r"""
import sys, paramiko
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect("127.0.0.1", int(sys.argv[1]), "me", key_filename=sys.argv[2], look_for_keys=False, compress=True)
assert client.get_transport().remote_compression == "none"
channel = client.get_transport().open_session()
channel.invoke_subsystem("sftp")
channel.sendall(b"\xff\xff\xff\xff\x06")
sent = 0
try:
    while sent < 64 << 20:
        channel.sendall(bytes(1 << 16))
        sent += 1 << 16
except OSError:
    print("cut off after", sent >> 20, "MiB")
"""


def test_no_packet_fills_the_memory(shared: Uploads, ssh_key: Path) -> None:
    done = subprocess.run(
        ["/usr/bin/python3", "-c", GIGANTIC_PACKET, str(shared.sftp_port), str(ssh_key)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("cut off after"), done.stderr


def test_data_that_nobody_asked_for_is_not_read(shared: Uploads) -> None:
    with ftp_session(shared) as ftp:
        _, port = ftp.makepasv()
        with socket.create_connection(("127.0.0.1", port)) as data:
            data.settimeout(1)
            with pytest.raises(TimeoutError):
                data.sendall(bytes(256 << 20))


def test_with_authorised_keys_only_these_are_let_in(signer: Signer, ssh_key: Path, tmp_path: Path) -> None:
    (allowed := tmp_path / "authorized_keys").write_text("# nobody yet\n")
    with serving(tmp_path / "home", signer, f'sftp_authorized_keys = "{allowed}"\n') as one:
        assert "Permission denied" in sftp(ssh_key, one, "pwd").stdout
        allowed.write_bytes(ssh_key.with_suffix(".pub").read_bytes())
        assert sftp(ssh_key, one, "pwd").returncode == 0


def test_the_host_key_is_private_and_stays(uploads: Uploads) -> None:
    path = uploads.home / "archive/keys/sftp-host-ed25519"
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert uploads.stop() == 0
    uploads.begin()
    assert path.read_bytes() == before


def reset(connection: socket.socket) -> None:
    """Break a connection off, as a machine that is switched off would."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def break_off(ftp: ftplib.FTP) -> None:
    assert ftp.file is not None
    assert ftp.sock is not None
    ftp.file.close()
    reset(ftp.sock)
    ftp.sock = None


def test_a_session_that_breaks_off_leaves_nothing(uploads: Uploads, signer: Signer, tmp_path: Path) -> None:
    *files, changes = in_order(make_source(tmp_path / "s", signer))
    with nothing_is_left(uploads):
        with ftp_session(uploads) as ftp:
            store(ftp, *files)
            break_off(ftp)
        with ftp_session(uploads) as ftp:
            store(ftp, changes)
            data = ftp.transfercmd(f"STOR {files[0].name}")
            data.sendall(files[0].read_bytes()[:10])
            reset(data)
            break_off(ftp)
        uploads.wait_until(lambda: len(uploads.refusals()) == 1)
    assert uploads.refusals()[0].reason.startswith(
        "the session ended before hello_1.0-1.debian.tar.gz, hello_1.0-1.d"
    )
    assert "dropped hello_1.0-1.debian.tar.gz" in uploads.log
    assert uploads.versions() == []


def test_what_a_killed_server_held_is_gone_when_it_is_back(
    uploads: Uploads, signer: Signer, tmp_path: Path
) -> None:
    before = uploads.files()
    *files, changes = in_order(make_source(tmp_path / "s", signer))
    with ftp_session(uploads) as ftp:
        store(ftp, *files)
        uploads.kill()
    assert uploads.files() > before
    uploads.begin()
    assert uploads.files() == before
    assert send(uploads, changes).startswith("226 accepted")


def test_a_session_ends_when_the_server_does(uploads: Uploads, signer: Signer, tmp_path: Path) -> None:
    with nothing_is_left(uploads), ftp_session(uploads) as ftp:
        store(ftp, *in_order(make_source(tmp_path / "s", signer))[:-1])
        assert uploads.stop() == 0


IMPATIENT_SERVER = """
import json, sys
from pathlib import Path
from ppa_tools.archives.dropbox import DropLimits
from ppa_tools.archives.local import LocalArchive
from ppa_tools.archives.server import serve
from ppa_tools.archives.ways_in import WaysIn
root, port, ftp_port = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
ways = WaysIn("127.0.0.1", root / "keys", ftp_port)
limits = DropLimits(**json.loads(sys.argv[4]))
serve(LocalArchive(root), host="127.0.0.1", port=port, worker_token="x", drop_limits=limits, ways_in=ways)
"""


@contextlib.contextmanager
def impatient(uploads: Uploads, **limits: float) -> Iterator[None]:
    """Another server in the place of the one that runs."""
    uploads.stop()
    argv = [sys.executable, "-c", IMPATIENT_SERVER, str(uploads.home / "archive")]
    argv += [str(uploads.port), str(uploads.ftp_port), json.dumps(limits)]
    with subprocess.Popen(argv, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert "serving" in server.stdout.readline()
        yield
        server.terminate()
    assert server.returncode == 0


def has_hung_up(ftp: ftplib.FTP) -> bool:
    assert ftp.sock is not None
    with contextlib.suppress(ConnectionResetError):
        return ftp.sock.recv(1) == b""
    return True


def test_a_session_in_which_nothing_comes_ends(uploads: Uploads, signer: Signer, tmp_path: Path) -> None:
    before = uploads.files()
    with impatient(uploads, idle_s=0.5):
        with ftp_session(uploads) as ftp:
            store(ftp, in_order(make_source(tmp_path / "s", signer))[0])
            assert has_hung_up(ftp)
        uploads.wait_until(lambda: uploads.files() == before)


def test_talk_alone_keeps_no_session_from_those_who_send_files(
    uploads: Uploads, signer: Signer, tmp_path: Path
) -> None:
    changes = make_source(tmp_path / "s", signer)
    with impatient(uploads, sessions=2, quiet_s=0), ftp_session(uploads) as first, ftp_session(uploads) as second:
        store(second, in_order(changes)[0])
        first.voidcmd("NOOP")
        assert send(uploads, changes).startswith("226 accepted")
        assert has_hung_up(first)
        store(second, *in_order(changes)[1:])


def test_a_file_over_the_limit_is_cut_off(shared: Uploads) -> None:
    with nothing_is_left(shared), ftp_session(shared) as ftp:
        data = ftp.transfercmd("STOR hello_1.0.orig.tar.gz")
        with pytest.raises(OSError):  # noqa: PT012 (it breaks at some point)
            for _ in range(10 << 10):
                data.sendall(bytes(1 << 20))
        data.close()
        with pytest.raises(ftplib.error_temp, match=f"^452 hello_1.0.orig.tar.gz may have {FILE_LIMIT_MIB} MiB"):
            ftp.voidresp()


def test_dput_fails_when_a_file_of_an_upload_is_over_the_limit(
    dput: Dput, uploads: Uploads, signer: Signer, tmp_path: Path
) -> None:
    noise = random.Random(1).randbytes((FILE_LIMIT_MIB << 20) + 1)
    with nothing_is_left(uploads):
        done = dput("ftp", make_source(tmp_path / "s", signer, content=noise))
    assert done.returncode != 0
    assert f"hello_1.0-1.debian.tar.gz may have {FILE_LIMIT_MIB} MiB" in done.stdout


def test_sessions_are_limited(uploads: Uploads, ssh_key: Path) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(SESSIONS):
            stack.enter_context(ftp_session(uploads))
        with pytest.raises(ftplib.error_temp, match=r"^421 too many uploads"), ftp_session(uploads):
            pass
        assert sftp(ssh_key, uploads, "pwd").returncode != 0
    uploads.wait_until(lambda: sftp(ssh_key, uploads, "pwd").returncode == 0)


def test_a_disk_that_is_nearly_full_takes_nothing(signer: Signer, tmp_path: Path) -> None:
    changes = make_source(tmp_path / "s", signer)
    with serving(tmp_path / "home", signer, "") as one:
        one.stop()
        text = (one.home / "farm.toml").read_text()
        (one.home / "farm.toml").write_text(text.replace("keep_free_mib = 1\n", "keep_free_mib = 1000000000\n"))
        one.begin()
        with (
            nothing_is_left(one),
            pytest.raises(ftplib.error_temp, match=r"^452 the archive's disk is nearly full"),
        ):
            send(one, changes)


def test_data_comes_to_the_ports_that_are_set(signer: Signer, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with serving(tmp_path / "home", signer, f"passive_ports = [{port}, {port}]\n") as one:
        for n in range(2):
            assert send(one, make_source(tmp_path / f"s{n}", signer, version=f"1.{n}-1")).startswith(
                "226 accepted"
            )
        with ftp_session(one) as ftp:
            with ftp.transfercmd("STOR hello_1.0.orig.tar.gz") as data:
                assert data.getpeername()[1] == port
            ftp.voidresp()


def test_strangers_cannot_send_into_a_session(shared: Uploads, signer: Signer) -> None:
    with nothing_is_left(shared), ftp_session(shared) as ftp:
        _, port = ftp.makepasv()
        with socket.socket() as other:
            other.bind(("127.0.0.2", 0))
            with contextlib.suppress(ConnectionError):
                other.connect(("127.0.0.1", port))
                other.sendall(b"evil")
                assert other.recv(1) == b""
        data = socket.create_connection(("127.0.0.1", port))
        ftp.sendcmd("STOR hello_1.0.orig.tar.gz")
        data.close()
        assert ftp.voidresp().startswith("226 ")


def put_file(uploads: Uploads, path: Path, authorization: str, where: str = INCOMING) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", uploads.port, timeout=60)
    headers = {"Authorization": authorization} if authorization else {}
    connection.request("PUT", f"/{where}/{path.name}", body=path.read_bytes(), headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.reason, answer.headers.get("WWW-Authenticate", "")


def basic(secret: str) -> str:
    return "Basic " + base64.b64encode(f"me:{secret}".encode()).decode()


def test_put_wants_a_token_that_may_upload(shared: Uploads, signer: Signer, tmp_path: Path) -> None:
    reader = shared.archive.create_token(PPA, "reader", by="a test")
    changes = make_source(tmp_path / "s", signer)
    with nothing_is_left(shared):
        for authorization in ("", basic("guess"), basic(reader), "Bearer guess", "Basic x", f"Digest {reader}"):
            status, _, challenge = put_file(shared, changes, authorization)
            assert (status, challenge) == (401, 'Basic realm="uploads"')
            assert put_file(shared, changes, authorization, "~demo/nosuch")[0] == 401


def test_put_by_bearer_and_several_at_once(uploads: Uploads, signer: Signer, tmp_path: Path) -> None:
    bearer = f"Bearer {uploads.archive.create_token(PPA, 'ci', may_upload=True, by='a test')}"
    ones = [in_order(make_source(tmp_path / name, signer, source=name)) for name in ("hello", "other")]
    for path in [path for one in ones for path in one[:-1]]:
        assert put_file(uploads, path, bearer)[0] == 201
    for one in ones:
        status, reason, _ = put_file(uploads, one[-1], bearer)
        assert (status, reason[:10]) == (200, "accepted: ")
    assert uploads.versions("hello") == uploads.versions("other") == ["1.0-1"]
    with nothing_is_left(uploads):
        assert "already there" in put_file(uploads, ones[0][-1], bearer)[1]
        assert put_file(uploads, ones[0][-1], bearer, "~demo/trunk/sid")[0] == 404
        large = tmp_path / "large.tar.gz"
        large.write_bytes(bytes((FILE_LIMIT_MIB << 20) + 1))
        with contextlib.suppress(ConnectionError):
            assert put_file(uploads, large, bearer)[0] == 413


def test_a_bomb_from_a_worker_is_refused_and_noted(uploads: Uploads, signer: Signer, tmp_path: Path) -> None:
    send(uploads, make_source(tmp_path / "s", signer))
    changes = make_binaries(tmp_path / "b")
    put_bomb(changes)
    key = hashlib.sha256(changes.read_bytes()).hexdigest()
    base = f"/upload-binaries/demo/trunk/{SERIES}/{architecture()}/{key}"
    with nothing_is_left(uploads):
        answers = [
            put(uploads, f"{base}/{path.name}", path.read_bytes(), Authorization=f"Bearer {TOKEN}")
            for path in (changes, *in_order(changes))
        ]
    assert [status for status, _ in answers] == [202, 201, 422]
    assert "unpacks to more than" in uploads.refusals()[0].reason
    assert uploads.refusals()[0].via == "http"
