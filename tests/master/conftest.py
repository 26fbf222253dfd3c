"""A farm that the tests of a module share, and a browser's way to speak to its pages."""

import pytest
import requests

from tests.scenarios.running_farm import farm, make_farm

__all__ = ["farm"]


class Web:
    """A session with the web status; ``log_in`` as the farm's admin."""

    def __init__(self, running):
        self.farm = running
        self.session = requests.Session()

    def log_in(self):
        password = (self.farm.home / "secrets" / "admin-password").read_text().strip()
        self.get("auth/login", auth=("admin", password))
        return self

    def get(self, path, **kwargs):
        return self.session.get(self.farm.settings.web_url + path, timeout=30, **kwargs)

    def post(self, path, **kwargs):
        return self.session.post(self.farm.settings.web_url + path, timeout=30, **kwargs)

    def control(self, path, method, **params):
        call = {"jsonrpc": "2.0", "method": method, "id": 1, "params": params}
        return self.post(f"api/v2/{path}", json=call)


@pytest.fixture(scope="module")
def shared(tmp_path_factory, root_cache):
    """A farm that is up, with a trunk ``tiny`` whose commits fail at once, and hooks of two forges."""
    running = make_farm(tmp_path_factory.mktemp("shared"), root_cache, silence_limit_s=6)
    secret = running.root / "hook-secret"
    secret.write_text("a secret of the hook\n")
    with (running.root / "farm.toml").open("a") as file:
        names = ", ".join(f'{name} = "hook-secret"' for name in ("github", "gitlab", "bitbucketcloud"))
        file.write(f"[hooks]\nsecret_files = {{{names}}}\n")
    running.recipe("tiny")
    running.trunk("tiny", hook=False)
    running.up()
    yield running
    for part in ("master", "worker-1", "signer", "archive"):
        running.kill(part)


@pytest.fixture
def anonymous(shared):
    return Web(shared)


@pytest.fixture
def admin(shared):
    return Web(shared).log_in()
