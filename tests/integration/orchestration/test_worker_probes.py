"""The probes of a worker: they say when it takes runs, and why it does not."""

import json
from pathlib import Path
from typing import Any

import pytest

from deployments.worker.probes import Phase, make_probes
from nexus_hub.db.migrate import known_migrations
from nexus_hub.runtime import open_runtime
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import settings_of
from tests.fixtures.upstreams import free_port

NEEDED = known_migrations()[-1].version


async def answers(database: HubDatabase, home: Path, phase: Phase, **settings: Any) -> dict[str, tuple[int, Any]]:
    """Status and body of each probe of a worker in that phase."""
    async with open_runtime(settings_of(database, home, free_port(), **settings), "worker") as runtime:
        found = {path: await answer() for path, answer in make_probes(runtime, lambda: phase).items()}
    return {path: (answer.status_code, json.loads(bytes(answer.body))) for path, answer in found.items()}


@pytest.mark.parametrize(
    ("phase", "status", "said"),
    [
        ("starting", 503, {"status": "starting", "migration": NEEDED, "needed": NEEDED}),
        ("ready", 200, {"status": "ok", "migration": NEEDED, "needed": NEEDED}),
        ("draining", 503, {"status": "draining"}),
    ],
)
async def test_a_worker_is_ready_once_it_takes_runs_until_it_drains(
    database: HubDatabase, tmp_path: Path, phase: Phase, status: int, said: dict[str, Any]
) -> None:
    found = await answers(database, tmp_path, phase)
    assert found["/readyz"] == (status, said)
    assert found["/healthz"][0] == 200


async def test_a_worker_on_an_older_schema_is_not_ready(empty_database: HubDatabase, tmp_path: Path) -> None:
    found = await answers(empty_database, tmp_path, "ready")
    assert found["/readyz"] == (503, {"status": "schema-too-old", "migration": 0, "needed": NEEDED})


async def test_a_worker_without_its_database_lives_and_is_not_ready(database: HubDatabase, tmp_path: Path) -> None:
    found = await answers(database, tmp_path, "ready", database_url="postgresql://nobody@127.0.0.1:1/nothing")
    assert found["/readyz"] == (503, {"status": "database-unavailable"})
    assert found["/healthz"][0] == 200
