"""`nexus-hub doctor`: a look at everything, in the order in which it builds on each other."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from functools import partial

from nexus_hub.cli import checks
from nexus_hub.cli.checks import Check, run_check
from nexus_hub.cli.context import FAILED, SUCCESS
from nexus_hub.cli.output import Output
from nexus_hub.cli.stack import current
from nexus_hub.client import HubClient
from nexus_hub.db.migrate import find_newer, pending
from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load as load_queries
from nexus_hub.errors import CheckFailed, InvalidSetting, NotAllowed
from nexus_hub.home.layout import Home
from nexus_hub.models import OPERATOR
from nexus_hub.orchestration import health
from nexus_hub.orchestration.health_figures import HEALTH, MOST_SERVERS
from nexus_hub.orchestration.prefect_client import PrefectClient, prefect_auth
from nexus_hub.orchestration.scheduler_watch import judge_scheduler
from nexus_hub.paging import LARGEST
from nexus_hub.runtime import database_url
from nexus_hub.servers import registry
from nexus_hub.settings import Settings, load
from nexus_hub.stack.prefect_server import HOST
from nexus_hub.stack.state import StackState
from nexus_hub.telemetry.logs import quiet_libraries

QUERIES = load_queries("doctor")
WORKER_TYPE = "nexus"
SEEN_LATELY = 90.0
"""Three heartbeats of a Prefect worker, which sends one every 30 s."""
FIRST_RUNS_SECONDS = 75
"""A scheduler has so long to make the first runs: it looks every minute, and every five seconds for new deployments.

Whoever changes or removes a schedule of a deployment takes all its runs away until then.
"""
Say = Callable[[str], None]
"""Tells at once what the doctor waits for."""
COLUMNS = {"state": "", "name": "Check", "detail": "Seen", "advice": "What to do"}


def doctor(*, as_json: bool) -> int:
    """Run all checks and show them; return 0 only if nothing is wrong."""
    quiet_libraries()
    output = Output(as_json=as_json)
    found = asyncio.run(_collect(partial(output.error, style="dim")))
    if as_json:
        output.data({"checks": [asdict(check) for check in found]})
    else:
        output.table([asdict(check) | {"state": "ok" if check.ok else "wrong"} for check in found], COLUMNS, "")
    return SUCCESS if all(check.ok for check in found) else FAILED


async def _collect(say: Say) -> list[Check]:
    return [check async for check in examine(say)]


async def examine(say: Say) -> AsyncIterator[Check]:
    """Run all checks, one after the other; what needs a running hub is left out while it is stopped."""
    yield await run_check("python", checks.python(), "Install Python 3.11 or a later one.")
    install = "Install the versions of requirements.lock: pip install --require-hashes -r requirements.lock"
    yield await run_check("packages", checks.packages(), install)
    settings = _load_settings()
    yield await run_check("settings", checks.settings_fit(settings), "Correct these variables, or unset them.")
    if isinstance(settings, InvalidSetting):
        return
    home = Home(settings.home)
    try:
        state = current(settings, home)
    except NotAllowed as refused:
        yield Check("home", False, refused.message, "Run as its owner, or set NEXUS_HOME to a directory of your own.")
        return
    running = state.phase != "stopped"
    apart = not (running or settings.embeds_postgres or settings.embeds_prefect)
    if settings.names_hub_elsewhere and not running and settings.embeds_postgres and settings.embeds_prefect:
        yield await _check_far_api(settings)
        return
    async for check in _on_this_machine(settings, home, state, apart=apart):
        yield check
    async for check in _services(settings, say, running=running, apart=apart):
        yield check


def _load_settings() -> Settings | InvalidSetting:
    try:
        return load()
    except InvalidSetting as invalid:
        return invalid


async def _on_this_machine(settings: Settings, home: Home, state: StackState, *, apart: bool) -> AsyncIterator[Check]:
    yield await run_check("home", checks.home_is_ours(home, needed=not apart), "Make it a directory of your own.")
    advice = "It is made when the hub starts (nexus-hub up); or set NEXUS_SERVICE_KEY."
    yield await run_check("service-key", checks.service_key(settings), advice)
    advice = "Put keyring.json back from a backup, or set VAULT_ENCRYPTION_KEY; a home's first start makes one."
    yield await run_check("keyring", checks.keyring_opens(settings), advice)
    if apart:
        return
    yield await run_check("hub", _check_parts(home, state), f"See the logs in {home.logs}, and: nexus-hub status")
    api = checks.port_is_ours(settings.host, settings.port, "NEXUS_PORT", "api", state)
    yield await run_check("port-api", api, "Stop that program, or set NEXUS_PORT to a free port.")
    if settings.embeds_prefect:
        prefect = checks.port_is_ours(HOST, settings.prefect_port, "NEXUS_PREFECT_PORT", "prefect", state)
        yield await run_check("port-prefect", prefect, "Stop that program, or set NEXUS_PREFECT_PORT to a free port.")


async def _check_parts(home: Home, state: StackState) -> str:
    if state.phase == "stopped":
        raise CheckFailed(
            f"The hub of {home.path} is not running; what needs a running hub was not checked.",
            "Start it: nexus-hub up",
        )
    parts = [part for part in state.parts if part.kind == "part"]
    if ill := [part.name for part in parts if not part.healthy]:
        raise CheckFailed(f"Not healthy: {', '.join(ill)}.")
    if not parts:
        raise CheckFailed("It is starting.", "Wait until nexus-hub status shows it ready.")
    return f"process {state.pid}; healthy: {', '.join(part.name for part in parts)}"


async def _services(settings: Settings, say: Say, *, running: bool, apart: bool) -> AsyncIterator[Check]:
    if running or apart:
        advice = "See the log of the API, and NEXUS_URL and NEXUS_TOKEN if they are set."
        yield await run_check("api", _check_api(settings), advice)
    if running or not settings.embeds_postgres:
        async for check in _database(settings):
            yield check
    if running or not settings.embeds_prefect:
        async for check in _prefect(settings, say):
            yield check


async def _check_far_api(settings: Settings) -> Check:
    """Check that the hub elsewhere answers which the command line talks to."""
    advice = "See NEXUS_URL and NEXUS_TOKEN; run the doctor where its parts run to have these looked at."
    return await run_check("api", _check_api(settings), advice)


async def _check_api(settings: Settings) -> str:
    async with HubClient.from_settings(settings) as client:
        await client.request("GET", "/readyz")
        await client.request("GET", "/v1/servers", None, limit=1)
        return f"{client.url} answers, and takes the key"


@dataclass(frozen=True, slots=True)
class OwnRole:
    """The role that the hub connects as."""

    name: str
    above_policies: bool
    server_version: str
    owns: int


async def _database(settings: Settings) -> AsyncIterator[Check]:
    advice = "See that PostgreSQL runs, and NEXUS_DATABASE_URL if it is set."
    try:
        url = database_url(settings)
    except (OSError, ValueError):
        yield Check("database", False, "The home's database.json can't be read.", "Put it back from a backup.")
        return
    async with Database(url, name="nexus-hub doctor", max_size=2) as database:
        reached = await run_check("database", _reach_database(database), advice)
        yield reached
        if not reached.ok:
            return
        yield await run_check(
            "database-role", _check_role(database), "Let the app connect as a role of its own: see the docs."
        )
        migrated = await run_check("migrations", _check_migrations(url), "Run nexus-hub migrate as the schema's owner.")
        yield migrated
        if migrated.ok:
            advice = "Run nexus-hub migrate as the schema's owner, and: REVOKE CREATE ON SCHEMA public FROM PUBLIC;"
            yield await run_check("database-functions", _check_functions(database), advice)
            async for check in _servers(database):
                yield check
            advice = "They log in anew: Connect in the console, or nexus-hub server login NAME."
            yield await run_check("logins", _check_logins(database), advice)


async def _reach_database(database: Database) -> str:
    return f"PostgreSQL {(await _read_own_role(database)).server_version}"


async def _check_role(database: Database) -> str:
    role = await _read_own_role(database)
    if role.above_policies:
        raise CheckFailed(f"The role {role.name} is above row-level security, which keeps users apart.")
    if role.owns:
        raise CheckFailed(f"The role {role.name} owns {role.owns} objects, and owners are above row-level security.")
    return f"{role.name} owns nothing"


async def _read_own_role(database: Database) -> OwnRole:
    async with database.transaction() as transaction:
        return await transaction.only(QUERIES["own_role"], OwnRole)


async def _check_migrations(url: str) -> str:
    if missing := await pending(url):
        raise CheckFailed(f"Not applied yet: {', '.join(missing)}.")
    if (newest := await find_newer(url)) is not None:
        return f"a later release has brought the schema to migration {newest}, with which this one works"
    return "the schema is up to date"


async def _check_functions(database: Database) -> str:
    async with database.transaction() as transaction:
        problems = await transaction.all(QUERIES["unsafe_functions"], str)
    if problems:
        raise CheckFailed(f"With the owner's rights somebody else's code could run: {'; '.join(problems)}.")
    return "what runs with the owner's rights finds only what is meant"


async def _servers(database: Database) -> AsyncIterator[Check]:
    cursor: str | None = None
    while True:
        page = await registry.list_servers(database, OPERATOR, limit=LARGEST, cursor=cursor)
        for server in page.items:
            yield _judge_server(server)
        if (cursor := page.next_cursor) is None:
            return


async def _check_logins(database: Database) -> str:
    async with database.transaction(bounded=True) as transaction:
        needed = await transaction.all(HEALTH["needed_logins_of_all"], most_servers=MOST_SERVERS)
    if needed:
        named = ", ".join(f"{row['name']} ({row['logins']})" for row in needed)
        raise CheckFailed(f"Logins that are over, by server: {named}.")
    return "none is over"


def _judge_server(server: registry.ListedServer) -> Check:
    name, status = f"server:{server.name}", server.status or "never read"
    detail = f"{server.server_type}, {server.transport}, {status}"
    if not server.enabled:
        return Check(name, True, f"{server.server_type}, {server.transport}, disabled")
    if status == "ready":
        held = f", {server.held} wait for approval (nexus-hub pin list)" if server.held else ""
        return Check(name, True, f"{detail}, {server.tools} tools{held}")
    if status == "needs-login":
        way = "server login" if server.login_kind == "oauth" else "credential set"
        return Check(name, False, f"{detail}: nobody has logged in at it", f"nexus-hub {way} {server.name}")
    why = f" ({server.last_error_code})" if server.last_error_code else ""
    return Check(name, False, f"{detail}{why}", f"Try it: nexus-hub server test {server.id}")


async def _prefect(settings: Settings, say: Say) -> AsyncIterator[Check]:
    async with PrefectClient(settings.prefect_url, prefect_auth(settings)) as prefect:
        advice = "See that Prefect runs, and PREFECT_API_URL and PREFECT_API_AUTH_STRING if they are set."
        reached = await run_check("prefect", _reach_prefect(settings, prefect), advice)
        yield reached
        if not reached.ok:
            return
        advice = "Set PREFECT_SERVER_API_AUTH_STRING where Prefect's server is started: who reaches it is an operator."
        yield await run_check("prefect-access", _check_access(prefect), advice)
        yield await run_check("work-pool", _check_pool(prefect), "Run nexus-hub deploy.")
        yield await run_check("deployments", _check_deployments(prefect), "Run nexus-hub deploy.")
        advice = "Restart Prefect's server or services; if the schedule of refresh-catalog is paused, let it go on."
        yield await run_check("scheduler", _check_scheduler(prefect, say), advice)
        yield await run_check(
            "worker", _check_worker(prefect), "Start one: nexus-hub worker, or nexus-hub up for everything."
        )


async def _reach_prefect(settings: Settings, prefect: PrefectClient) -> str:
    return f"Prefect {await health.read_version(prefect)} at {settings.prefect_url}"


async def _check_access(prefect: PrefectClient) -> str:
    if not await health.refuses_strangers(prefect):
        raise CheckFailed("Prefect's API answers everybody, without authentication.")
    return "refuses who does not authenticate"


async def _check_pool(prefect: PrefectClient) -> str:
    kind = await health.read_pool_type(prefect)
    if kind is None:
        raise CheckFailed("There is no work pool nexus.")
    if kind != WORKER_TYPE:
        advice = (
            "A pool's type can't be changed: remove it (prefect work-pool delete nexus), then run nexus-hub deploy."
        )
        raise CheckFailed(f"The work pool nexus is of type {kind}, not {WORKER_TYPE}.", advice)
    return "nexus, of type nexus"


async def _check_deployments(prefect: PrefectClient) -> str:
    if missing := await prefect.missing_deployments():
        raise CheckFailed(f"Missing: {', '.join(missing)}.")
    return "all there"


async def _check_scheduler(prefect: PrefectClient, say: Say) -> str:
    schedule = await health.read_schedule(prefect)
    if schedule.horizon_seconds <= 0:
        say(f"Prefect has no planned runs; waiting up to {FIRST_RUNS_SECONDS} s for its scheduler to make some ...")
    for _ in range(FIRST_RUNS_SECONDS):
        if schedule.horizon_seconds > 0:
            break
        await asyncio.sleep(1)
        schedule = await health.read_schedule(prefect)
    ahead = f"runs reach {schedule.horizon_seconds / 60:.0f} minutes ahead"
    if judge_scheduler(schedule) != "ok":
        raise CheckFailed(f"Prefect's scheduler makes no more runs: {ahead}.")
    return ahead


async def _check_worker(prefect: PrefectClient) -> str:
    seen = await health.read_workers(prefect)
    if not seen:
        raise CheckFailed("Prefect has never heard of a worker in the pool nexus.")
    age = min(seen.values())
    if age > SEEN_LATELY:
        raise CheckFailed(f"Prefect has heard of no worker for {age:.0f} s.")
    lately = sum(one <= SEEN_LATELY for one in seen.values())
    return f"{lately} heard of within {SEEN_LATELY:.0f} s, the last {age:.0f} s ago"
