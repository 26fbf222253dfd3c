"""What is read of the archive over HTTP: its pages, its API, and each PPA's files, as static files.

Whether the PPA is there, is private, and where its files lie is looked up in a thread before anything is served.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.web import http, resource, static
from twisted.web.pages import notFound
from twisted.web.server import Request

from ppa_tools.address import Address
from ppa_tools.archives import pages, ppa_page, views
from ppa_tools.archives.access import secret_of
from ppa_tools.archives.answering import Service
from ppa_tools.archives.bodies import Answer, read_address
from ppa_tools.archives.local import PPA

CONTENT_TYPES = {
    ".deb": "application/vnd.debian.binary-package",
    ".ddeb": "application/vnd.debian.binary-package",
    ".gz": "application/gzip",
    ".xz": "application/x-xz",
    ".zst": "application/zstd",
    ".bz2": "application/x-bzip2",
    ".gpg": "application/pgp-signature",
    ".asc": "text/plain",
    ".dsc": "text/plain",
}
NOTHING = notFound()


class Computed(resource.Resource):  # type: ignore[misc]
    """A page that is made when asked for."""

    isLeaf = True  # noqa: N815 (Twisted's name)

    def __init__(self, service: Service, make: Callable[[], Answer]) -> None:
        super().__init__()
        self._service, self._make = service, make

    def render_GET(self, request: Request) -> int:  # noqa: N802
        """Make it in a thread."""
        return self._service.answer(request, self._make)


class Owner(resource.Resource):  # type: ignore[misc]
    """An owner, who has PPAs."""

    def __init__(self, service: Service, owner: bytes) -> None:
        super().__init__()
        self._service, self._owner = service, owner

    def getChild(self, name: bytes, _request: Request) -> resource.Resource:  # noqa: N802
        """A PPA."""
        address = read_address(self._owner, name)
        return OnePPA(self._service, address) if address else NOTHING

    def render_GET(self, request: Request) -> bytes:  # noqa: N802
        """An owner has no page."""
        return NOTHING.render(request)  # type: ignore[no-any-return]


class OnePPA(resource.Resource):  # type: ignore[misc]
    """A PPA's page, its key, its .sources and its files, for those who may read it."""

    isLeaf = True  # noqa: N815 (Twisted's name)

    def __init__(self, service: Service, address: Address) -> None:
        super().__init__()
        self._service, self._address = service, address

    def render_GET(self, request: Request) -> int:  # noqa: N802
        """Look whether it may be read, then show what is asked for."""
        look = partial(self._service.readers.find, self._address, secret_of(request))
        return self._service.look_first(request, look, lambda ppa: self._find(ppa, request))

    def _find(self, ppa: PPA, request: Request) -> resource.Resource:
        """The resource that the rest of the path names."""
        if not request.postpath:
            return WithSlash()
        name = request.postpath[0].decode("ascii", "replace")
        if name in ("dists", "pool"):
            request.prepath.append(request.postpath.pop(0))
            served = self._service.archive.directory_of(ppa) / name
            shown = f"/{ppa.address.owner}/{ppa.address.name}/{name}"
            return resource.getChildForRequest(PublicFile(self._service, served, shown), request)
        make = self._page(ppa, name, request) if len(request.postpath) == 1 else None
        return Computed(self._service, make) if make else NOTHING

    def _page(self, ppa: PPA, name: str, request: Request) -> Callable[[], Answer] | None:
        archive, address = self._service.archive, ppa.address
        if name == "":
            query = ppa_page.Query.of(partial(_argument, request))
            return lambda: html(ppa_page.ppa_page(archive, ppa, query))
        if name == "key.asc":
            return lambda: Answer(200, "application/pgp-keys", archive.public_key(address))
        if name.startswith(f"{address.name}-") and name.endswith(".sources"):
            series = name.removeprefix(f"{address.name}-").removesuffix(".sources")
            return lambda: Answer.of_text(200, archive.sources_text(address, series))
        return None


class Api(resource.Resource):  # type: ignore[misc]
    """/api/OWNER/NAME/publications."""

    isLeaf = True  # noqa: N815 (Twisted's name)

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service

    def render_GET(self, request: Request) -> Any:  # noqa: N802
        """The publications that the query asks for."""
        address = read_address(*request.postpath[:2]) if len(request.postpath) == 3 else None
        if address is None or request.postpath[2] != b"publications":
            return NOTHING.render(request)
        series, source, version = (_argument(request, name) for name in ("series", "source", "version"))
        secret = secret_of(request)

        def find() -> Answer:
            self._service.readers.find(address, secret)
            found = self._service.archive.publications(address, series=series, source=source, version=version)
            rows = [views.publication_json(one) for one in found]
            return Answer.of_json(200, {"archive": str(address), "publications": rows})

        return self._service.answer(request, find)


class WithSlash(resource.Resource):  # type: ignore[misc]
    """The address of a page that has links ends with a slash."""

    isLeaf = True  # noqa: N815 (Twisted's name)

    def render_GET(self, request: Request) -> bytes:  # noqa: N802
        """Send whoever asks there."""
        request.redirect(request.path + b"/")
        return b""


class PublicFile(static.File):  # type: ignore[misc]
    """A published file or directory: no hidden names, exact types, never a Content-Encoding, an ETag.

    ``shown`` is its path in the address.
    """

    contentTypes = CONTENT_TYPES  # noqa: N815 (Twisted's name)
    contentEncodings: dict[str, str] = {}  # noqa: N815, RUF012 (Twisted's name)

    def __init__(self, service: Service, path: Path, shown: str) -> None:
        super().__init__(str(path), defaultType="text/plain; charset=utf-8")
        self._service, self._shown = service, shown

    def getChild(self, name: bytes, request: Request) -> resource.Resource:  # noqa: N802
        """A file below, or with "" the directory's own page; what begins with a dot is being written."""
        if name.startswith(b".") or b"\0" in name or not self.isdir():
            return NOTHING
        if name == b"":
            return Computed(self._service, lambda: html(pages.directory_page(Path(self.path), self._shown)))
        return super().getChild(name, request)

    def createSimilarFile(self, path: str) -> PublicFile:  # noqa: N802 (Twisted's name)
        """What ``getChild`` found."""
        return PublicFile(self._service, Path(path), f"{self._shown}/{Path(path).name}")

    def render_GET(self, request: Request) -> Any:  # noqa: N802
        """The file, a part of it, or that it has not changed."""
        request.setHeader(b"x-content-type-options", b"nosniff")
        self.restat(False)
        if self.isdir():
            return WithSlash().render(request)
        if self.isfile():
            if "/by-hash/" in self.path:
                self.type, self.encoding = "application/octet-stream", None
            if _is_known(request, Path(self.path)):
                return b""
        return super().render_GET(request)

    render_HEAD = render_GET  # noqa: N815


def html(text: str) -> Answer:
    """A page."""
    return Answer.of_text(200, text, "text/html; charset=utf-8")


def _is_known(request: Request, file: Path) -> bool:
    """Set the ETag; whether whoever asks has this content already.

    Mends what Twisted leaves out of RFC 9110: 13.1.3, an ETag that was sent alone decides; 13.1.5, a part
    of a file is wanted only while it is the same file; 14.2, a server may ignore Range, here where it names many.
    """
    stat = file.stat()
    etag = f'"{stat.st_ino:x}-{stat.st_size:x}-{stat.st_mtime_ns:x}"'.encode()
    headers = request.requestHeaders
    if headers.hasHeader(b"if-none-match"):
        headers.removeHeader(b"if-modified-since")
    only_if = request.getHeader(b"if-range")
    if only_if is not None and only_if not in (etag, http.datetimeToString(math.ceil(stat.st_mtime))):
        headers.removeHeader(b"range")
    if b"," in (request.getHeader(b"range") or b""):
        headers.removeHeader(b"range")
    return bool(request.setETag(etag) is http.CACHED)


def _argument(request: Request, name: str) -> str:
    values = request.args.get(name.encode(), [b""])
    return str(values[0].decode("utf-8", "replace").replace("\0", "\ufffd"))  # no database takes a NUL
