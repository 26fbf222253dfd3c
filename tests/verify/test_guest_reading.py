"""What apt and dpkg really print, in several releases, is read for the reason and for whose fault it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import FarmError, FarmTrouble, PackageFault
from buildfarm.verify.guest_reading import (
    AptFailure,
    judge_apt,
    read_before,
    read_look,
    read_removal,
    sections,
)
from buildfarm.verify.installing import too_slow
from buildfarm.vm.machine import GuestRan

READING = "Reading package lists...\nBuilding dependency tree...\nReading state information...\n"
END = "E: Sub-process /usr/bin/dpkg returned an error code (1)\n"
NOT_INSTALLED = """\
Some packages could not be installed. This may mean that you have
requested an impossible situation or if you are using the unstable
distribution that some required packages have not yet been created
or been moved out of Incoming.
The following information may help to resolve the situation:

The following packages have unmet dependencies:
"""
POSTINST = f"""{READING}Unpacking bad (1.0) ...
Setting up bad (1.0) ...
dpkg: error processing package bad (--configure):
 installed bad package post-installation script subprocess returned error exit status 1
Errors were encountered while processing:
 bad
{END}"""
KILLED = """Setting up bad (1.0) ...
dpkg: error processing package bad:amd64 (--configure):
 installed bad:amd64 package post-installation script subprocess was killed by signal (Killed)
Errors were encountered while processing:
 bad
E: Sub-process /usr/bin/dpkg returned an error code (1)
"""
# dpkg 1.23 words it otherwise.
MAINTAINER_SCRIPT = """dpkg: error processing package bad (--configure):
 new bad package post-installation maintainer script subprocess failed with exit status 1
Errors were encountered while processing:
 bad
"""
REMOVAL = """Removing bad (1.0) ...
dpkg: error processing package bad (--remove):
 installed bad package pre-removal script subprocess returned error exit status 3
dpkg: too many errors, stopping
Errors were encountered while processing:
 bad
Processing was halted because there were too many errors.
E: Sub-process /usr/bin/dpkg returned an error code (1)
"""
FOLLOWS = f"""Setting up helper (1.0) ...
dpkg: error processing package helper (--configure):
 installed helper package post-installation script subprocess returned error exit status 1
dpkg: dependency problems prevent configuration of bad:
 bad depends on helper; however:
  Package helper is not configured yet.

dpkg: error processing package bad (--configure):
 dependency problems - leaving unconfigured
Errors were encountered while processing:
 helper
 bad
{END}"""
OVERWRITES = f"""Unpacking bad (1.0) ...
dpkg: error processing archive /var/cache/apt/archives/bad_1.0_all.deb (--unpack):
 trying to overwrite '/usr/bin/tput', which is also in package ncurses-bin 6.4-4
Errors were encountered while processing:
 /var/cache/apt/archives/bad_1.0_all.deb
{END}"""
FULL = f"""Unpacking bad (1.0) ...
dpkg: error processing archive /var/cache/apt/archives/bad_1.0_all.deb (--unpack):
 cannot copy extracted data for './opt/big' to '/opt/big.dpkg-new': failed to write (No space left on device)
Errors were encountered while processing:
 /var/cache/apt/archives/bad_1.0_all.deb
{END}"""
TOO_LARGE = "E: You don't have enough free space in /var/cache/apt/archives/.\n"
UNMET = f"""{READING}{NOT_INSTALLED} bad : Depends: no-such (>= 2) but it is not installable
E: Unable to correct problems, you have held broken packages.
"""
UNMET_BY_SOLVER_3 = f"""{READING}Solving dependencies...
{NOT_INSTALLED} bad : Depends: no-such (>= 2) but it is not installable
E: Unable to correct problems, you have held broken packages.
E: The following information from --solver 3.0 may provide additional context:
   Unable to satisfy dependencies. Reached two conflicting decisions:
   1. bad:amd64=1.0 is selected for install
   2. bad:amd64 Depends no-such (>= 2)
      but none of the choices are installable:
      [no choices]
"""
CONFLICTS = f"""{READING}{NOT_INSTALLED} bad : Conflicts: dpkg but 1.22.22 is to be installed
E: Unable to correct problems, you have held broken packages.
"""
ESSENTIAL = """WARNING: The following essential packages will be removed.
This should NOT be done unless you know exactly what you are doing!
  apt adduser (due to apt) dash dpkg (due to dash)
E: Essential packages were removed and -y was used without --allow-remove-essential.
"""
NO_NAME = f"{READING}E: Unable to locate package bad\n"
MISSING = f"""{READING}Err:1 file:/repo ./ bad 1.0
  File not found - /repo/./bad_1.0_all.deb (2: No such file or directory)
E: Failed to fetch file:/repo/./bad_1.0_all.deb  File not found - /repo/./bad_1.0_all.deb (2: No such file)
E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?
"""
MISMATCH = f"""{READING}Get:1 http://127.0.0.1:8011/demo/trunk bookworm/main amd64 bad all 1.0 [20.7 kB]
Err:1 http://127.0.0.1:8011/demo/trunk bookworm/main amd64 bad all 1.0
  Hash Sum mismatch
E: Failed to fetch http://127.0.0.1:8011/demo/trunk/pool/bad_1.0_all.deb  Hash Sum mismatch
E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?
"""
NO_MIRROR = """Err:2 http://deb.debian.org/debian trixie InRelease
  Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)
  Unable to connect to 127.0.0.1:9:
W: Failed to fetch http://deb.debian.org/debian/dists/trixie/InRelease  Unable to connect to 127.0.0.1:9:
W: Some index files failed to download. They have been ignored, or old ones used instead.
"""
UNMET_REASON = "unmet dependencies: bad wants no-such (>= 2) but it is not installable"


@pytest.mark.parametrize(
    ("text", "reason", "ours"),
    [
        (POSTINST, "bad: its post-installation script returned error exit status 1", True),
        (KILLED, "bad: its post-installation script was killed by signal (Killed)", True),
        (MAINTAINER_SCRIPT, "bad: its post-installation script failed with exit status 1", True),
        (REMOVAL, "bad: its pre-removal script returned error exit status 3", True),
        (FOLLOWS, "helper: its post-installation script returned error exit status 1", False),
        (OVERWRITES, "it would overwrite /usr/bin/tput, which is also in ncurses-bin", True),
        (FULL, "the machine's disk is full", True),
        (TOO_LARGE, "the machine's disk is full", True),
        (UNMET, UNMET_REASON, True),
        (UNMET_BY_SOLVER_3, UNMET_REASON, True),
        (CONFLICTS, "unmet dependencies: bad Conflicts: dpkg but 1.22.22 is to be installed", True),
        (ESSENTIAL, "Essential packages were removed and -y was used without --allow-remove-essential.", True),
        (NO_NAME, "Unable to locate package bad", True),
        (MISSING, "apt could not fetch what it wants", False),
        (MISMATCH, "apt could not fetch what it wants", False),
        (NO_MIRROR, "apt could not fetch what it wants", False),
        ("", "apt exited 100", True),
    ],
)
def test_apts_words_are_read_for_whose_fault_it_is(text: str, reason: str, ours: bool) -> None:
    failure = judge_apt(text, 100, {"bad"})
    assert (failure.reason, failure.ours) == (reason, ours)


def test_a_package_cannot_pass_its_fault_on_by_talking_of_mirrors() -> None:
    failure = judge_apt("E: Failed to fetch http://mirror/x  404\n" + POSTINST, 100, {"bad"})
    assert failure.ours
    assert failure.reason.startswith("bad: its post-installation script")


def test_the_one_that_failed_is_ours_where_several_are_under_test() -> None:
    assert judge_apt(FOLLOWS, 100, {"bad", "helper"}) == AptFailure(
        "helper: its post-installation script returned error exit status 1", ours=True, details=details(FOLLOWS)
    )


def test_where_all_only_follow_the_first_is_named() -> None:
    text = "dpkg: error processing package bad (--configure):\n dependency problems - leaving unconfigured\n"
    assert judge_apt(text, 100, {"bad"}).reason == "bad: dpkg cannot process it"


def details(text: str) -> str:
    return "\n".join(text.rstrip().splitlines()[-15:])


def test_whose_fault_it_is_decides_the_error() -> None:
    assert isinstance(AptFailure("why", ours=True).as_error("it cannot be installed"), PackageFault)
    assert isinstance(AptFailure("why", ours=False).as_error("it cannot be installed"), FarmTrouble)


@given(st.text(max_size=300), st.sampled_from([POSTINST, UNMET, MISSING, FULL]))
def test_whatever_is_printed_beside_it_is_read(noise: str, text: str) -> None:
    assert judge_apt(f"{noise}\n{text}", 100, {"bad"}).reason


@pytest.mark.parametrize(
    ("waited_s", "ours", "error"),
    [(0.0, True, PackageFault), (50.0, True, PackageFault), (70.0, True, FarmTrouble), (0.0, False, FarmTrouble)],
)
def test_who_had_no_processor_is_not_told_to_be_slow(waited_s: float, ours: bool, error: type[FarmError]) -> None:
    ran = GuestRan(124, "so far\n", 100.0, timed_out=True, waited_s=waited_s)
    told = too_slow(ran, "not installed after 100 s", ours=ours)
    assert type(told) is error
    assert told.brief.startswith("not installed after 100 s")
    assert ("waited 70 s for a processor" in told.brief) == (waited_s > 60)
    assert told.details == "so far"


# What our own scripts print


BEFORE = """\
== policy
bad:
  Installed: (none)
  Candidate: 2.10-3
  Version table:
     2.10-3 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
other:
  Installed: (none)
  Candidate: (none)
  Version table:
     1.0 -1
== installed
adduser 3.134 ii
gone 1.0 rc
libc6 2.36-9+deb12u9 ii
"""


def test_what_stood_before_is_read() -> None:
    before = read_before(BEFORE)
    assert before.offered == {"bad": "2.10-3"}
    assert before.installed == {"adduser": "3.134", "libc6": "2.36-9+deb12u9"}


def test_a_look_is_read() -> None:
    look = read_look(
        "== clock\n1795708800\n== versions\nbad 1.0 ii\nhalf 1.0 iF\n== audit\n== failed\n"
        "bad.service loaded failed failed Build farm's bad one\n== services\nssh.service inactive\n"
        "== cores\nsh (process 12) was ended by signal 11\n== end\n"
    )
    assert look.clock_s == 1795708800
    assert look.versions == {"bad": "1.0"}
    assert look.audit == ""
    assert look.failed_units == ("bad.service",)
    assert look.services == {"ssh.service": "inactive"}
    assert look.cores == ("sh (process 12) was ended by signal 11",)
    assert look.whole


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_look_that_breaks_off_is_not_whole(cut: int) -> None:
    assert not read_look("== clock\n1\n== versions\nbad 1.0 ii\n== audit\n== failed\n== end\n"[:cut]).whole


@given(st.text(alphabet="= \nclockend0x-", max_size=200))
def test_any_text_is_a_look(text: str) -> None:
    assert isinstance(read_look(text).whole, bool)
    assert isinstance(sections(text), dict)


def test_what_a_removal_left_is_what_was_not_there_before() -> None:
    left = read_removal(
        "== remove\nRemoving\n== purge\n== installed\nadduser 3.134 ii\nextra 1.0 ii\nlibdep 1 ii\n== left\n"
        "/etc/bad.conf\n/etc/ld.so.cache\n/etc/passwd-\n/var/spool/cron/x\n/usr/lib/python3/dist-packages/a.pyc\n"
        "/var/lib/bad/state\n== end\n",
        ["extra", "bad"],
        {"adduser": "3.134", "libbad": "1"},
    )
    assert left.stayed == ("extra",)
    assert left.gone == ("libbad",)
    assert left.files == ("/etc/bad.conf", "/var/lib/bad/state")
    assert left.whole


@pytest.mark.parametrize("text", ["", "== left\n== end\n", "== installed\na 1 ii\n== left\n/etc/x\n"])
def test_a_removal_of_which_a_part_is_missing_is_not_whole(text: str) -> None:
    assert not read_removal(text, ["b"], {"a": "1"}).whole
