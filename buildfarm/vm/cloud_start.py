"""What cloud-init does in a machine of a given image so that the farm can use it (pure).

    write_files   the farm's agent and its unit; apt's way out, and the farm's mirrors
    runcmd        the image's own apt sources are put aside, the agent is started
    phone_home    last of all: the machine calls ``booted``

The image is as its maker left it: nothing is expected of it but cloud-init, systemd, bash and apt.
"""

from __future__ import annotations

from collections.abc import Mapping

from buildfarm.build.apt_sources import KEYRINGS, AptSources
from buildfarm.vm.image_recipe import GUEST, GUEST_FILES, PROXY, apt_settings
from buildfarm.vm.seed import Seed, cloud_config

UNIT = "buildfarm-firstboot.service"
MIRRORS = "/etc/apt/sources.list.d/buildfarm-mirrors.sources"
# The upkeep of a machine that lives for months would hold dpkg's lock.
NO_UPKEEP = 'APT::Periodic::Enable "0";\n'
# In an image of the farm's the agent is told by a credential, and waits until all is quiet. Here cloud-init's last
# stage starts it, and would be waited for.
_NOT_HERE = ("LoadCredential=", "Type=idle")
# The host asks for a shell on this console; nobody else can reach it.
_SHELL = """\
[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200 %I $TERM
"""
_ASIDE = """\
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    if [ -e "$file" ] && [ "$file" != "$0" ]; then mv "$file" "$file.aside"; fi
done
"""
# What a release that asks for this file is given: nothing, so that its own network stands, the first card by DHCP.
_OWN_NETWORK = "# The first card, by DHCP.\n"


def cloud_seed(secret: str, hostname: str, token: str, apt: AptSources | None, keys: Mapping[str, bytes]) -> Seed:
    """One machine's seed; ``token`` is what its first call carries, ``keys`` are files that ``apt`` names."""
    return Seed(
        secret,
        instance_id=f"buildfarm-{hostname}",
        hostname=hostname,
        user_data=user_data(token, apt, keys),
        network_config=_OWN_NETWORK,
    )


def user_data(token: str, apt: AptSources | None, keys: Mapping[str, bytes]) -> str:
    """What the machine is told to do at its first boot. Without ``apt`` its sources stay as they are."""
    files: dict[str, tuple[str, str | bytes]] = {
        file.target: (f"{file.mode:04o}", (GUEST / file.name).read_bytes()) for file in GUEST_FILES
    }
    unit = f"/etc/systemd/system/{UNIT}"
    files[unit] = ("0644", unit_text((GUEST / UNIT).read_text()))
    files["/etc/systemd/system/serial-getty@hvc0.service.d/buildfarm.conf"] = ("0644", _SHELL)
    files["/etc/apt/apt.conf.d/80buildfarm"] = ("0644", apt_settings(apt or AptSources("")) + NO_UPKEEP)
    commands: list[tuple[str, ...]] = []
    if apt is not None:
        files[MIRRORS] = ("0644", apt.text.encode())
        files |= {path: ("0644", content) for path, content in keys.items()}
        commands.append(("sh", "-c", _ASIDE, MIRRORS))
    commands += [
        # What failed as the image booted is the image's own matter, and no package's.
        ("systemctl", "reset-failed"),
        # Where nothing loads drivers by what devices there are.
        ("sh", "-c", "modprobe --quiet virtio_console || true"),
        ("systemctl", "daemon-reload"),
        ("systemctl", "--quiet", "enable", UNIT),
        ("systemctl", "start", "--no-block", UNIT),
    ]
    return cloud_config(
        phone_home_url=f"{PROXY}phone-home/{token}",
        runcmd=commands,
        write_files=files,
        # A locale would be generated, for nobody.
        more={"apt": {"preserve_sources_list": True}, "locale": False},
    )


def unit_text(text: str) -> str:
    """The agent's unit as a foreign image gets it."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(_NOT_HERE))


def foreign_keys(apt: AptSources) -> dict[str, bytes]:
    """The key files that an image of a distribution's own has not, by path."""
    return {str(path): path.read_bytes() for path in apt.keyrings if str(path) not in KEYRINGS.values()}
