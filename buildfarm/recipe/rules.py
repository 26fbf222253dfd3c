"""The rules for single values of a recipe: locations, branches, paths, names; each says what would be right."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from buildfarm.errors import PackageFault, UsageError
from buildfarm.job import VCS, Branch
from buildfarm.recipe.problem import RuleError, suggest
from buildfarm.trunk import location
from buildfarm.vm.targets import parse_targets
from ppa_tools.address import parse_address

NAME_LIMIT = 60
PATH_LIMIT_BYTES = 1024
NAME_PATTERN = r"[a-z0-9][a-z0-9+.-]*"
SERIES_PATTERN = r"[a-z][a-z0-9]*(-[a-z0-9]+)*"
ARCHITECTURE_PATTERN = r"[a-z][a-z0-9]*(-[a-z0-9]+)*"
# Debian Policy 5.6.1: at least two characters.
PACKAGE_PATTERN = r"[a-z0-9][a-z0-9+.-]+"
VARIABLE_PATTERN = r"[A-Za-z_][A-Za-z0-9_]*"
PART_NAME_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9_.+~/-]*"
UNIT_PATTERN = r"[A-Za-z0-9][A-Za-z0-9:_.@\\-]*\.(service|socket|timer|target|mount|automount|swap|path|slice)"
IMAGE_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
RESULT_SUFFIXES = (".xml", ".subunit")
MAINTAINER_PATTERN = r"[^<>@]*[^<>@ ] <[^<>@ ]+@[^<>@ ]+>"

# Launchpad's git is reached by HTTPS, see ``resolve_location``.
SCHEMES: dict[VCS, tuple[str, ...]] = {
    "git": (*location.SCHEMES["git"], "lp"),
    "bzr": location.SCHEMES["bzr"],
}
LAUNCHPAD_GIT = "https://git.launchpad.net/"

_FOREIGN_ARCHITECTURES = {
    "x86_64": "amd64",
    "x64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "i686": "i386",
    "x86": "i386",
    "armv7l": "armhf",
    "ppc64le": "ppc64el",
}
_SHELL_WORDS = frozenset(("&&", "||", ";", "|", "&", ">", ">>", "<", "2>&1", "2>"))


def check_name(text: str) -> str:
    """A recipe's name; raises RuleError."""
    return _check_pattern(text, NAME_PATTERN, "recipe name", "hello-main", limit=NAME_LIMIT)


def check_series(text: str) -> str:
    """A series' codename; raises RuleError."""
    return _check_pattern(text, SERIES_PATTERN, "series", "bookworm")


def check_architecture(text: str) -> str:
    """A Debian architecture; raises RuleError."""
    if text in ("all", "any", "source"):
        raise RuleError(
            f"{text!r} names no single architecture",
            "Name those of the machines that build, for example [amd64]; the first also builds "
            "what is Architecture: all.",
        )
    if text in _FOREIGN_ARCHITECTURES:
        raise RuleError(f"Debian has another name for {text}", f"Write {_FOREIGN_ARCHITECTURES[text]}.")
    return _check_pattern(text, ARCHITECTURE_PATTERN, "architecture", "amd64")


def check_package(text: str) -> str:
    """A Debian package's name; raises RuleError."""
    return _check_pattern(text, PACKAGE_PATTERN, "Debian package name", "python3-pytest")


def check_variable(text: str) -> str:
    """The name of an environment variable; raises RuleError."""
    return _check_pattern(text, VARIABLE_PATTERN, "name of an environment variable", "PYTHONPATH")


def check_part_name(text: str) -> str:
    """What ``{revno:NAME}`` may refer to; raises RuleError."""
    return _check_pattern(text, PART_NAME_PATTERN, "name of a part", "packaging")


def check_maintainer(text: str) -> str:
    """``Name <address>``; raises RuleError."""
    check_text(text)
    return _check_pattern(text, MAINTAINER_PATTERN, "maintainer", "Jane Doe <jane@example.org>", limit=200)


def check_archive(text: str) -> str:
    """An archive address; raises RuleError."""
    try:
        return str(parse_address(text))
    except ValueError as error:
        raise RuleError(str(error), "For example local:demo/trunk, or ppa:owner/name on Launchpad.") from error


def check_unit(text: str) -> str:
    """A systemd unit's name; raises RuleError."""
    return _check_pattern(text, UNIT_PATTERN, "unit of systemd", "hello.service", limit=255)


def check_image(text: str) -> str:
    """The name of an image in farm.toml; raises RuleError."""
    return _check_pattern(text, IMAGE_PATTERN, "name of an image", "cloud, for [vm.images.cloud] in farm.toml")


def check_host(text: str) -> str:
    """A host that a machine may reach, with its port or without; raises RuleError."""
    example = "Write host or host:port, for example deb.debian.org:80, or [2001:db8::1]:443."
    if "/" in text:
        raise RuleError(f"{text!r} is a URL or a path", example)
    try:
        targets = parse_targets(text)
    except UsageError as error:
        raise RuleError(error.brief, example) from error
    if targets[0].means_this_host:
        raise RuleError(
            f"{text!r} leads back to the farm's own machine",
            "No machine reaches anything there but the archive, which need not be named.",
        )
    return text


def host_ports(text: str) -> tuple[str, ...]:
    """The ``host:port`` that a checked host stands for: without a port those of http and https."""
    return tuple(map(str, parse_targets(text)))


def check_promotion(text: str, publish: str) -> str:
    """The archive that what was verified is copied to from ``publish``; raises RuleError."""
    if text == publish:
        raise RuleError(
            f"{text} is what the recipe publishes to", "Name the next archive, for example local:demo/stable."
        )
    kind, other = publish.partition(":")[0], text.partition(":")[0]
    if kind != other:
        raise RuleError(
            f"a package is not promoted from {kind}: to {other}:",
            f"Name an archive of the same kind as publish: {publish}; `ppa-copy` copies between the two by hand.",
        )
    return text


def check_text(text: str) -> str:
    """Text of one line without control characters; raises RuleError."""
    for offset, character in enumerate(text):
        if unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs"):
            raise RuleError(
                f"the character {character!r} is not allowed here", "Write printable text on one line.", offset
            )
    return text


def check_no_nul(text: str) -> str:
    """Text that can be an argument or an environment value; raises RuleError."""
    if "\0" in text:
        raise RuleError("a NUL character is not allowed here", "No program takes one in an argument.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RuleError("half of a surrogate pair is not allowed here", "Write valid Unicode.") from error
    return text


def check_path(text: str) -> str:
    """A relative path that stays inside the tree, normalised; raises RuleError. "." is the tree itself."""
    check_text(text)
    if not text:
        raise RuleError("a path must not be empty", "Write a path in the tree; '.' is the tree itself.")
    if text.startswith("-"):
        raise RuleError(f"the path {text!r} begins with a dash", f"A tool would take it for an option: ./{text}")
    if text.startswith("/"):
        raise RuleError(f"the path {text!r} is absolute", "Write it relative to the tree.")
    if ".." in text.split("/"):
        raise RuleError(f"the path {text!r} leads out of the tree", "Write a path below the tree, without '..'.")
    path = str(PurePosixPath(text))
    # "./-x" is what a tool must be given for a name that begins with a dash.
    return f"./{path}" if path.startswith("-") else path


def check_subdirectory(text: str) -> str:
    """A relative path below the tree, not the tree itself; raises RuleError."""
    path = check_path(text)
    if path == ".":
        raise RuleError("the tree itself is taken by the trunk", "Name a directory in it, for example debian.")
    return path


def check_script(text: str) -> str:
    """A script's path in the tree; raises RuleError."""
    path = check_path(text)
    if path == ".":
        raise RuleError("the tree itself is no script", "Name a file in it, for example debian/tests/machine.")
    return path


def check_machine_path(text: str) -> str:
    """An absolute path in a machine; raises RuleError."""
    check_text(text)
    if not text.startswith("/") or text.strip("/") == "":
        raise RuleError(
            f"{text!r} is no absolute path", "It is a path in the machine, for example /var/log/hello."
        )
    if ".." in text.split("/"):
        raise RuleError(f"the path {text!r} has '..' in it", "Write the path that it leads to.")
    if len(text.encode()) > PATH_LIMIT_BYTES:
        raise RuleError(f"the path {text[:40] + '…'!r} is longer than {PATH_LIMIT_BYTES} bytes", "Shorten it.")
    return str(PurePosixPath("/" + text.lstrip("/")))


def check_results_path(text: str) -> str:
    """An absolute path in a machine of a file with test results; raises RuleError."""
    path = check_machine_path(text)
    if not path.endswith(RESULT_SUFFIXES):
        raise RuleError(
            f"{path!r} is neither JUnit XML nor subunit",
            f"Its name ends in {' or '.join(RESULT_SUFFIXES)}; what is only kept belongs to logs:.",
        )
    return path


def check_command(words: Sequence[str]) -> tuple[str, ...]:
    """An argument list; raises RuleError for an empty one and for what only a shell would understand."""
    if not words or not words[0]:
        raise RuleError("a command is wanted", "For example [python3, -m, pytest].")
    for word in words:
        check_no_nul(word)
        if word in _SHELL_WORDS:
            raise RuleError(
                f"{word!r} would need a shell, and no shell runs this command",
                "Put the commands in a script in the tree, or write [sh, -c, '...'].",
            )
    if re.match(r"[A-Za-z_]\w*=", words[0]):
        raise RuleError(
            f"{words[0]!r} is no program", "Set variables under environment:, and begin with the program."
        )
    return tuple(words)


def check_branch(text: str) -> str:
    """A git branch's name by the rules of git-check-ref-format(1), "" for HEAD; raises RuleError."""
    if not text:
        return text
    if text.startswith("refs/"):
        raise RuleError(f"{text!r} is a full reference", f"Write the branch: {text.removeprefix('refs/heads/')}")
    try:
        location.check_branch(Branch("git", ".", text))
    except PackageFault as fault:
        raise RuleError(
            f"{text!r} cannot be the name of a git branch", "For example main, or feature/x."
        ) from fault
    return text


def check_revision(text: str) -> str:
    """A revision expression of one part; raises RuleError."""
    if text and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/:+~@=,-]*", text):
        raise RuleError(f"{text!r} is no revision", "For example a tag, a commit id, or revno:12 for Bazaar.")
    return text


def check_location(text: str, vcs: VCS) -> str:
    """A repository's location for ``vcs``; raises RuleError.

    Only transports that fetch and do nothing else are let through: git's ``ext::`` runs commands, and a host
    that begins with a dash becomes an option of ssh (CVE-2017-1000117).
    """
    check_text(text)
    allowed = f"Use {', '.join(f'{scheme}:' for scheme in SCHEMES[vcs])} or a path."
    if not text or text != text.strip():
        raise RuleError("a location is wanted, without spaces around it", allowed)
    if text.startswith(("-", "~")):
        raise RuleError(f"the location {text!r} begins with {text[0]!r}", allowed)
    if re.match(r"[^/:]*::", text):
        raise RuleError(f"the location {text!r} names a helper that git would run", allowed)
    scheme, colon, rest = text.partition(":")
    if not colon or "/" in scheme:
        return text
    if rest.startswith("//") or scheme == "lp":
        return _check_url(text, scheme, rest, vcs, allowed)
    return _check_scp_like(text, scheme, vcs, allowed)


def _check_url(text: str, scheme: str, rest: str, vcs: VCS, allowed: str) -> str:
    if scheme not in SCHEMES[vcs]:
        raise RuleError(
            f"{vcs} cannot be watched over {scheme!r}", suggest(scheme, SCHEMES[vcs], f"schemes for {vcs}")
        )
    if re.search(r"\s", text):
        raise RuleError("a URL has no spaces", "Write %20 for a space.")
    if scheme == "lp":
        if not re.fullmatch(r"/{0,3}[A-Za-z0-9~+][A-Za-z0-9~+._/-]*", rest) or ".." in rest.split("/"):
            raise RuleError(f"{text!r} names nothing on Launchpad", "For example lp:~owner/project.")
        return text
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise RuleError(f"{text!r} is no URL: {error}", allowed) from error
    if scheme == "file":
        if host not in ("", "localhost") or not parts.path.startswith("/"):
            raise RuleError(f"{text!r} names a host", "Write file:///absolute/path.")
        return text
    if not host or not re.fullmatch(r"[A-Za-z0-9:][A-Za-z0-9._:%-]*", host):
        raise RuleError(f"{text!r} names no host", f"For example {scheme}://example.org/hello.")
    if parts.password is not None or (scheme in ("http", "https") and "@" in parts.netloc):
        raise RuleError(
            "a password or a token stands in the location",
            "Pages and logs show locations: use an ssh key, or ~/.netrc of the user that runs the farm.",
        )
    if (parts.username or "").startswith("-"):
        raise RuleError(f"the user {parts.username!r} begins with a dash", allowed)
    return text


def _check_scp_like(text: str, host: str, vcs: VCS, allowed: str) -> str:
    if vcs == "bzr":
        raise RuleError(f"Bazaar does not know the location {text!r}", "Write bzr+ssh://host/path.")
    if not re.fullmatch(r"([A-Za-z0-9_][A-Za-z0-9_.+-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*", host):
        raise RuleError(f"{host!r} is no host", allowed)
    return text


def resolve_location(text: str, vcs: VCS, directory: Path) -> str:
    """The location a tool is given: a relative path from ``directory``; Launchpad's git by its HTTPS address."""
    if vcs == "git" and text.startswith("lp:"):
        return LAUNCHPAD_GIT + text.removeprefix("lp:").lstrip("/")
    if ":" in text.split("/", 1)[0]:
        return text
    return os.path.normpath(directory / text)


def _check_pattern(text: str, pattern: str, what: str, example: str, limit: int = 128) -> str:
    if len(text) > limit:
        raise RuleError(f"{text[:40] + '…'!r} is longer than {limit} characters", f"For example {example}.")
    if not re.fullmatch(pattern, text):
        raise RuleError(f"{text!r} is no {what}", f"For example {example}; it has the form {pattern}")
    return text
