"""Buildbot's configuration, made of the farm's settings and recipes: few real builders, data decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from buildbot.config.errors import ConfigErrors
from buildbot.plugins import schedulers, util
from buildbot.process.buildstep import BuildStep
from buildbot.process.results import FAILURE, SUCCESS
from buildbot.util.twisted import async_to_deferred
from twisted.internet import reactor, threads
from twisted.python import log
from twisted.python.threadpool import ThreadPool

from buildfarm.errors import FarmError, UsageError
from buildfarm.farm import Farm, open_farm
from buildfarm.history import open_history
from buildfarm.master.database import database_config
from buildfarm.master.dispatcher import SCHEDULER, queue_name
from buildfarm.master.hooks import FORGES, TrunkHook, forge_hook
from buildfarm.master.rebuild_builders import may_start_commit, rebuild_builders
from buildfarm.master.rebuild_queue import CULPRIT, PROJECT, PUBLISH, REBUILD
from buildfarm.master.service import FarmService, Record, Work
from buildfarm.master.steps import EXPLANATION, StepContext, TaskFactory
from buildfarm.master.workers import FarmWorker, awake_first
from buildfarm.pipeline import GROUPS
from buildfarm.recipe.jobs import branch_of
from buildfarm.regress.nights import open_nights
from buildfarm.settings import Settings
from buildfarm.trunk import redact
from buildfarm.web.menu import menu_plugins
from buildfarm.web.service import RebuildPages

HISTORY_THREADS = 4
LOG_LIMIT_BYTES = 32 * 1024 * 1024
SIMULTANEOUS_CHECKS = 2
COMPANY = 1000  # more than a worker will ever do at once
BY_HAND = "run-by-hand"

_kept: dict[Path, Record] = {}


def configure(root: str | Path | None = None) -> dict[str, Any]:
    """The whole ``BuildmasterConfig`` for the farm whose checkout is ``root``.

    Raises Buildbot's ConfigErrors for settings that cannot be used: a running master then keeps what it has.
    """
    try:
        return _configure(open_farm(Path(root) if root is not None else None))
    except FarmError as error:
        raise ConfigErrors([str(error)]) from error


def _configure(farm: Farm) -> dict[str, Any]:
    settings = farm.settings
    for problem in farm.book.problems:
        log.msg(f"recipe left out: {problem}")
    for problem in farm.sets.problems:
        log.msg(f"package set left out: {problem}")
    farm.ensure_archives()
    record = _record(settings)
    work = Work(settings, record, tuple(farm.book.recipes.values()), farm.sets, farm.build_workers)
    latent = _latent_workers(farm)
    return {
        "title": "Build farm",
        "titleURL": settings.web_url,
        "buildbotURL": settings.web_url,
        "buildbotNetUsageData": None,
        "db": database_config(),
        "protocols": {"pb": {"port": _workers_port(settings)}},
        "workers": [*_workers(farm), *latent],
        "builders": _builders(farm, record, latent),
        "projects": _projects(farm),
        # Buildbot wants every builder to have a scheduler; the dispatcher adds its buildsets in this one's name.
        "schedulers": [
            schedulers.Triggerable(
                name=SCHEDULER,
                builderNames=[queue_name(group) for group in (*GROUPS, REBUILD, CULPRIT, PUBLISH)],
            ),
            _force_scheduler(farm),
        ],
        "services": [FarmService(work), RebuildPages(settings)],
        "collapseRequests": False,
        "prioritizeBuilders": None,
        "www": _www(farm),
        "logCompressionMethod": "gz",
        "logMaxSize": LOG_LIMIT_BYTES,
        "logMaxTailSize": 64 * 1024,
        "caches": {"Changes": 200, "Builds": 500},
    }


def _record(settings: Settings) -> Record:
    """One record and one pool a process, however often it is reconfigured."""
    if settings.history_file not in _kept:
        pool = ThreadPool(1, HISTORY_THREADS, "history")
        pool.start()
        reactor.addSystemEventTrigger("during", "shutdown", pool.stop)
        history, nights = open_history(settings.history_file), open_nights(settings.regression_file)
        _kept[settings.history_file] = Record(history, nights, pool)
    return _kept[settings.history_file]


def _workers_port(settings: Settings) -> str:
    host = settings.workers.host.replace(":", "\\:")
    return f"tcp:{settings.workers.port}:interface={host}"


def _workers(farm: Farm) -> list[Any]:
    machines = farm.settings.vm.simultaneous
    return [
        FarmWorker(
            name,
            farm.worker_password(name),
            max_builds=limit,
            silence_limit_s=farm.settings.workers.silence_limit_s,
        )
        for name, limit in (
            *((name, SIMULTANEOUS_CHECKS + 1 + machines) for name in farm.build_workers),
            (farm.signer, 1),
        )
    ]


def _latent_workers(farm: Farm) -> list[Any]:
    if not farm.latent_workers:
        return []
    from buildfarm.master.latent import latent_workers  # with it come the clouds' libraries

    made: list[Any] = latent_workers(farm)
    return made


def _serving(farm: Farm, latent: list[Any], group: str) -> list[str]:
    return [one.name for one in latent if group in farm.latent_workers[one.name].groups]


def _builders(farm: Farm, record: Record, latent: list[Any]) -> list[Any]:
    # A worker checks two commits at once beside one build: a push never waits for somebody's long build. Nor does
    # a build wait for machines, which have their own memory and are few. In company they all are: what must be
    # alone on its worker waits until they have ended, and they wait for it.
    company = util.WorkerLock("company", maxCount=COMPANY)
    builds = util.WorkerLock("builds", maxCount=1).access("counting")
    own_locks = {
        "source": [util.WorkerLock("checks", maxCount=SIMULTANEOUS_CHECKS).access("counting")],
        "build": [builds],
        "verify": [util.WorkerLock("machines", maxCount=farm.settings.vm.simultaneous).access("counting")],
    }
    context = StepContext(farm.settings, record.history, record.pool)
    builders = [
        util.BuilderConfig(
            name=queue_name(group.name),
            workernames=[farm.signer]
            if group.worker == "sign"
            else [*farm.build_workers, *_serving(farm, latent, group.name)],
            nextWorker=awake_first,
            canStartBuild=may_start_commit if group.name == "build" else None,
            factory=TaskFactory(context),
            locks=[*own_locks.get(group.name, []), company.access("counting")],
            description=f"{', '.join(group.stages)} of all recipes: here is what waits; "
            "what has begun is on each recipe's own pages",
            tags=["all recipes", group.name],
        )
        for group in GROUPS.values()
    ]
    by_hand = util.BuilderConfig(
        name=BY_HAND,
        workernames=list(farm.build_workers),
        factory=util.BuildFactory([ForceRun()]),
        description="run a recipe's revision, or give one that did not pass another chance",
        tags=["all recipes"],
    )
    return [*builders, *rebuild_builders(farm, record, builds, company), by_hand]


def _projects(farm: Farm) -> list[Any]:
    """A page for each recipe, with what it is made of, and one for nightly rebuilds."""
    rebuilds = util.Project(
        name=PROJECT, description="packages rebuilt though nobody changed them, night by night"
    )
    return [
        rebuilds,
        *(
            util.Project(
                name=name,
                description=f"{branch.vcs} {redact(branch.location)} {branch.branch}".rstrip()
                + f" → {' → '.join(filter(None, (recipe.publish, recipe.promote)))},"
                + f" {', '.join(recipe.series)} on {', '.join(recipe.architectures)}",
            )
            for name, recipe in sorted(farm.book.recipes.items())
            for branch in (branch_of(recipe),)
        ),
    ]


def _force_scheduler(farm: Farm) -> Any:
    names = sorted(farm.book.recipes) or ["-"]
    return schedulers.ForceScheduler(
        name="run",
        buttonName="Run a recipe",
        label="Run a recipe's revision",
        builderNames=[BY_HAND],
        codebases=[util.CodebaseParameter("", label="", hide=True)],
        properties=[
            util.ChoiceStringParameter("recipe", label="Recipe", choices=names, default=names[0], strict=True),
            util.StringParameter("expression", label="Revision (empty: the trunk's tip)", size=60),
        ],
        priority=util.IntParameter("priority", default=0, hide=True),
        reason=util.StringParameter("reason", label="Reason", default="by hand", size=60),
    )


class ForceRun(BuildStep):  # type: ignore[misc]
    """Puts a revision on record; its run then goes the way every commit's does."""

    name = "run"

    @async_to_deferred
    async def run(self) -> int:
        """Ask the farm; says what was done, or why it could not be."""
        service = self.master.service_manager.namedServices["farm"]
        try:
            self._said = await threads.deferToThread(
                service.force, self.getProperty("recipe"), self.getProperty("expression") or ""
            )
        except FarmError as error:
            self._said = error.brief
            await self.addCompleteLog(EXPLANATION, f"{error}\n")
            return FAILURE
        service.dispatcher.wake()
        return SUCCESS

    def getResultSummary(self) -> dict[str, str]:
        """What was done."""
        return {"step": getattr(self, "_said", "")}


def _www(farm: Farm) -> dict[str, Any]:
    settings = farm.settings
    dialects: dict[str, Any] = {"trunk": {"custom_class": TrunkHook}}
    for forge in settings.hooks.secret_files:
        dialects[forge] = {"custom_class": forge_hook(forge, hook_secret(settings, forge))}
    return {
        "port": f"tcp:{settings.web.port}:interface={settings.web.host}",
        "plugins": {"waterfall_view": {}, "console_view": {}, "grid_view": {}, "badges": {}, **menu_plugins()},
        "change_hook_dialects": dialects,
        "auth": util.UserPasswordAuth({"admin": farm.admin_password}),
        "authz": util.Authz(
            # Buildbot allows what no rule names: the last rule names everything that changes something.
            allowRules=[util.AnyControlEndpointMatcher(role="admins")],
            roleMatchers=[util.RolesFromUsername(roles=["admins"], usernames=["admin"])],
        ),
        "ui_default_config": {
            "Builders.show_workers_name": True,
            "Grid.fullChanges": False,
            "Links.build_link_template": "%(prop:run) (%(build_number))",
            "LogPreview.expand_logs": EXPLANATION,
        },
    }


def hook_secret(settings: Settings, forge: str) -> str:
    """The secret of a forge's hook; raises UsageError for a forge we do not know, and where there is no secret."""
    if forge not in FORGES:
        raise UsageError(
            f"no forge {forge!r}",
            where="farm.toml, hooks.secret_files",
            resolution=f"Known forges: {', '.join(FORGES)}.",
        )
    path = settings.root / settings.hooks.secret_files[forge]
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the secret of {forge}'s hook cannot be read: {error}",
            where="farm.toml, hooks.secret_files",
            resolution="Make the file, readable by the farm's user alone; see docs/how-to/forge-hooks.md.",
        ) from error
    if not secret:
        raise UsageError(f"the secret of {forge}'s hook is empty", where=str(path))
    return secret
