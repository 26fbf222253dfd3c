"""The small world of ``--demo``, and how to try it."""

from __future__ import annotations

from tests.doubles.launchpad.client import Credentials
from tests.doubles.launchpad.populate import add_package
from tests.doubles.launchpad.server import Double

DAY_S = 86400.0


def build(double: Double) -> None:
    """Two PPAs of alice's that differ in all the ways that matter, one of bob's, and one that is private."""
    world = double.world
    world.settings.copy_delay_s, world.settings.publish_delay_s = 2.0, 5.0
    world.settings.build_delay_s = 20.0
    world.add_person("demo")
    world.add_person("builders", members=["demo"])
    for key in ("demo/trunk", "demo/stable", "builders/nightly", "stranger/tools"):
        world.add_archive(key, architectures=["amd64", "arm64"])
    world.add_archive("demo/secret", private=True)
    now = world.now()

    def add(ppa: str, name: str, version: str, days: float, **facts: object) -> None:
        add_package(world, ppa, name, version, created_at=now - days * DAY_S, **facts)  # type: ignore[arg-type]

    add("demo/trunk", "hello", "2.10-1", 30)
    add("demo/trunk", "hello", "2.10-2", 12)
    add("demo/trunk", "hello", "2.12-1", 3)
    add("demo/trunk", "libgreet", "1.4-1", 9, binaries=["libgreet1", "libgreet-dev"])
    add("demo/trunk", "greet-data", "7", 9, binaries=[{"package": "greet-data", "architecture": "all"}])
    add("demo/trunk", "broken", "0.3-1", 1, builds={"amd64": "Successfully built", "arm64": "Failed to build"})
    add("demo/trunk", "fresh", "0.1-1", 0, builds={"amd64": "Currently building", "arm64": "Needs building"})
    add("demo/trunk", "hello", "2.12-1~jammy1", 3, series="jammy")
    add("demo/trunk", "old", "1.0-1", 90, series="lunar")
    add("demo/stable", "hello", "2.10-2", 11)
    add("demo/stable", "libgreet", "1.5-1", 2, binaries=["libgreet1", "libgreet-dev"])
    add("demo/stable", "gone", "3.0-1", 40)
    add("builders/nightly", "hello", "2.13~rc1-1", 1)
    add("stranger/tools", "hello", "2.11-1", 20)
    add("demo/secret", "surprise", "1.0-1", 5)


def explain(double: Double) -> str:
    """What to type."""
    token = double.oauth.issue("demo")
    text = Credentials(token.consumer, token.key, token.secret).text.replace("\n", "\\n")
    url = double.root
    return f"""A double of Launchpad listens at {url}; it ends with Ctrl-C.

It holds ppa:demo/trunk, ppa:demo/stable, ppa:builders/nightly, ppa:stranger/tools and the private ppa:demo/secret.
Copies take 2 s, publishing 5 s, builds 20 s. Anybody may read what is public:

  ppa-list ppa:demo/trunk --instance {url}
  curl '{url}/devel/~demo/+archive/ubuntu/trunk?ws.op=getPublishedSources&ws.size=2'
  curl {url}/ppa/demo/trunk/ubuntu/dists/noble/main/source/Sources.gz | zcat

To change things be demo, who owns demo/* and is one of the builders. Either log in, and answer the page
that opens as "demo"; or take these credentials:

  printf '{text}' > /tmp/demo-credentials
  export LP_CREDENTIALS_FILE=/tmp/demo-credentials
  ppa-copy ppa:demo/trunk ppa:demo/stable hello --instance {url}

Trouble can be made, and looked at:

  curl -d '{{"kind": "cut-after", "op": "copyPackages"}}' {url}/+control/fault
  curl -d '{{"kind": "status", "times": 3}}' {url}/+control/fault
  curl -d '{{"latency_s": 0.5}}' {url}/+control/set
  curl -d '{{}}' {url}/+control/copies
  curl -d '{{}}' {url}/+control/dump > world.json; curl -d '{{}}' {url}/+control/reset
  curl -d @world.json {url}/+control/load
"""
