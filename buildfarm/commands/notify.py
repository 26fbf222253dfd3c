"""``buildfarm notify``: tell the farm that a trunk has a new commit; fast, and never in the way."""

from __future__ import annotations

import argparse
import contextlib
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlencode, urlsplit

from buildfarm.errors import FarmTrouble, UsageError
from buildfarm.settings import load_settings

HOOK_PATH = "change_hook/trunk"
TIMEOUT_S = 2.0
ANSWER_LIMIT_BYTES = 2000


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("--recipe", default="", metavar="NAME", help="the recipe whose trunk is meant")
    parser.add_argument("--location", default="", metavar="URL", help="the trunk's location, as recipes name it")
    parser.add_argument("--branch", default="", metavar="B", help="only this branch of it")
    parser.add_argument(
        "--url", default="", metavar="WEB_URL", help="the farm's web status (default: from farm.toml)"
    )
    parser.epilog = (
        "At least one of --recipe, --location and --branch. Exit status: 0 the farm took it, 2 wrong usage,"
        " 3 it did not (it polls all the same)."
    )


def run(args: argparse.Namespace) -> int:
    """Send the notice and say how it went."""
    fields = {name: getattr(args, name) for name in ("recipe", "location", "branch") if getattr(args, name)}
    if not fields:
        raise UsageError("nothing says which trunk is meant", resolution="Give --location, --recipe or --branch.")
    url = args.url or load_settings().web_url
    send_notice(url, fields)
    print(f"{url} will look at {fields.get('location') or fields.get('recipe') or fields['branch']} now")
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    return 0


def send_notice(url: str, fields: dict[str, str]) -> None:
    """POST a notice to the farm's change hook; UsageError for a bad URL, FarmTrouble when it is not taken."""
    parts = urlsplit(url if url.endswith("/") else url + "/")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url!r} is no web address", resolution="Give one like http://127.0.0.1:8010/.")
    kind = HTTPConnection if parts.scheme == "http" else HTTPSConnection
    connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode(fields, errors="surrogateescape")
    try:
        connection.request("POST", parts.path + HOOK_PATH, body, headers)
        answer = connection.getresponse()
        said = answer.read(ANSWER_LIMIT_BYTES).decode("utf-8", "replace").strip()
    except (OSError, HTTPException) as error:
        raise FarmTrouble(
            f"the farm cannot be reached: {str(error) or type(error).__name__}",
            where=url,
            resolution="Nothing is lost: the farm finds the commit when it polls. See `buildfarm status`.",
        ) from error
    finally:
        connection.close()
    if answer.status >= 300:
        raise FarmTrouble(
            f"the farm did not take the notice: {answer.status} {answer.reason}",
            where=url,
            details=said,
            resolution="Check that a recipe's trunk has exactly this location and branch.",
        )
