"""Who may read a PPA over HTTP: everybody a public one, whoever has a token a private one.

A token is the password of HTTP Basic, with any user name, or a Bearer; the workers' token reads every PPA. To all
others a private PPA and one that does not exist look the same: a token is wanted. So names stay private, too.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass

from twisted.web.server import Request

from ppa_tools.address import Address
from ppa_tools.archives.errors import TokenWanted, UnknownPPA
from ppa_tools.archives.local import PPA, LocalArchive


@dataclass(frozen=True)
class Readers:
    """Those who may read an archive."""

    archive: LocalArchive
    worker_token: str

    def find(self, address: Address, secret: str) -> PPA:
        """The PPA, for whoever has ``secret`` ("" for none); it waits for the database.

        Raises TokenWanted, and UnknownPPA for the farm's own workers.
        """
        is_worker = bool(secret) and hmac.compare_digest(secret.encode(), self.worker_token.encode())
        try:
            ppa = self.archive.ppa(address)
            if not ppa.settings.private or is_worker:
                return ppa
            if secret and self.archive.check_token(address, secret):
                return ppa
        except UnknownPPA:
            if is_worker:
                raise
        raise TokenWanted(address.owner, address.name)


def secret_of(request: Request) -> str:
    """The token that came with a request, or ""."""
    scheme, _, value = (request.getHeader(b"authorization") or b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return str(value.strip())
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except ValueError:  # of base64 or of UTF-8
        return ""
