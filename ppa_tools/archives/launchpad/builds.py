"""Builds and binaries of many publications in few requests.

``getBuildSummariesForSourceIds`` tells of many publications at once, and of each only the builds of one kind:
those under way where there are any, else those that wait, else those that failed; with FULLYBUILT all, and with
FULLYBUILT_PENDING those whose binaries are not in the index yet. It never tells of cancelled ones, which the
archive lists. Of publications that it leaves something out of, builds are asked for one by one.
Binaries come from the whole archive's list where that takes fewer requests than asking each publication.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from ppa_tools.archives.door import Stats
from ppa_tools.archives.launchpad import reading
from ppa_tools.archives.launchpad.client import LaunchpadClient
from ppa_tools.archives.launchpad.paging import PAGE_ROWS, Collection, Row, read_first, read_rest
from ppa_tools.parallel import in_parallel
from ppa_tools.publication import ACTIVE, Build, BuildState, Publication, Status

CHUNK = 150
"""As many publications are asked about at once: their numbers stand in the URL, and Launchpad has little time."""

FEW = 8
"""Of as many publications binaries are asked one by one, without looking at the archive's list."""

FULLY_BUILT = "FULLYBUILT"
FULLY_BUILT_PENDING = "FULLYBUILT_PENDING"


@dataclass(frozen=True)
class Summary:
    """What Launchpad sums up of one publication's builds."""

    status: str = ""
    builds: tuple[Row, ...] = ()


@dataclass(frozen=True)
class BuildReader:
    """Asks one archive about builds and binaries; ``doing`` says so for people."""

    client: LaunchpadClient
    archive_url: str
    doing: str
    stats: Stats

    def builds(self, publications: Sequence[Publication]) -> dict[str, tuple[Build, ...]]:
        """The builds of publications by key; of one that is not there, none."""
        summaries = self._summaries(publications) if publications else {}
        found: dict[str, tuple[Build, ...]] = {}
        unclear = []
        for one in publications:
            summary = summaries.get(one.key)
            if summary is None:
                found[one.key] = ()
            elif summary.status == FULLY_BUILT and summary.builds:
                found[one.key] = tuple(reading.build(row, published=one.is_active) for row in summary.builds)
            else:
                unclear.append(one)
        binaries = self.binary_rows([one for one in unclear if one.is_active])
        each = [partial(self._builds_of, one, summaries[one.key], binaries.get(one.key, ())) for one in unclear]
        found.update(zip((one.key for one in unclear), in_parallel(each), strict=True))
        return found

    def binary_rows(self, publications: Sequence[Publication]) -> Mapping[str, Sequence[Row]]:
        """The binary publications of each, by key; debug packages, which apt's main index has not, left out."""
        active = [one for one in publications if one.is_active]
        found: dict[str, Sequence[Row]] = dict(self._from_the_list(active) if len(active) > FEW else {})
        others = [one for one in publications if one.key not in found]
        rows = in_parallel([partial(self._binaries_of, one) for one in others])
        found.update(zip((one.key for one in others), rows, strict=True))
        return found

    def _summaries(self, publications: Sequence[Publication]) -> Mapping[str, Summary]:
        keys = iter(dict.fromkeys(one.key for one in publications))
        chunks = iter(lambda: [int(key) for key in islice(keys, CHUNK)], [])
        reads: list[Callable[[], Mapping[str, Summary]]] = [self._cancelled]
        reads += [partial(self._summaries_of, chunk) for chunk in chunks]
        cancelled, *answers = in_parallel(reads)
        found = {key: summary for answer in answers for key, summary in answer.items()}
        return {key: cancelled.get(key, summary) for key, summary in found.items()}

    def _cancelled(self) -> Mapping[str, Summary]:
        """For publications some of whose builds were cancelled, nothing; the newest page has what is active."""
        kind = "getBuildRecords"
        asked = {"ws.op": kind, "build_state": BuildState.CANCELLED, "ws.size": PAGE_ROWS}
        page = self.client.value(self.archive_url, asked, kind=kind, doing=self.doing, stats=self.stats)
        links = [row.get("current_source_publication_link") for row in page["entries"]]
        return {reading.last_part(link): Summary() for link in links if link}

    def _summaries_of(self, chunk: Sequence[int]) -> Mapping[str, Summary]:
        kind = "getBuildSummariesForSourceIds"
        asked = {"ws.op": kind, "source_ids": chunk}
        found = self.client.value(self.archive_url, asked, kind=kind, doing=self.doing, stats=self.stats) or {}
        return {str(key): Summary(row["status"], tuple(row["builds"])) for key, row in found.items()}

    def _builds_of(self, one: Publication, summary: Summary, binaries: Sequence[Row]) -> tuple[Build, ...]:
        """All builds of a publication whose summary leaves some out."""
        published = {row["build_link"] for row in binaries if row["status"] == Status.PUBLISHED}
        rows = self._all_of_pending(summary, binaries) if summary.status == FULLY_BUILT_PENDING else None
        if rows is None:
            url = f"{self.archive_url}/+sourcepub/{one.key}"
            rows = self.client.rows(Collection(url, {"ws.op": "getBuilds"}, "getBuilds", self.doing), self.stats)
        return tuple(reading.build(row, published=row["self_link"] in published) for row in rows)

    def _all_of_pending(self, summary: Summary, binaries: Sequence[Row]) -> Sequence[Row] | None:
        """The builds of what is built everywhere, told by its binaries; None where they do not tell."""
        listed = {row["self_link"]: row for row in summary.builds}
        architectures: dict[str, str] = {}
        for row in binaries:
            link = row["build_link"]
            architectures.setdefault(link, "")
            if row.get("architecture_specific"):
                architectures[link] = reading.last_part(row["distro_arch_series_link"])
        others = {link: name for link, name in architectures.items() if link not in listed}
        if not all(others.values()):
            return None
        told = [
            {"arch_tag": name, "buildstate": str(BuildState.BUILT), "self_link": link}
            for link, name in others.items()
        ]
        return sorted([*listed.values(), *told], key=lambda row: str(row["arch_tag"]))

    def _from_the_list(self, active: Sequence[Publication]) -> Mapping[str, Sequence[Row]]:
        """From the archive's own list of what is active; empty where asking each publication takes less."""
        keys = {(one.source, one.version, one.series): one.key for one in active}
        found: dict[str, dict[str, Row]] = {key: {} for key in keys.values()}
        for status in ACTIVE:
            asked = {"ws.op": "getPublishedBinaries", "status": status, "order_by_date_ascending": True}
            wanted = Collection(self.archive_url, asked, "getPublishedBinaries", self.doing)
            first = read_first(self.client.session, wanted, self.stats)
            if first.pages_left > len(active):
                return {}
            for row in read_rest(self.client.session, wanted, first, self.stats):
                series = row["distro_arch_series_link"].rstrip("/").split("/")[-2]
                key = keys.get((row["source_package_name"], row["source_package_version"], series))
                if key is not None and not row.get("is_debug"):
                    found[key][row["self_link"]] = row
        return {key: tuple(rows.values()) for key, rows in found.items()}

    def _binaries_of(self, one: Publication) -> Sequence[Row]:
        asked = {"ws.op": "getPublishedBinaries", "active_binaries_only": one.is_active}
        url = f"{self.archive_url}/+sourcepub/{one.key}"
        wanted = Collection(url, asked, "getPublishedBinaries", self.doing)
        return tuple(row for row in self.client.rows(wanted, self.stats) if not row.get("is_debug"))
