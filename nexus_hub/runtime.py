"""Runtime of a process: its database pool, vault, connections, dispatcher, and the loops beside them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.catalog.store import UserLimits
from nexus_hub.db.pool import Database
from nexus_hub.execution.steps import Execution
from nexus_hub.home.layout import Home
from nexus_hub.jobs.requests import JobBounds
from nexus_hub.live.feed import Feed
from nexus_hub.live.listener import JobChange, listen
from nexus_hub.memory import return_large_blocks
from nexus_hub.orchestration.cleanup import Cleanup
from nexus_hub.orchestration.dispatcher import Dispatcher
from nexus_hub.orchestration.maintenance import Maintenance
from nexus_hub.orchestration.mirror import Mirror
from nexus_hub.orchestration.prefect_client import PrefectClient, prefect_auth
from nexus_hub.orchestration.reconciler import Patience
from nexus_hub.orchestration.rescuer import Rescuer
from nexus_hub.rate_limit.limiter import Limiter
from nexus_hub.servers.refresh import Refresher
from nexus_hub.servers.registry import Servers
from nexus_hub.settings import Settings
from nexus_hub.telemetry.bus import subscribe
from nexus_hub.telemetry.logs import quiet_libraries
from nexus_hub.telemetry.loops import FailingLoops, keep_running
from nexus_hub.upstream.connections import Connections
from nexus_hub.upstream.snapshot import ReadLimits
from nexus_hub.vault.keyring import keyring_source
from nexus_hub.vault.rotation import Rotation
from nexus_hub.vault.sealing import Vault


@dataclass(frozen=True)
class Runtime:
    """The parts of one process, made once and passed on."""

    settings: Settings
    job_bounds: JobBounds
    database: Database
    servers: Servers
    connections: Connections
    prefect_client: PrefectClient
    execution: Execution
    limiter: Limiter
    dispatcher: Dispatcher
    rescuer: Rescuer
    mirror: Mirror
    maintenance: Maintenance
    refresher: Refresher
    rotation: Rotation
    feed: Feed
    cleanup: Cleanup
    failing: FailingLoops
    listeners: list[Callable[[JobChange | None], None]] = field(default_factory=list)
    """Called with every change of a job; None: some may have been missed."""

    def notice(self, change: JobChange | None) -> None:
        """Hand a change on, and stop the work on a job that ended elsewhere.

        A job whose notice was missed is found by its heartbeat.
        """
        self.feed.notice(change)
        if change is not None and change.status in {"cancelled", "failed"}:
            self.execution.mark_stale(change.job_id)
        for listener in self.listeners:
            listener(change)

    async def watch(self) -> None:
        """Listen for changes until cancelled."""
        await listen(self.database.url, self.notice, self.rescuer.wake)


def database_url(settings: Settings) -> str:
    """Give the URL of the app's role: of the environment, else of the home's embedded PostgreSQL."""
    return settings.database_url.get_secret_value() if settings.database_url else Home(settings.home).database_url()


@asynccontextmanager
async def open_runtime(settings: Settings, name: str) -> AsyncIterator[Runtime]:
    """A process's runtime with its loops running: leases and progress, rescuer and reconciler, the listener.

    Raises:
        NotConfigured, InvalidKey: it can't start like this.
    """
    quiet_libraries()
    return_large_blocks()
    source = keyring_source(settings)
    source.current()
    async with AsyncExitStack() as stack:
        failing = FailingLoops()
        stack.enter_context(subscribe(failing))
        database = await stack.enter_async_context(
            Database(database_url(settings), name=f"nexus-hub {name}", statement_seconds=settings.statement_seconds)
        )
        connections = await stack.enter_async_context(
            Connections(
                log_dir=Home(settings.home).logs if settings.log_upstream_stderr else None,
                connect_timeout=settings.connect_seconds,
                command_timeout=settings.command_connect_seconds,
                read_limits=ReadLimits(settings.max_definition_bytes, settings.max_listing_bytes),
            )
        )
        prefect_client = await stack.enter_async_context(PrefectClient(settings.prefect_url, prefect_auth(settings)))
        servers = Servers(
            database,
            Vault(source),
            connections,
            allow_private=settings.allow_private_upstreams,
            ttl_seconds=settings.catalog_ttl_seconds,
            user_limits=UserLimits(settings.max_user_servers, settings.max_user_tools, settings.max_user_bytes),
        )
        mirror, limiter = Mirror(database), Limiter(database)
        runtime = Runtime(
            settings=settings,
            job_bounds=JobBounds(settings.max_timeout_seconds, settings.user_open_jobs),
            database=database,
            servers=servers,
            connections=connections,
            prefect_client=prefect_client,
            execution=Execution(
                database,
                servers,
                connections,
                limiter,
                settings.max_result_bytes,
                lease_seconds=settings.lease_seconds,
                heartbeat_seconds=settings.heartbeat_seconds,
            ),
            limiter=limiter,
            dispatcher=Dispatcher(database, prefect_client),
            rescuer=Rescuer(
                database,
                prefect_client,
                mirror,
                lease_seconds=settings.lease_seconds,
                patience=Patience(unclaimed=settings.unclaimed_seconds, abandoned=settings.abandoned_seconds),
            ),
            mirror=mirror,
            maintenance=Maintenance(database, mirror, prefect_client),
            refresher=Refresher(database, servers, connections, ttl_seconds=settings.catalog_ttl_seconds),
            rotation=Rotation(database, source),
            feed=Feed(database),
            cleanup=Cleanup(database, prefect_client),
            failing=failing,
        )
        for loop in _make_loops(runtime):
            stack.push_async_callback(cancel_and_wait, asyncio.create_task(loop))
        stack.push_async_callback(runtime.dispatcher.drain)
        yield runtime


def _make_loops(runtime: Runtime) -> Iterator[Coroutine[Any, Any, None]]:
    """Make the loops that every process runs; none of them ends by an error."""
    yield from runtime.execution.loops()
    yield from runtime.rescuer.loops()
    yield keep_running("listen", runtime.watch)
    yield keep_running("feed", runtime.feed.run)
