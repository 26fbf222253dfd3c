"""What the scripts in guest/ print, read into values, and whose fault it is when apt fails (pure)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from buildfarm.errors import FarmTrouble, PackageFault

SECTION = re.compile(r"^== (\w+)$", re.MULTILINE)
FETCH_TROUBLE = re.compile(
    r"^(?:[EW]: Failed to fetch|E: Unable to fetch|Err:\d+|E: The repository|E: Some index files failed"
    r"|.*Temporary failure resolving|.*Could not connect|.*Hash Sum mismatch|.*Connection (?:failed|timed out))",
    re.MULTILINE,
)
DISK_FULL = re.compile(r"No space left on device|You don't have enough free space")
BROKEN = re.compile(
    r"^dpkg: error processing (?:package (\S+)|archive (\S+)) \([^)]*\):(?:\n (dependency problems)?)?",
    re.MULTILINE,
)
SCRIPT = re.compile(
    r"(?:installed|new|old) (\S+) package (\S+) (?:maintainer )?script subprocess (.+)$", re.MULTILINE
)
UNMET = re.compile(r"^\s*(\S+) : (?:(?:Pre)?-?Depends: (.+)|((?:Conflicts|Breaks): .+))$", re.MULTILINE)
OVERWRITE = re.compile(r"trying to overwrite '([^']+)', which is also in package (\S+)")
CANDIDATE = re.compile(r"^  Candidate: (\S+)$", re.MULTILINE)
INSTALLED_STATUS = "ii"
LEFT_SHOWN = 20


def sections(text: str) -> dict[str, str]:
    """The parts of a script's output, by the names that stand over them."""
    parts = SECTION.split(text)
    return {name: body.strip("\n") for name, body in zip(parts[1::2], parts[2::2], strict=True)}


@dataclass(frozen=True)
class Before:
    """What stood before the packages came: what their distribution offers, and what was installed."""

    offered: Mapping[str, str]
    installed: Mapping[str, str]


def read_before(text: str) -> Before:
    """The output of before.sh."""
    found = sections(text)
    offered = {}
    for block in re.split(r"^(?=\S+:$)", found.get("policy", ""), flags=re.MULTILINE):
        name, _, rest = block.partition(":\n")
        match = CANDIDATE.search(rest)
        if match is not None and match[1] != "(none)":
            offered[name] = match[1]
    return Before(offered, read_versions(found.get("installed", "")))


def read_versions(text: str) -> dict[str, str]:
    """``NAME VERSION STATUS`` lines of dpkg-query: the versions of what is installed properly."""
    rows = (line.split() for line in text.splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 3 and row[2] == INSTALLED_STATUS}


@dataclass(frozen=True)
class Look:
    """How the machine stands: its clock, the versions installed, what dpkg complains of, units that failed, the
    states of units that matter, processes that dumped core. ``whole``: the script came to its end."""

    clock_s: int | None
    versions: Mapping[str, str]
    audit: str
    failed_units: tuple[str, ...]
    services: Mapping[str, str]
    cores: tuple[str, ...]
    whole: bool = True


def read_look(text: str) -> Look:
    """The output of look.sh."""
    found = sections(text)
    clock = found.get("clock", "").strip()
    return Look(
        int(clock) if re.fullmatch(r"-?\d{1,12}", clock) else None,
        read_versions(found.get("versions", "")),
        found.get("audit", ""),
        tuple(line.split()[0] for line in found.get("failed", "").splitlines() if line.split()),
        {row[0]: row[1] for line in found.get("services", "").splitlines() if len(row := line.split()) == 2},
        tuple(line for line in found.get("cores", "").splitlines() if line),
        "end" in found,
    )


@dataclass(frozen=True)
class Removal:
    """What a removal left: ``stayed`` are packages that were to go, ``gone`` are those that went though they had
    been there before, ``files`` belong to nobody."""

    stayed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    whole: bool = True


# What dpkg and the system themselves write when packages come and go.
SYSTEMS_OWN = re.compile(
    r"/etc/(?:ld\.so\.cache|\.pwd\.lock|(?:passwd|group|shadow|gshadow|subuid|subgid)-?|mtab|machine-id|hostname"
    r"|resolv\.conf|apt/sources\.list\.d/buildfarm\.sources|alternatives/.*|rc\d\.d/.*|shells)"
    r"|/var/spool/.*|/usr/share/(?:info/dir(?:\.old)?|mime/.*|icons/.*/icon-theme\.cache|applications/mimeinfo\.cache)"
    r"|/usr/lib/(?:[^/]+/)?(?:python3\.\d+|python3)/.*\.pyc|.*/__pycache__/.*|/swapfile|/boot/.*|/lost\+found"
)


def read_removal(text: str, names: Collection[str], before: Mapping[str, str]) -> Removal:
    """The output of remove.sh ``names``, against what was installed before."""
    found = sections(text)
    after = read_versions(found.get("installed", ""))
    files = [line for line in found.get("left", "").splitlines() if line and not SYSTEMS_OWN.fullmatch(line)]
    return Removal(
        tuple(sorted(set(names) & set(after))),
        tuple(sorted(set(before) - set(after) - set(names))),
        tuple(files),
        "end" in found and "installed" in found,
    )


@dataclass(frozen=True)
class AptFailure:
    """Why apt failed. ``ours``: the packages under test did it."""

    reason: str
    ours: bool
    details: str = field(default="", repr=False)

    def as_error(self, doing: str) -> PackageFault | FarmTrouble:
        """As the error that says whose fault it is."""
        if self.ours:
            return PackageFault(
                f"{doing}: {self.reason}",
                details=self.details,
                resolution="The log has the whole story; `buildfarm vm run --install` gives the same machine.",
            )
        return FarmTrouble(f"{doing}: {self.reason}", details=self.details, resolution="It is tried again.")


def _broken(text: str) -> list[str]:
    """The packages that dpkg could not process; those that only depend on one of them where there is no other."""
    found = [
        ((name or archive.rsplit("/", 1)[-1]).partition("_")[0].partition(":")[0], bool(follows))
        for name, archive, follows in BROKEN.findall(text)
    ]
    return [name for name, follows in found if not follows] or [name for name, _ in found]


def judge_apt(text: str, status: int, packages: Collection[str]) -> AptFailure:
    """Why an apt run that exited ``status`` failed, by what it printed; ``packages`` are those under test."""
    details = "\n".join(text.rstrip().splitlines()[-15:])
    broken = _broken(text)
    if DISK_FULL.search(text):
        return AptFailure("the machine's disk is full", ours=True, details=details)
    if (clash := OVERWRITE.search(text)) is not None:
        reason = f"it would overwrite {clash[1]}, which is also in {clash[2]}"
        return AptFailure(reason, ours=True, details=details)
    if broken:
        scripts = {
            name.partition(":")[0]: f"its {script} script {how}" for name, script, how in SCRIPT.findall(text)
        }
        first = next((name for name in broken if name in packages), broken[0])
        why = scripts.get(first, "dpkg cannot process it")
        return AptFailure(f"{first}: {why}", ours=first in packages, details=details)
    if FETCH_TROUBLE.search(text):
        return AptFailure("apt could not fetch what it wants", ours=False, details=details)
    if unmet := UNMET.findall(text):
        told = "; ".join(
            f"{name} wants {what.strip()}" if what else f"{name} {against.strip()}"
            for name, what, against in unmet[:5]
        )
        return AptFailure(f"unmet dependencies: {told}", ours=True, details=details)
    errors = [line[3:] for line in text.splitlines() if line.startswith("E: ")]
    return AptFailure(errors[0] if errors else f"apt exited {status}", ours=True, details=details)
