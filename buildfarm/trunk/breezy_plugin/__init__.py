"""Tell the build farm of new revisions at once: a plugin for breezy, put in place by ``buildfarm hook install``.

It runs wherever a branch is written: in the committer's own ``brz``, or in the smart server a push goes to. A
branch asks for it in its branch.conf, with options that ``buildfarm hook install`` sets::

    buildfarm_notify = http://farm.example:8010/    the farm's web status
    buildfarm_location = /srv/bzr/hello/trunk       the branch, as recipes name it
    buildfarm_recipe = hello                        optional

They are data only: the program that is run stands in ``command.json`` beside this file, in the plugin directory
of whoever commits. It runs in the background, and whatever becomes of it, the commit stands.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from breezy import trace
from breezy.hooks import install_lazy_named_hook

FIELDS = (("--url", "buildfarm_notify"), ("--location", "buildfarm_location"), ("--recipe", "buildfarm_recipe"))


def tell_the_farm(params: Any) -> None:
    """Start ``buildfarm notify`` for a branch that asks for it; ``params`` are breezy's ChangeBranchTipParams."""
    try:
        stack = params.branch.get_config_stack()
        options = [(flag, stack.get(name)) for flag, name in FIELDS]
        if not options[0][1] or params.new_revid == params.old_revid:
            return
        command = json.loads(Path(__file__).with_name("command.json").read_text(encoding="utf-8"))
        subprocess.Popen(
            [*command, "notify", *(f"{flag}={value}" for flag, value in options if value)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
    except Exception as error:  # noqa: BLE001 (a commit must not fail for this, whatever it is)
        trace.mutter("buildfarm: the farm was not told: %r", error)


install_lazy_named_hook(
    "breezy.branch", "Branch.hooks", "post_change_branch_tip", tell_the_farm, "tell the build farm"
)
