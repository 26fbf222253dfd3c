"""Many at once: apt beside a writer that never rests, and several processes that write."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ppa_tools.archives.local import LocalArchive, Wanted
from tests.archive.conftest import PPA, SERIES, Apt, Server, Signer, architecture, make_binaries, make_source
from tests.archive.shelf import ME, STABLE
from tests.archive.soundness import check_archive, held_by_apt

READS = 50
WRITERS = 4
ROUNDS = 5
ARCH = architecture()
STOP_TIMEOUT_S = 120
PROCESSES = multiprocessing.get_context("forkserver")


def start(work: Callable[..., None], *words: Any) -> tuple[BaseProcess, Connection]:
    """A process that does ``work``, and the end of its pipe that is ours."""
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(target=work, args=(*words, there))
    process.start()
    there.close()
    return process, here


def publish_until_told(root: Path, url: str, uploads: list[Path], pipe: Connection) -> None:
    """Accept and publish one upload after the other, then the copies and deletions of them; tell how many."""
    archive = LocalArchive(root, url=url)
    count = 0
    while not pipe.poll():
        changes = uploads[count] if count < len(uploads) else None
        if changes is not None:
            archive.accept_source(PPA, SERIES, changes.parent, changes.name)
        archive.publish(PPA, force=True)
        count += 1
    archive.close()
    pipe.send(count)


def test_apt_never_fails_beside_a_writer_that_publishes_as_fast_as_it_can(
    server: Server, signer: Signer, tmp_path: Path
) -> None:
    uploads = [make_source(tmp_path / f"s{n}", signer, version=f"1.{n}-1") for n in range(40)]
    with_key = LocalArchive(server.home / "archive", url=server.url)
    apt = Apt(tmp_path / "apt", with_key.sources_text(PPA, SERIES))
    with_key.close()
    writer, pipe = start(publish_until_told, server.home / "archive", server.url, uploads)
    seen = []
    for _ in range(READS):
        apt.run("update")
        seen.append(held_by_apt(apt, PPA).sources.get("hello"))
    pipe.send("stop")
    assert pipe.poll(STOP_TIMEOUT_S)
    published = pipe.recv()
    writer.join()
    print(f"{READS} reads beside {published} publications, {len(set(seen))} of them seen")
    assert published >= READS // 2
    assert len(set(seen)) >= 10


def add_and_copy(root: Path, database: str, name: str, rounds: list[tuple[Path, Path]], pipe: Connection) -> None:
    """Add a source with its binary and copy it, several times; tell that all went well."""
    archive = LocalArchive(root, database=database)
    for source, binaries in rounds:
        archive.accept_source(PPA, SERIES, source.parent, source.name)
        archive.accept_binaries(PPA, SERIES, ARCH, binaries.parent, binaries.name, name)
        archive.publish(PPA)
        archive.copy(PPA, SERIES, STABLE, SERIES, [Wanted(name)], by=name)
    archive.close()
    pipe.send("done")


def test_four_processes_add_and_copy_at_once_and_the_order_is_told(
    archive: LocalArchive, signer: Signer, tmp_path: Path
) -> None:
    archive.ensure_ppa(STABLE, series=[SERIES], architectures=[ARCH], by=ME)
    write_from_many_sides(archive, signer, tmp_path)


def write_from_many_sides(archive: LocalArchive, signer: Signer, tmp_path: Path, database: str = "") -> None:
    """Have several processes add and copy at once, and see that nothing is lost and the order is told."""
    names = [f"writer{n}" for n in range(WRITERS)]
    versions = [f"1.{n}-1" for n in range(ROUNDS)]
    running = [
        start(
            add_and_copy,
            archive.root,
            database,
            name,
            [
                (
                    make_source(tmp_path / name / f"s{version}", signer, source=name, version=version),
                    make_binaries(tmp_path / name / f"b{version}", source=name, version=version),
                )
                for version in versions
            ],
        )
        for name in names
    ]
    for process, pipe in running:
        assert pipe.poll(STOP_TIMEOUT_S)
        assert pipe.recv() == "done"
        process.join()
    for address in (PPA, STABLE):
        assert [(one.source, one.version) for one in archive.listing(address)] == [
            (name, versions[-1]) for name in names
        ]
        changes = archive.changes(address)
        assert [one.generation for one in changes] == list(range(1, len(changes) + 1))
        assert sorted(changes, key=lambda one: one.at) == list(changes)
    told = archive.changes(PPA)
    for name in names:
        mine = [one.why.split()[1] for one in told if one.what == "upload" and one.why.startswith(f"{name} ")]
        assert mine == versions
        assert sum(one.what == "build" and one.by == name for one in told) == ROUNDS
        copies = [one for one in archive.changes(STABLE) if one.what == "copy" and one.by == name]
        assert len(copies) == ROUNDS
    check_archive(archive)
