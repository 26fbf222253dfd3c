"""Which address is which page: a path and its query in, an answer out; what is not there says what to do."""

from __future__ import annotations

from collections.abc import Mapping

from buildfarm.regress.model import Subject
from buildfarm.regress.places import places_of
from buildfarm.settings import Settings
from buildfarm.web.addresses import LONGEST, Links, Query, number_of
from buildfarm.web.answers import Answer, BadRequest, Elsewhere, FileAnswer, NotFound
from buildfarm.web.builds import build_page, find_build
from buildfarm.web.causes import cause_page
from buildfarm.web.files import artifact_of, log_of
from buildfarm.web.forms import TYPES, Forms
from buildfarm.web.lookups import open_news, open_reading
from buildfarm.web.matrix import matrix_page
from buildfarm.web.nights import night_page
from buildfarm.web.packages import package_page
from buildfarm.web.rendering import STATIC, refusal

DEEPEST = 6
Found = Answer | Elsewhere | FileAnswer


class Site:
    """The pages of one farm's rebuilds; every method may run in any thread, and waits for the disk."""

    def __init__(self, settings: Settings) -> None:
        self._places = places_of(settings)
        self._reading = open_reading(settings.regression_file)
        self._news = open_news(settings.regression_file)
        self._forms = Forms(settings, self._reading, self._news)

    def close(self) -> None:
        """Let go of the record."""
        self._reading.close()
        self._news.close()

    def answer(self, path: tuple[str, ...], query: Mapping[str, str]) -> Found:
        """What stands at an address below the first page's."""
        if not path:
            return Elsewhere("rebuilds/")
        links = Links(min(len(path) - 1, DEEPEST))
        try:
            if len(path) > DEEPEST or any(len(part) > LONGEST for part in path):
                raise NotFound("There is no such page.", "Begin at the matrix.")
            return self._answer(path, links, Query(query))
        except BadRequest as trouble:
            return refusal(trouble, links, status=400)
        except NotFound as trouble:
            return refusal(trouble, links)

    def _answer(self, path: tuple[str, ...], links: Links, query: Query) -> Found:
        match path:
            case ("",):
                return matrix_page(self._reading, links, query)
            case ("nights", number):
                return night_page(self._reading, links, number_of(number, "night"))
            case ("packages", package, series, architecture):
                return package_page(self._reading, links, Subject(package, series, architecture))
            case ("causes", fingerprint):
                return cause_page(self._reading, links, fingerprint)
            case ("builds", number, *rest):
                return self._of_build(number_of(number, "build"), rest, links, query)
            case (name,) if name in TYPES:
                return self._forms.answer(name, query)
            case (("style.css" | "icon.svg") as name,):
                return static_file(name)
        raise NotFound("There is no such page.", "Begin at the matrix.")

    def _of_build(self, number: int, rest: list[str], links: Links, query: Query) -> Found:
        match rest:
            case []:
                return build_page(self._reading, self._places, links, number, query)
            case ["log"]:
                return log_of(self._places, find_build(self._reading, number))
            case ["files", name]:
                return artifact_of(self._places, find_build(self._reading, number), name)
        raise NotFound(f"There is no such page of #{number}.", f"Its page is builds/{number}.")


def is_slow(path: tuple[str, ...]) -> bool:
    """Whether an answer may take seconds."""
    return len(path) == 1 and path[0] in TYPES


def static_file(name: str) -> Answer:
    """A file that comes along with the pages."""
    path = STATIC / name
    body = path.read_bytes()
    kind = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}[path.suffix]
    return Answer(body, kind, etag=f'"{path.stat().st_mtime_ns:x}-{len(body):x}"', changed_at=path.stat().st_mtime)
