"""Verifying an archive: whether what lies on disk is what the history says, and what a signed Release vouches for.

Everything is looked at beside writers, without a lock. What then looks wrong is looked at once more while nobody
can change it (a PPA's lock for its pool and indexes, a writing transaction for blobs), and only that is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ppa_tools import openpgp
from ppa_tools.archives import history as h
from ppa_tools.archives import leftovers, verify_files, verify_indexes
from ppa_tools.archives.durable import locked
from ppa_tools.archives.findings import Finding, Kind, Severity
from ppa_tools.archives.layout import Layout

LAGS_AFTER_S = 60.0


def verify(
    history: h.History, layout: Layout, ppas: Sequence[h.PPA], now: float, *, whole: bool, deep: bool
) -> tuple[Finding, ...]:
    """What is wrong with PPAs, or with the archive as a ``whole``.

    ``deep`` reads every file; else the sizes of those in the pool must do, while indexes are always read.
    """
    return (
        *(Finding(Kind.DATABASE, Severity.ERROR, "", _mend_database(said), False) for said in history.troubles()),
        *verify_files.check_blobs(history, layout, None if whole else ppas, now, deep=deep),
        *(one for ppa in ppas for one in _check_ppa(history, layout, ppa, now, deep=deep)),
        *_check_weights(history, {ppa.id for ppa in ppas}),
        *(_check_strangers(history, layout) if whole else ()),
    )


def _check_ppa(history: h.History, layout: Layout, ppa: h.PPA, now: float, *, deep: bool) -> Iterator[Finding]:
    def settled(check: Callable[[], list[Finding]]) -> list[Finding]:
        if check():
            with locked(layout.lock_file(ppa.address)):
                return check()
        return []

    yield from settled(lambda: verify_files.check_pool(history, layout, ppa, deep=deep))
    yield from settled(lambda: _check_keys(history, layout, ppa, now))
    with history.read() as conn:
        names = [one.name for one in h.list_series(conn, ppa)]
    for name in names:
        yield from settled(lambda name=name: _check_series(history, layout, ppa, name, now))  # type: ignore[misc]


def _check_series(history: h.History, layout: Layout, ppa: h.PPA, name: str, now: float) -> list[Finding]:
    with history.read() as conn:
        current = h.find_ppa(conn, ppa.address)
        series = h.find_series(conn, ppa, name)
        if current is None or series is None:
            return []  # deleted meanwhile
        waiting_since = h.waiting_since(conn, series)
    found = verify_indexes.check_series(history, layout, current, series)
    if waiting_since is not None and now - waiting_since > LAGS_AFTER_S:
        what = f"{name} of {ppa.address} has changes that are not published since {now - waiting_since:.0f} s"
        found.append(Finding(Kind.LAGS, Severity.WARNING, "", what, True, ppa.address, name))
    return found


def _check_keys(history: h.History, layout: Layout, ppa: h.PPA, now: float) -> list[Finding]:
    with history.read() as conn:
        current = h.find_ppa(conn, ppa.address)
    home = layout.key_home(ppa.address)
    path = str(home.relative_to(layout.root))
    try:
        there = {key.fingerprint: key for key in openpgp.secret_keys(home)} if home.is_dir() else {}
    except openpgp.OpenPGPError as error:
        what = f"the keys of {ppa.address} cannot be read: {error}; put back a copy of {path}"
        return [Finding(Kind.KEY, Severity.ERROR, path, what, False, ppa.address)]
    found = []
    for fingerprint in current.key_fingerprints if current else ():
        key = there.get(fingerprint)
        if key is None:
            what = f"the key {fingerprint} of {ppa.address} is gone: put back a copy of {path}, or add a new key"
        elif key.expires_at is not None and key.expires_at <= now:
            what = f"the key {fingerprint} of {ppa.address} has expired: add a new one, and retire this"
        else:
            continue
        found.append(Finding(Kind.KEY, Severity.ERROR, path, what, False, ppa.address))
    return found


def _check_weights(history: h.History, ppa_ids: set[int]) -> list[Finding]:
    with history.read() as conn:
        weights = h.weights(conn)
    return [
        Finding(
            Kind.WEIGHT,
            Severity.WARNING,
            "",
            f"the history counts {one.said} bytes for {one.address}, and its files weigh {one.counted}",
            True,
            one.address,
        )
        for one in weights
        if one.ppa_id in ppa_ids and one.said != one.counted
    ]


def _check_strangers(history: h.History, layout: Layout) -> Iterator[Finding]:
    """Directories that look like PPAs and are none."""
    for address in leftovers.addresses_on_disk(layout):
        with history.read() as conn:
            if h.find_ppa(conn, address, deleted=True) is not None:
                continue
        for private in (False, True):
            directory = layout.served(address, private=private)
            if directory.is_dir():
                path = str(directory.relative_to(layout.root))
                what = f"{path} is of no PPA that was ever here: move it away if nobody knows what it is"
                yield Finding(Kind.ORPHAN, Severity.WARNING, path, what, False)


def _mend_database(said: str) -> str:
    return f"the publishing history is damaged ({said}): stop the archive and put back its last good copy"
