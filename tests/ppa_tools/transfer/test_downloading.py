"""Files come whole, as they were promised, or not at all; what is cut off goes on where it was."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ppa_tools.archives.door import DoorError, NoRights, NotThere, Refused, Stats, Unreachable
from ppa_tools.archives.downloading import Limits, Wanted, Way, fetch
from ppa_tools.publication import File

LIMITS = Limits(first_wait_s=0.01, read_s=2, tries=3)
CONTENT = bytes(range(256)) * 4096


@dataclass
class Shop:
    """A file server: ``troubles`` are what happens to the requests, in turn; then all goes well."""

    port: int = 0
    ranges: bool = True
    troubles: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)

    def file(self, name: str = "file", content: bytes = CONTENT) -> File:
        return File(
            name, f"http://127.0.0.1:{self.port}/{name}", hashlib.sha256(content).hexdigest(), len(content)
        )


@pytest.fixture
def shop() -> Iterator[Shop]:
    one = Shop()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            one.asked.append(asked)
            one.authorizations.append(self.headers.get("Authorization", ""))
            trouble = one.troubles.pop(0) if one.troubles else ""
            if trouble.isdigit():
                self.send_response(int(trouble))
                self.end_headers()
                return
            if trouble == "elsewhere":
                self.send_response(302)
                self.send_header("Location", f"http://localhost:{one.port}/file")
                self.end_headers()
                return
            begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and one.ranges else 0
            body = CONTENT[begin:] if trouble != "other" else CONTENT[::-1]
            self.send_response(206 if begin else 200)
            if trouble != "endless":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if trouble == "cut":
                body = body[: len(body) // 2]
            self.wfile.write(body * 4 if trouble == "endless" else body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        one.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield one
        server.shutdown()


def get(shop: Shop, path: Path, *, limits: Limits = LIMITS, **those: object) -> Stats:
    stats = Stats()
    fetch([Wanted(shop.file(), path / "file")], limits=limits, stats=stats, **those)  # type: ignore[arg-type]
    assert (path / "file").read_bytes() == CONTENT
    assert [one.name for one in path.iterdir()] == ["file"]
    return stats


def test_a_file_comes_as_it_was_promised(shop: Shop, tmp_path: Path) -> None:
    stats = get(shop, tmp_path)
    assert (stats.requests, stats.received_bytes) == (1, len(CONTENT))


def test_what_is_there_is_not_asked_for(shop: Shop, tmp_path: Path) -> None:
    get(shop, tmp_path)
    assert get(shop, tmp_path).requests == 0


def test_what_is_cut_off_goes_on_where_it_was(shop: Shop, tmp_path: Path) -> None:
    shop.troubles = ["cut", "cut"]
    stats = get(shop, tmp_path)
    half, quarter = len(CONTENT) // 2, len(CONTENT) // 4
    assert shop.asked == ["", f"bytes={half}-", f"bytes={half + quarter}-"]
    assert (stats.retried, stats.received_bytes) == (2, len(CONTENT))


def test_a_later_run_goes_on_where_an_earlier_one_was(shop: Shop, tmp_path: Path) -> None:
    shop.troubles = ["cut", "503", "503", "503"]
    with pytest.raises(Unreachable, match="it answers 503"):
        get(shop, tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["file.part"]
    shop.asked.clear()
    get(shop, tmp_path)
    assert shop.asked == [f"bytes={len(CONTENT) // 2}-"]


def test_a_part_that_is_whole_is_kept_and_one_that_is_wrong_is_not(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert get(shop, tmp_path).requests == 0
    (tmp_path / "file").unlink()
    (tmp_path / "file.part").write_bytes(CONTENT[::-1])
    assert get(shop, tmp_path).requests == 1


def test_a_server_without_ranges_begins_anew(shop: Shop, tmp_path: Path) -> None:
    shop.ranges = False
    shop.troubles = ["cut", "503"]
    get(shop, tmp_path)


@pytest.mark.parametrize("trouble", ["416", "500", "429"])
def test_what_mends_itself_is_waited_for(shop: Shop, tmp_path: Path, trouble: str) -> None:
    shop.troubles = [trouble]
    get(shop, tmp_path)


@pytest.mark.parametrize(
    ("answer", "error"), [("401", NoRights), ("403", NoRights), ("404", NotThere), ("400", DoorError)]
)
def test_what_does_not_mend_itself_is_told_at_once(
    shop: Shop, tmp_path: Path, answer: str, error: type[DoorError]
) -> None:
    shop.troubles = [answer]
    with pytest.raises(error, match="file"):
        get(shop, tmp_path)
    assert len(shop.asked) == 1


def test_other_content_is_thrown_away(shop: Shop, tmp_path: Path) -> None:
    shop.troubles = ["other"]
    with pytest.raises(Refused, match="was promised"):
        get(shop, tmp_path)
    assert list(tmp_path.iterdir()) == []
    get(shop, tmp_path)


def test_more_than_was_promised_is_not_taken(shop: Shop, tmp_path: Path) -> None:
    shop.troubles = ["endless"]
    with pytest.raises(Refused, match="is longer than"):
        get(shop, tmp_path)
    get(shop, tmp_path)


def test_all_stops_when_the_time_is_over(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="takes longer than"):
        get(shop, tmp_path, limits=Limits(whole_s=0))


def test_who_asks_is_not_told_to_another_host(shop: Shop, tmp_path: Path) -> None:
    shop.troubles = ["elsewhere"]
    get(shop, tmp_path, way_to=lambda url: Way(url, {"Authorization": "secret"}))
    assert shop.authorizations == ["secret", ""]


def test_only_the_web_is_downloaded_from(tmp_path: Path) -> None:
    wanted = Wanted(File("file", "file:///etc/passwd", "0" * 64, 10), tmp_path / "file")
    with pytest.raises(Refused, match="cannot be downloaded"):
        fetch([wanted], limits=LIMITS, stats=Stats())
