"""The API and the command line as processes of their own, with open streams."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from nexus_hub.client import HubClient
from nexus_hub.errors import ApiProblem
from nexus_hub.jobs import store
from nexus_hub.models import OPERATOR
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY, Served, settings_of
from tests.fixtures.upstreams import free_port

SECONDS = 60
ACQUIRED = ("NEXUS_", "PREFECT_", "VAULT_", "PG")


@asynccontextmanager
async def program(*arguments: object, **variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`nexus-hub` with these arguments; killed afterwards if it still runs."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ACQUIRED)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "nexus_hub",
        *map(str, arguments),
        env=kept | variables,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def watched(served: Served, *arguments: object) -> tuple[int | None, str]:
    """`job watch`: its exit code and what it wrote."""
    async with (
        asyncio.timeout(SECONDS),
        program("job", "watch", *arguments, NEXUS_URL=served.url, NEXUS_TOKEN=SERVICE_KEY) as process,
    ):
        out, _ = await process.communicate()
    return process.returncode, out.decode()


async def finished(served: Served, job_id: UUID) -> None:
    """Complete a job once somebody follows it."""
    await served.until_followed(1)
    await served.completed(await served.claimed(job_id))


async def test_watching_shows_the_states_and_then_the_result(served: Served) -> None:
    job_id = await served.stored()
    (code, out), _ = await asyncio.gather(watched(served, job_id), finished(served, job_id))
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("●")][-1] == "completed"
    assert lines[0].startswith("● pending")
    assert lines[-1] == "done"


async def test_watching_gives_one_document_with_json(served: Served) -> None:
    job_id = await served.stored()
    (code, out), _ = await asyncio.gather(watched(served, job_id, "--json"), finished(served, job_id))
    row: dict[str, Any] = json.loads(out)
    async with served.client() as client:
        whole = await client.job(str(job_id))
    assert code == 0
    assert row.items() <= whole.items()


async def test_the_exit_code_says_how_watching_ended(served: Served) -> None:
    waiting, cancelled = await served.stored(), await served.stored()
    await store.cancel(served.database, OPERATOR, cancelled)
    assert (await watched(served, cancelled))[0] == 1
    assert (await watched(served, waiting, "--timeout", "0.2"))[0] == 3
    assert (await watched(served, UUID(int=1)))[0] == 1
    assert (await watched(served, "not-an-id"))[0] == 2


async def test_an_api_that_is_told_to_stop_ends_its_streams(database: HubDatabase, tmp_path: Path) -> None:
    settings = settings_of(database, tmp_path, free_port())
    assert settings.vault_encryption_key
    variables = {
        "NEXUS_HOME": str(tmp_path),
        "NEXUS_PORT": str(settings.port),
        "NEXUS_DATABASE_URL": database.app_url,
        "NEXUS_SERVICE_KEY": SERVICE_KEY,
        "VAULT_ENCRYPTION_KEY": settings.vault_encryption_key.get_secret_value(),
        "PREFECT_API_URL": str(settings.prefect_api_url),
    }
    async with (
        asyncio.timeout(SECONDS),
        program("api", **variables) as api,
        HubClient(f"http://127.0.0.1:{settings.port}", SERVICE_KEY) as client,
        aclosing(client.events()) as stream,
    ):
        await until_it_answers(client)
        job_id = await stored(database)
        assert (await anext(stream)).data["id"] == job_id
        api.send_signal(signal.SIGTERM)
        assert await anext(stream, None) is None
        assert await api.wait() == -signal.SIGTERM


async def stored(database: HubDatabase) -> str:
    """A job that plain SQL stores."""
    async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as connection:
        cursor = await connection.execute(
            "INSERT INTO job_results (job_type, server_id) VALUES ('tool_invoke', 'x') RETURNING id::text"
        )
        row = await cursor.fetchone()
    assert row is not None
    return str(row[0])


async def until_it_answers(client: HubClient) -> None:
    """Wait for the API."""
    while True:
        try:
            await client.request("GET", "/readyz")
        except ApiProblem:
            await asyncio.sleep(0.1)
        else:
            return
