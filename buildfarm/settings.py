"""The farm's own settings: where it lives, which ports it uses; read from ``farm.toml``, all with defaults."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from buildfarm.errors import UsageError
from buildfarm.job import from_plain

if TYPE_CHECKING:
    from buildfarm.latent import LatentWorker
else:
    LatentWorker = object  # every stage's start would pay for what few farms have

SETTINGS_FILE = "farm.toml"
HOME_VARIABLE = "BUILDFARM_HOME"
ROOT_VARIABLE = "BUILDFARM_ROOT"


@dataclass(frozen=True)
class WebSettings:
    """Where Buildbot's pages are served; ``url`` is what people type ("" means from host and port)."""

    host: str = "127.0.0.1"
    port: int = 8010
    url: str = ""


@dataclass(frozen=True)
class ArchiveSettings:
    """Where the embedded archive is served; ``url`` is what apt is given ("" means from host and port).

    dput may upload by FTP and SFTP to the ports that are not 0, on ``upload_host``. ``passive_ports`` are the
    first and the last port for FTP's data; () means any that is free. With a file of ``sftp_authorized_keys``
    only these keys are let in. ``database`` is an SQLAlchemy URL; "" means the SQLite file in the farm's home.
    """

    host: str = "127.0.0.1"
    port: int = 8011
    url: str = ""
    upload_host: str = "127.0.0.1"
    ftp_port: int = 0
    passive_ports: tuple[int, ...] = ()
    sftp_port: int = 0
    sftp_authorized_keys: str = ""
    upload_file_mib: int = 2048
    upload_sessions: int = 32
    keep_free_mib: int = 1024
    database: str = field(default="", repr=False)  # it may have a password in it


@dataclass(frozen=True)
class MailSettings:
    """The SMTP server that takes what the farm has to tell by mail; a ``host`` of "" is none."""

    host: str = ""
    port: int = 25
    sender: str = ""
    starttls: bool = False
    user: str = ""
    password_file: str = ""


@dataclass(frozen=True)
class LaunchpadSettings:
    """Where uploads to ``ppa:`` archives go, by FTP; and who copies between them, for what is promoted.

    ``instance`` is production, staging, qastaging or a URL. ``credentials_file`` is launchpadlib's; "" is none.
    """

    upload_host: str = "upload.ppa.launchpad.net"
    upload_port: int = 21
    instance: str = "production"
    credentials_file: str = ""


@dataclass(frozen=True)
class WorkerSettings:
    """Where workers connect to, how many build workers are started here, and how long one may leave the master's
    questions unanswered before what it runs is run again. ``latent`` are those on machines that the master starts.
    """

    host: str = "127.0.0.1"
    port: int = 9989
    builders: int = 1
    silence_limit_s: int = 60
    latent: Mapping[str, LatentWorker] = field(default_factory=dict)

    @property
    def local_host(self) -> str:
        """Where the workers of this machine find the master."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 (not bound to)


@dataclass(frozen=True)
class SeriesSettings:
    """Where a series comes from: deb822 ``.sources`` text for apt ("" means as the host has it)."""

    apt_sources: str = ""


@dataclass(frozen=True)
class HookSettings:
    """Secrets of forges' change hooks, read from files: ``{"github": "/path/of/secret"}``."""

    secret_files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageSettings:
    """A machine's image that somebody else made: a ``location`` is a file's path or an http(s) URL."""

    location: str
    sha256: str
    series: str
    architecture: str
    format: Literal["qcow2", "raw"] = "qcow2"
    firmware: Literal["bios", "uefi"] = "bios"


@dataclass(frozen=True)
class VmSettings:
    """Machines to try packages in. ``ready`` of them wait booted; stages run ``simultaneous`` ones at once,
    with ``memory_limit_mib`` together (0: half of the host's). What they write to their disks lies in ``scratch``
    while they live. `buildfarm vm run --keep-failed` holds one in which something failed ``keep_failed_s``.
    """

    accel: Literal["auto", "kvm", "tcg"] = "auto"
    backend: str = "qemu"
    ready: int = 0
    simultaneous: int = 1
    memory_limit_mib: int = 0
    scratch: str = "/var/tmp"  # noqa: S108 (qemu makes its files there and unlinks them)
    image_max_age_days: int = 7
    keep_failed_s: int = 1800
    images: Mapping[str, ImageSettings] = field(default_factory=dict)


@dataclass(frozen=True)
class RegressionSettings:
    """Nightly rebuilds: who is told of news, and how much is kept.

    ``mail`` are addresses; ``webhook`` is a URL that is sent JSON, signed with what ``webhook_secret_file`` holds
    ("" is unsigned). The builds of so many nights of each set are kept, and environments up to ``cache_gib``.
    """

    mail: tuple[str, ...] = ()
    webhook: str = field(default="", repr=False)  # the URLs of chat rooms are their passwords
    webhook_secret_file: str = ""
    keep_nights: int = 30
    cache_gib: int = 20


@dataclass(frozen=True)
class BuildSettings:
    """How commits' source packages are built: on the farm's own ``layers``, or by ``sbuild``."""

    backend: Literal["layers", "sbuild"] = "layers"


@dataclass(frozen=True)
class FarmSettings:
    """Who the farm is in changelogs and keys, and how long what it made is kept."""

    name: str = "Build Farm"
    email: str = "buildfarm@localhost"
    keep_runs: int = 50
    keep_logs_days: int = 30


@dataclass(frozen=True)
class Settings:
    """All settings. ``root`` is the checkout, with recipes/; ``home`` is where the farm keeps its state."""

    root: Path
    home: Path
    recipes: Path
    farm: FarmSettings = FarmSettings()
    web: WebSettings = WebSettings()
    archive: ArchiveSettings = ArchiveSettings()
    mail: MailSettings = MailSettings()
    launchpad: LaunchpadSettings = LaunchpadSettings()
    workers: WorkerSettings = WorkerSettings()
    hooks: HookSettings = HookSettings()
    series: Mapping[str, SeriesSettings] = field(default_factory=dict)
    build: BuildSettings = BuildSettings()
    vm: VmSettings = VmSettings()
    regression: RegressionSettings = RegressionSettings()

    @property
    def web_url(self) -> str:
        """The address of the web status, with a slash at its end."""
        return self.web.url or f"{self.web_local_url}/"

    @property
    def web_local_url(self) -> str:
        """Where the farm itself asks its web status, without a slash at its end; a proxy may serve ``web_url``."""
        return _http_url(self.web.host, self.web.port)

    @property
    def archive_url(self) -> str:
        """The address of the embedded archive that apt and people are given, without a slash at its end."""
        return (self.archive.url or self.archive_local_url).rstrip("/")

    @property
    def archive_local_url(self) -> str:
        """Where the farm itself reaches its archive, without a slash at its end, whatever people are given."""
        return _http_url(self.archive.host, self.archive.port)

    @property
    def logs(self) -> Path:
        """What the farm's own processes say, a file each."""
        return self.home / "log"

    @property
    def runs(self) -> Path:
        """Workspaces, one directory a run."""
        return self.home / "runs"

    @property
    def cache(self) -> Path:
        """What can be made again: root file systems, mirrors of trunks."""
        return self.home / "cache"

    @property
    def keys(self) -> Path:
        """The GnuPG home of the upload key; only the signing worker reads it."""
        return self.home / "keys"

    @property
    def secrets(self) -> Path:
        """Passwords and tokens, a file each, mode 0600."""
        return self.home / "secrets"

    @property
    def archive_root(self) -> Path:
        """The embedded archive's files and its publishing history."""
        return self.home / "archive"

    @property
    def history_file(self) -> Path:
        """What ran and its results (SQLite)."""
        return self.home / "history.sqlite"

    @property
    def regression_file(self) -> Path:
        """The nights of rebuilds and their results (SQLite)."""
        return self.home / "regression.sqlite"

    @property
    def regression_root(self) -> Path:
        """The builds of nightly rebuilds, their environments and packages."""
        return self.home / "regression"


def _http_url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def find_root(start: Path) -> Path:
    """The nearest directory at or above ``start`` that has ``farm.toml`` or ``recipes/``; else ``start``."""
    for directory in (start, *start.parents):
        if (directory / SETTINGS_FILE).is_file() or (directory / "recipes").is_dir():
            return directory
    return start


def load_settings(root: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read ``farm.toml`` below ``root``; raises UsageError.

    A ``root`` of None is the environment's BUILDFARM_ROOT, else searched upwards from here. The environment's
    BUILDFARM_HOME wins over ``home`` in the file. Where the home has a ``farm.toml`` of its
    own, that file wins over the root's (a second farm from one checkout: the demo, a test).
    """
    root = _root(root, environ)
    data = _read(root / SETTINGS_FILE)
    home = root / (environ.get(HOME_VARIABLE) or data.get("home", "var"))
    own = _read(home / SETTINGS_FILE)
    origin = dict.fromkeys(data, root / SETTINGS_FILE) | dict.fromkeys(own, home / SETTINGS_FILE)
    data |= own
    data.pop("home", None)
    recipes = Path(data.pop("recipes", "recipes"))
    settings = Settings(root, home, recipes if recipes.is_absolute() else root / recipes)
    tables = {f.name for f in fields(Settings)} - {"root", "home", "recipes"}
    if unknown := sorted(set(data) - tables):
        raise UsageError(
            f"unknown setting {unknown[0]!r}",
            where=str(origin[unknown[0]]),
            resolution=f"Known tables: {', '.join(sorted(tables))}; and home, recipes.",
        )
    values = {}
    for name, table in data.items():
        try:
            values[name] = _read_table(name, table, settings)
        except ValueError as error:
            raise UsageError(str(error), where=str(origin[name])) from error
    return replace(settings, **values)


def settings_of_home(root: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Where the farm keeps its state, all else by default: to stop a farm whose ``farm.toml`` is unusable."""
    root = _root(root, environ)
    try:
        named = _read(root / SETTINGS_FILE).get("home", "var")
    except UsageError:
        named = "var"
    return Settings(root, root / (environ.get(HOME_VARIABLE) or named), root / "recipes")


def _root(root: Path | None, environ: Mapping[str, str]) -> Path:
    if root is None and environ.get(ROOT_VARIABLE):
        root = Path(environ[ROOT_VARIABLE])
    try:
        return (root or find_root(Path.cwd())).resolve()
    except OSError as error:  # a directory on the way is shut, or the current one is gone
        raise _unreadable(Path(error.filename or "."), error) from error


def _read_table(name: str, table: Any, settings: Settings) -> Any:
    """A table's settings; raises ValueError."""
    if not isinstance(table, dict):
        raise ValueError(f"{name}: a table is wanted, not {type(table).__name__}")
    if name == "series":
        return {key: from_plain(SeriesSettings, value) for key, value in table.items()}
    latent = table.get("latent", {}) if name == "workers" else {}
    table = {key: value for key, value in table.items() if (name, key) != ("workers", "latent")}
    value = from_plain(type(getattr(settings, name)), table)
    for key in ("port", "upload_port"):
        if not 1 <= getattr(value, key, 1) <= 65535:
            raise ValueError(f"{name}.{key}: a port is a number from 1 to 65535")
    if isinstance(value, ArchiveSettings):
        _check_ways_in(value)
    if isinstance(value, WorkerSettings):
        if not re.fullmatch(r"[0-9A-Za-z.:-]+", value.host):
            raise ValueError("workers.host: an address of this machine is wanted")
        if latent:
            from buildfarm.latent import read_latent

            value = replace(value, latent=read_latent(latent, value.host))
    if isinstance(value, VmSettings):
        _check_machines(value)
    if isinstance(value, RegressionSettings):
        _check_regression(value)
    if isinstance(value, MailSettings) and value.host and "@" not in value.sender:
        raise ValueError("mail.sender: the address that mail comes from is wanted")
    if isinstance(value, FarmSettings):  # both stand in changelogs, as NAME <EMAIL>
        if not re.fullmatch(r"[^<>\n]+", value.name):
            raise ValueError("farm.name: one line without < and > is wanted")
        if not re.fullmatch(r"[^<>\s]+", value.email):
            raise ValueError("farm.email: an address without blanks, < and > is wanted")
    return value


def _check_ways_in(archive: ArchiveSettings) -> None:
    for key in ("ftp_port", "sftp_port"):
        if not 0 <= getattr(archive, key) <= 65535:
            raise ValueError(f"archive.{key}: a port is a number from 1 to 65535; 0 is none")
    passive = archive.passive_ports
    if passive and (len(passive) != 2 or not 1 <= passive[0] <= passive[1] <= 65535):
        raise ValueError("archive.passive_ports: the first and the last port are wanted, or []")
    for key in ("upload_file_mib", "upload_sessions", "keep_free_mib"):
        if getattr(archive, key) < 1:
            raise ValueError(f"archive.{key}: a number from 1 on is wanted")


def _check_regression(regression: RegressionSettings) -> None:
    for address in regression.mail:
        if not re.fullmatch(r"[^\s@<>,;:\"()\[\]\\]+@[0-9A-Za-z.-]+", address) or not address.isascii():
            raise ValueError(f"regression.mail: addresses like packagers@example.org are wanted, not {address!r}")
    url = regression.webhook
    if url and not re.fullmatch(r"https?://[^\s/?#]+[^\s]*", url):
        raise ValueError("regression.webhook: a URL that begins with http:// or https:// is wanted")
    if regression.webhook_secret_file and not url:
        raise ValueError("regression.webhook_secret_file: without a webhook there is nothing to sign")
    for key in ("keep_nights", "cache_gib"):
        if getattr(regression, key) < 1:
            raise ValueError(f"regression.{key}: a number from 1 on is wanted")


def _check_machines(vm: VmSettings) -> None:
    if not vm.scratch.startswith("/"):
        raise ValueError("vm.scratch: a path that begins with / is wanted")
    for key, least in (
        ("ready", 0),
        ("simultaneous", 1),
        ("memory_limit_mib", 0),
        ("image_max_age_days", 1),
        ("keep_failed_s", 1),
    ):
        if getattr(vm, key) < least:
            raise ValueError(f"vm.{key}: a number from {least} on is wanted")
    if not re.fullmatch(r"qemu|libvirt:qemu:///(system|session)", vm.backend):
        raise ValueError(
            f"vm.backend: qemu, libvirt:qemu:///system and libvirt:qemu:///session are known, not {vm.backend!r}"
        )
    if vm.ready and vm.backend != "qemu":
        raise ValueError("vm.ready: libvirt's machines cannot be put to sleep, so none can wait; say 0")
    for name, image in vm.images.items():
        where = f"vm.images.{name}"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValueError(f"{where}: a name of letters, digits, dots, hyphens and underscores is wanted")
        if not re.fullmatch(r"[0-9a-f]{64}", image.sha256):
            raise ValueError(f"{where}.sha256: 64 hexadecimal digits, in small letters, are wanted")
        for key in ("series", "architecture"):
            if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]*", getattr(image, key)):
                raise ValueError(f"{where}.{key}: a name in small letters is wanted")
        scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", image.location)
        if not image.location or (scheme and scheme[1] not in ("http", "https")):
            raise ValueError(f"{where}.location: a path, or a URL that begins with http:// or https://, is wanted")


def _unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"cannot be read: {error.strerror}",
        where=str(path),
        resolution=f"The checkout ({ROOT_VARIABLE}) and the farm's home (`buildfarm --home DIR`, {HOME_VARIABLE}, "
        f"or `home` in {SETTINGS_FILE}) are directories that you must be able to read.",
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"not valid TOML: {error}", where=str(path)) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    for name in ("home", "recipes"):
        if not isinstance(data.get(name, ""), str):
            raise UsageError(f"{name}: a path in quotes is wanted", where=str(path))
    return data
