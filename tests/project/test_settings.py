"""What farm.toml may say, and which file is blamed for what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildfarm.errors import UsageError
from buildfarm.settings import load_settings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("home = 3", "home"),
        ("recipes = []", "recipes"),
        ("series = 3", "series"),
        ("farm = 3", "farm"),
        ("[series]\ntrixie = 3", "SeriesSettings"),
        ("[hooks]\nsecret_files = 3", "secret_files"),
        ("[hooks.secret_files]\ngithub = 3", "github"),
        ("[web]\nport = true", "port"),
        ("[web]\nport = 0", "65535"),
        ("[launchpad]\nupload_port = 65536", "65535"),
        ('[farm]\nemail = "a@b\\nX: y"', "email"),
        ('[farm]\nname = "A <b"', "name"),
        ('[vm]\nbackend = "libvirt:xen:///"', "libvirt:qemu:///system"),
        ('[vm]\nbackend = "libvirt:qemu:///session"\nready = 1', "none can wait"),
        ('[workers]\nhost = "a b"', "workers.host"),
        ('[regression]\nmail = ["a@b\\nBcc: c@d"]', "regression.mail"),
        ('[regression]\nmail = ["a@b, c@d"]', "regression.mail"),
        ('[regression]\nmail = "a@b"', "mail"),
        ('[regression]\nwebhook = "file:///etc/passwd"', "regression.webhook"),
        ('[regression]\nwebhook_secret_file = "secret"', "nothing to sign"),
        ("[regression]\nkeep_nights = 0", "keep_nights"),
        ("[wbe]\nport = 1", "wbe"),
        ("[web", "TOML"),
    ],
)
@pytest.mark.parametrize("place", [".", "var"])
def test_a_setting_that_cannot_be_is_refused_and_its_own_file_named(
    tmp_path: Path, text: str, said: str, place: str
) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "farm.toml").write_text("")
    file = tmp_path / place / "farm.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        load_settings(tmp_path, {})
    assert caught.value.where == str(file)


def test_the_farm_itself_uses_host_and_port_whatever_people_are_given(tmp_path: Path) -> None:
    (tmp_path / "farm.toml").write_text(
        '[archive]\nhost = "::1"\nurl = "https://ppa.example.org/"\n[web]\nhost = "::1"\n'
    )
    settings = load_settings(tmp_path, {})
    assert settings.archive_url == "https://ppa.example.org"
    assert settings.archive_local_url == "http://[::1]:8011"
    assert settings.web_url == "http://[::1]:8010/"
