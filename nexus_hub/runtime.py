"""Runtime of a process: its database pool, vault, connections, dispatcher, and the loops beside them."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any
from uuid import UUID

from nexus_hub.access.permissions import Permissions
from nexus_hub.calls.cache import TtlCache
from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.catalog.store import UserLimits
from nexus_hub.db.pool import Database
from nexus_hub.execution.direct import DirectLane
from nexus_hub.execution.ending import Ending
from nexus_hub.execution.fair_queue import Places
from nexus_hub.execution.shared_runs import WORKER_LISTENS, SharedRuns
from nexus_hub.execution.steps import Execution
from nexus_hub.home.layout import Home
from nexus_hub.jobs.approvals import Asker
from nexus_hub.jobs.requests import JobBounds
from nexus_hub.live.bundle_finder import BundleFinder
from nexus_hub.live.feed import Feed
from nexus_hub.live.listener import LISTENS, CatalogChange, JobChange, listen
from nexus_hub.live.tool_finder import ToolFinder
from nexus_hub.live.tool_index import LiveIndex
from nexus_hub.memory import return_large_blocks
from nexus_hub.orchestration.approval_rounds import ApprovalRounds
from nexus_hub.orchestration.approvals import Approvals
from nexus_hub.orchestration.cleanup import Cleanup
from nexus_hub.orchestration.dispatcher import Dispatcher
from nexus_hub.orchestration.gauges import HubGauges
from nexus_hub.orchestration.health_report import HealthReports
from nexus_hub.orchestration.maintenance import Maintenance
from nexus_hub.orchestration.metrics_report import CALLS, CHILDREN, CHILDREN_BYTES, MetricsReport
from nexus_hub.orchestration.mirror import Mirror
from nexus_hub.orchestration.prefect_client import PrefectClient, prefect_auth
from nexus_hub.orchestration.reconciler import Patience
from nexus_hub.orchestration.rescuer import Rescuer
from nexus_hub.orchestration.rotation_runs import RotationRuns
from nexus_hub.orchestration.scheduler_watch import SchedulerWatch
from nexus_hub.orchestration.submission import Submission
from nexus_hub.rate_limit.limiter import Limiter
from nexus_hub.servers.call_logins import CallLogins
from nexus_hub.servers.changes import ChangeRefresher
from nexus_hub.servers.circuits import SharedCircuits
from nexus_hub.servers.login_requests import LoginRequests
from nexus_hub.servers.login_sites import LoginSites
from nexus_hub.servers.logins import Logins
from nexus_hub.servers.overview import Overviews
from nexus_hub.servers.refresh import Refresher
from nexus_hub.servers.registry import Servers
from nexus_hub.settings import Settings
from nexus_hub.telemetry import tracing
from nexus_hub.telemetry.bus import subscribe
from nexus_hub.telemetry.logs import quiet_libraries
from nexus_hub.telemetry.loops import FailingLoops, keep_running
from nexus_hub.telemetry.metrics import Metrics
from nexus_hub.upstream.children import Children
from nexus_hub.upstream.connections import Connections
from nexus_hub.upstream.orphans import end_orphans
from nexus_hub.upstream.snapshot import ReadLimits
from nexus_hub.vault.keyring import KeyringSource, keyring_source
from nexus_hub.vault.rotation import Rotation
from nexus_hub.vault.sealing import Vault

PERMISSIONS_SECONDS = 60.0
"""The longest that what a user may do is trusted, should a notice of a change get lost."""


@dataclass(frozen=True)
class Runtime:
    """The parts of one process, made once and passed on."""

    name: str
    settings: Settings
    job_bounds: JobBounds
    database: Database
    servers: Servers
    logins: Logins
    login_requests: LoginRequests
    login_sites: LoginSites
    overviews: Overviews
    connections: Connections
    circuits: SharedCircuits
    prefect_client: PrefectClient
    scheduler_watch: SchedulerWatch
    execution: Execution
    direct: DirectLane
    submission: Submission
    limiter: Limiter
    dispatcher: Dispatcher
    shared_runs: SharedRuns
    rescuer: Rescuer
    mirror: Mirror
    maintenance: Maintenance
    refresher: Refresher
    keyring: KeyringSource
    rotation: Rotation
    rotation_runs: RotationRuns
    feed: Feed
    cleanup: Cleanup
    health: HealthReports
    failing: FailingLoops
    report: MetricsReport
    permissions: TtlCache[UUID | None, Permissions]
    tool_index: LiveIndex
    approvals: Approvals
    approval_rounds: ApprovalRounds
    listeners: list[Callable[[JobChange | None], None]] = field(default_factory=list)
    """Called with every change of a job; None: some may have been missed."""
    catalog_listeners: list[Callable[[CatalogChange | None], None]] = field(default_factory=list)
    """Called with every change of the catalog; None: some may have been missed."""
    token_listeners: list[Callable[[bool], None]] = field(default_factory=list)
    """Called when tokens may have lost their worth; False: it can't be heard of any more."""
    permission_listeners: list[Callable[[], None]] = field(default_factory=list)
    """Called when what users may do has changed, or may have."""
    session_listeners: list[Callable[[str], None]] = field(default_factory=list)
    """Called with the id of a session of `/mcp` that some process got a request of which does not keep it."""

    @cached_property
    def changes(self) -> ChangeRefresher:
        """The refresher of servers that tell of changes, and of those that were logged in at."""
        return ChangeRefresher(self.refresher)

    @cached_property
    def finder(self) -> ToolFinder:
        """The finder of tools, by the index in memory that the API's processes keep."""
        return ToolFinder(self.database, self.permissions, self.tool_index, self.bundle_finder)

    @cached_property
    def bundle_finder(self) -> BundleFinder:
        """The finder of bundles' tools."""
        return BundleFinder(self.database)

    def notice(self, change: JobChange | None) -> None:
        """Hand a change on, and stop the work on a job that ended elsewhere.

        A job whose notice was missed is found by its heartbeat.
        """
        self.feed.notice(change)
        self.execution.inputs.notice(None if change is None else change.job_id)
        if change is None:
            self.dispatcher.forget()
            self.submission.notice(None)
        else:
            # A direct call takes no room from the jobs that are dispatched.
            self.dispatcher.notice(change.job_id, ended=change.ended or change.lane == "direct")
        if change is not None and change.ended:
            self.submission.notice(change.job_id)
        if change is not None and change.event == "progress":
            self.submission.notice_progress(change.job_id)
        if change is not None and change.status in {"cancelled", "failed"}:
            self.execution.mark_stale(change.job_id)
        for listener in self.listeners:
            listener(change)

    def notice_catalog(self, change: CatalogChange | None) -> None:
        """Hand a change of the catalog on, and forget what the direct lane and the logins knew of the server."""
        self.direct.forget(None if change is None else change.ref)
        self.logins.forget(None if change is None else change.ref)
        if change is None:
            self.connections.forget_logins()
        elif "off" in change.kinds:
            self.connections.disconnect(change.ref)
        elif "login" in change.kinds:
            self.connections.forget_login(change.ref, change.user_id)
        self.tool_index.notice(change)
        for listener in list(self.catalog_listeners):
            listener(change)

    def notice_tokens(self, is_listening: bool) -> None:
        """Hand on that tokens may have lost their worth."""
        for listener in self.token_listeners:
            listener(is_listening)

    def notice_permissions(self) -> None:
        """Read anew what users may do, and hand on that it has changed."""
        self.permissions.forget_all()
        self.execution.bundles.forget_all()
        for listener in list(self.permission_listeners):
            listener()

    def notice_session(self, session: str) -> None:
        """Hand on that a process got a request of a session that it does not keep."""
        for listener in self.session_listeners:
            listener(session)

    def drain(self) -> None:
        """Take note that the process is about to stop: streams end, and calls that are cut off were not given up."""
        self.direct.drain()
        self.submission.drain()
        self.feed.close()

    def end_calls(self, how: Ending) -> None:
        """End the waiting of callers, as the process is about to stop."""
        self.direct.end(how)
        self.submission.end(how)

    async def watch(self) -> None:
        """Listen for changes until cancelled."""
        await listen(
            self.database.url,
            self.notice,
            self.rescuer.wake,
            self.shared_runs.wake_worker,
            self.notice_catalog,
            self.notice_tokens,
            self.notice_session,
            self.notice_permissions,
            name=WORKER_LISTENS if self.name == "worker" else LISTENS,
        )


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
    await asyncio.to_thread(end_orphans)
    async with AsyncExitStack() as stack:
        failing, metrics = FailingLoops(), Metrics()
        stack.enter_context(subscribe(failing))
        stack.enter_context(subscribe(metrics))
        endpoint = settings.otlp_endpoint.get_secret_value() if settings.otlp_endpoint else None
        await stack.enter_async_context(tracing.exporting(name, endpoint, settings.trace_callers, os.environ))
        database = await stack.enter_async_context(
            Database(database_url(settings), name=f"nexus-hub {name}", statement_seconds=settings.statement_seconds)
        )
        connections = await stack.enter_async_context(
            Connections(
                log_dir=Home(settings.home).logs if settings.log_upstream_stderr else None,
                connect_timeout=settings.connect_seconds,
                command_timeout=settings.command_connect_seconds,
                user_share=settings.user_share,
                read_limits=ReadLimits(settings.max_definition_bytes, settings.max_listing_bytes),
                children=Children(settings.max_children, settings.max_server_children),
            )
        )
        prefect_client = await stack.enter_async_context(PrefectClient(settings.prefect_url, prefect_auth(settings)))
        watch = SchedulerWatch(prefect_client)
        gauges = HubGauges(database, watch, source) if name == "api" else None
        report = MetricsReport(metrics, database, gauges)
        runtime = _assemble(settings, name, source, failing, report, database, connections, prefect_client, watch)
        await stack.enter_async_context(runtime.logins)
        report.add_gauge(CALLS, lambda: runtime.direct.running)
        report.add_gauge(CHILDREN, lambda: len(connections.children))
        report.add_gauge(CHILDREN_BYTES, connections.children.measure_memory)
        stack.push_async_callback(runtime.changes.close)
        stack.callback(runtime.tool_index.close)
        connections.on_list_changed(runtime.changes.note)
        for loop in _make_loops(runtime):
            stack.push_async_callback(cancel_and_wait, asyncio.create_task(loop))
        stack.push_async_callback(runtime.dispatcher.drain)
        stack.push_async_callback(runtime.direct.close)
        yield runtime


def _assemble(
    settings: Settings,
    name: str,
    source: KeyringSource,
    failing: FailingLoops,
    report: MetricsReport,
    database: Database,
    connections: Connections,
    prefect_client: PrefectClient,
    watch: SchedulerWatch,
) -> Runtime:
    """Put a process's parts together on what is open."""
    vault = Vault(source)
    servers = _make_servers(settings, vault, database, connections)
    sites, logins, login_requests = _make_logins(settings, vault, database, servers)
    mirror, limiter = Mirror(database), Limiter(database)
    dispatcher = Dispatcher(database, prefect_client, most_hanging=settings.worker_limit // 4)
    execution = Execution(
        database,
        servers,
        connections,
        limiter,
        settings.max_result_bytes,
        lease_seconds=settings.lease_seconds,
        heartbeat_seconds=settings.heartbeat_seconds,
        permissions_seconds=PERMISSIONS_SECONDS,
    )
    maintenance, rotation = Maintenance(database, mirror, prefect_client), Rotation(database, source)
    job_bounds = JobBounds(settings.max_timeout_seconds, settings.user_open_jobs)
    asker = Asker(execution.permissions, execution.bundles, settings.approval_seconds)
    submission = Submission(database, dispatcher, prefect_client, job_bounds, asker)
    return Runtime(
        name=name,
        settings=settings,
        job_bounds=job_bounds,
        database=database,
        servers=servers,
        logins=logins,
        login_requests=login_requests,
        login_sites=sites,
        overviews=Overviews(database, limiter, connections.circuits),
        connections=connections,
        circuits=SharedCircuits(database, connections.circuits),
        prefect_client=prefect_client,
        scheduler_watch=watch,
        execution=execution,
        direct=DirectLane(
            execution,
            submission.call,
            job_bounds,
            handle_seconds=settings.handle_seconds,
        ),
        submission=submission,
        limiter=limiter,
        dispatcher=dispatcher,
        shared_runs=SharedRuns(
            execution,
            partial(dispatcher.open_run, one_more=True),
            Places(settings.worker_places, max(settings.worker_places // 2, 1), settings.user_share),
        ),
        rescuer=Rescuer(
            database,
            prefect_client,
            mirror,
            lease_seconds=settings.lease_seconds,
            patience=Patience(unclaimed=settings.unclaimed_seconds, abandoned=settings.abandoned_seconds),
        ),
        mirror=mirror,
        maintenance=maintenance,
        refresher=Refresher(database, servers, ttl_seconds=settings.catalog_ttl_seconds),
        keyring=source,
        rotation=rotation,
        rotation_runs=RotationRuns(database, rotation, maintenance),
        feed=Feed(database),
        cleanup=Cleanup(database, prefect_client),
        health=HealthReports(database, prefect_client, failing.names),
        failing=failing,
        report=report,
        permissions=execution.permissions,
        tool_index=LiveIndex(database),
        approvals=Approvals(database, prefect_client),
        approval_rounds=ApprovalRounds.from_settings(settings, database, prefect_client),
    )


def _make_servers(settings: Settings, vault: Vault, database: Database, connections: Connections) -> Servers:
    return Servers(
        database,
        vault,
        connections,
        allow_private=settings.allow_private_upstreams,
        ttl_seconds=settings.catalog_ttl_seconds,
        user_limits=UserLimits(settings.max_user_servers, settings.max_user_tools, settings.max_user_bytes),
    )


def _make_logins(
    settings: Settings, vault: Vault, database: Database, servers: Servers
) -> tuple[LoginSites, Logins, LoginRequests]:
    """Make what keeps and renews logins at servers, for calls to carry, and what begins and finishes them."""
    allow_private = settings.allow_private_upstreams
    sites = LoginSites(servers, allow_private=allow_private, base=settings.public_base)
    logins = Logins(database, vault, sites.find)
    servers.logins = CallLogins(logins, sites)
    requests = LoginRequests(
        database, vault, servers, logins, public_url=settings.public_url, allow_private=allow_private
    )
    return sites, logins, requests


def _make_loops(runtime: Runtime) -> Iterator[Coroutine[Any, Any, None]]:
    """Make the loops that every process runs; none of them ends by an error."""
    yield from runtime.execution.loops()
    yield from runtime.rescuer.loops()
    yield keep_running("listen", runtime.watch)
    yield keep_running("feed", runtime.feed.run)
    yield keep_running("circuits", runtime.circuits.keep_sharing)
    yield keep_running("logins", runtime.logins.look_after)
    if runtime.name == "api":
        yield keep_running("tool-index", runtime.tool_index.run)
        yield keep_running("scheduler-watch", runtime.scheduler_watch.keep_looking)
        yield from runtime.approval_rounds.loops()
