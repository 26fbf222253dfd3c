"""Random archives with a past, for property tests: histories of uploads and deletions that the model allows."""

from __future__ import annotations

from hypothesis import strategies as st

from ppa_tools.publication import BuildState
from tests.ppa_tools.model import ModelArchive, Release

NAMES = ("apt", "bash", "curl", "dash")
VERSIONS = ("0.9", "1.0-1", "1.0-2", "1.1-1", "2.0-1", "1:0.5-1", "1:1.0-1")
STATES = (
    (BuildState.BUILT, BuildState.BUILT),
    (BuildState.BUILT, BuildState.BUILT),
    (BuildState.BUILT, BuildState.FAILED),
    (BuildState.BUILDING, BuildState.NEEDS_BUILDING),
    (BuildState.FAILED, BuildState.FAILED),
)

uploads = st.tuples(
    st.just("upload"),
    st.sampled_from(("jammy", "noble")),
    st.sampled_from(NAMES),
    st.sampled_from(VERSIONS),
    st.sampled_from(("x", "x", "x", "y")),
    st.sampled_from(STATES),
)
deletions = st.tuples(st.just("delete"), st.sampled_from(("jammy", "noble")), st.sampled_from(NAMES))
histories = st.lists(st.one_of(uploads, uploads, uploads, deletions), max_size=14)


def live_through(archive: ModelArchive, history: list[tuple[object, ...]]) -> list[float]:
    """Let a history happen; the moments between its events."""
    moments = []
    for what, series, name, *rest in history:
        archive.world.now += 10
        if what == "delete":
            archive.end(series, name)  # type: ignore[arg-type]
        else:
            version, content, states = rest
            archive.upload(series, Release(name, version, content, states, orig=content))  # type: ignore[arg-type]
        moments.append(archive.world.now + 5)
    archive.world.now += 10_000
    return moments
