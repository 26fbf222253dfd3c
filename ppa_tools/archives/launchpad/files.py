"""The files of publications with sizes and hashes: from the PPA's apt indexes, or else asked for one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ppa_tools.archives.door import Stats
from ppa_tools.archives.launchpad import reading
from ppa_tools.archives.launchpad.builds import BuildReader
from ppa_tools.archives.launchpad.client import LaunchpadClient
from ppa_tools.archives.launchpad.index import BySource, IndexReader
from ppa_tools.archives.launchpad.paging import Row
from ppa_tools.parallel import in_parallel
from ppa_tools.publication import File, Publication, Status

WORTH_AN_INDEX = 4
"""Of fewer in a series each is asked: an index of a big PPA is megabytes."""


@dataclass(frozen=True)
class FileReader:
    """Asks one archive about files; ``indexes`` None: it is private, or has none that are known."""

    client: LaunchpadClient
    archive_url: str
    doing: str
    stats: Stats
    builds: BuildReader
    indexes: IndexReader | None

    def source_files(self, publications: Sequence[Publication]) -> dict[str, tuple[File, ...]]:
        """The .dsc and the files that it names, by key; empty where they are no longer kept."""
        found: dict[str, tuple[File, ...]] = {}
        if self.indexes is not None:
            groups = _by_series(publications)
            indexes = in_parallel([partial(self.indexes.sources, series) for series in groups])
            for index, group in zip(indexes, groups.values(), strict=True):
                for one in group:
                    if (its := index.get((one.source, one.version))) is not None:
                        found[one.key] = its
        others = [one for one in publications if one.key not in found]
        files = in_parallel([partial(self._files, f"+sourcepub/{one.key}", "sourceFileUrls") for one in others])
        found |= zip((one.key for one in others), files, strict=True)
        return found

    def binary_files(self, publications: Sequence[Publication]) -> dict[str, tuple[File, ...]]:
        """The .debs of each, by key."""
        rows = self.builds.binary_rows(publications)
        found = self._debs_in_indexes(publications, rows) if self.indexes is not None else {}
        others = {key: _one_of_each(its) for key, its in rows.items() if key not in found}
        wanted = [(key, row) for key, its in others.items() for row in its]
        paths = [f"+binarypub/{reading.last_part(row['self_link'])}" for _, row in wanted]
        files = in_parallel([partial(self._files, path, "binaryFileUrls") for path in paths])
        asked: dict[str, dict[str, File]] = {key: {} for key in others}
        for (key, _), its in zip(wanted, files, strict=True):
            asked[key].update({file.name: file for file in its})
        return found | {key: tuple(its.values()) for key, its in asked.items()}

    def _debs_in_indexes(
        self, publications: Sequence[Publication], rows: Mapping[str, Sequence[Row]]
    ) -> dict[str, tuple[File, ...]]:
        """Those of which the indexes have all .debs that Launchpad knows of."""
        indexes = self.indexes
        if indexes is None:
            return {}
        groups = _by_series(publications)
        places = {
            (series, reading.last_part(row["distro_arch_series_link"]))
            for series, group in groups.items()
            for one in group
            for row in rows.get(one.key, ())
        }
        reads: list[Callable[[], BySource]] = [partial(indexes.binaries, *place) for place in sorted(places)]
        read = dict(zip(sorted(places), in_parallel(reads), strict=True))
        found = {}
        for series, group in groups.items():
            here = [index for (name, _), index in read.items() if name == series]
            for one in group:
                each = [file for index in here for file in index.get((one.source, one.version), ())]
                files = {file.name: file for file in each}
                if len(files) == len(_one_of_each(rows.get(one.key, ()))):
                    found[one.key] = tuple(files.values())
        return found

    def _files(self, path: str, operation: str) -> tuple[File, ...]:
        rows = self.client.value(
            f"{self.archive_url}/{path}",
            {"ws.op": operation, "include_meta": True},
            kind=operation,
            doing=self.doing,
            stats=self.stats,
        )
        return tuple(file for row in rows or () if (file := reading.file(row)) is not None)


def _by_series(publications: Iterable[Publication]) -> Mapping[str, Sequence[Publication]]:
    """What may be in the indexes, by series, where there is enough of it to read one."""
    found: dict[str, list[Publication]] = defaultdict(list)
    for one in publications:
        if one.status is Status.PUBLISHED:
            found[one.series].append(one)
    return {series: group for series, group in found.items() if len(group) >= WORTH_AN_INDEX}


def _one_of_each(rows: Iterable[Row]) -> Sequence[Row]:
    """Binary publications less those of one .deb in several architectures' indexes."""
    found = {}
    for row in rows:
        one = reading.binary(row)
        found[one.package, one.version, one.architecture] = row
    return list(found.values())
