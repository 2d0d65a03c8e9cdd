"""A call that waits for a person's yes outlives the worker and the API, and is then made once."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.fixtures.hub import Hub, until

pytestmark = pytest.mark.stack

GRANT = """
    WITH made AS (INSERT INTO user_groups (name) VALUES ('asks') RETURNING id),
         joined AS (INSERT INTO group_members SELECT made.id, users.id FROM made, users WHERE users.name = %s)
    INSERT INTO access_grants (group_id, level, server_ref_id)
    SELECT made.id, 'approve', server.id FROM made, system_servers AS server WHERE server.name = 'time'"""
CALL = {"name": "time__get_current_time", "arguments": {"timezone": "UTC"}}


@pytest.fixture
def ann(fragile_hub: Hub) -> Iterator[str]:
    """The token of a user whose calls of `time` want a yes."""
    token = fragile_hub.user("ann-who-asks")
    with psycopg.connect(fragile_hub.app_url, autocommit=True) as connection:
        connection.execute("SELECT set_config('nexus.scope', 'service', false)")
        connection.execute(GRANT, ["ann-who-asks"])
        yield token
        connection.execute("DELETE FROM user_groups WHERE name = 'asks'")


def test_what_waits_outlives_worker_and_api_and_is_made_once(fragile_hub: Hub, ann: str) -> None:
    job = fragile_hub.submit(CALL, ann)
    with fragile_hub.api() as api:
        run = until(lambda: api.get(f"/v1/jobs/{job['id']}").json()["flow_run_id"], 30, "the flow run")
    with fragile_hub.prefect() as prefect:
        assert prefect.get(f"/flow_runs/{run}").json()["state"]["name"] == "Suspended"
    for part in ("worker", "api"):
        fragile_hub.back(part, fragile_hub.kill(part))
    with fragile_hub.api() as api:
        waiting: dict[str, Any] = api.get(f"/v1/jobs/{job['id']}").json()
        assert (waiting["status"], waiting["waits"]["for"], waiting["attempt"]) == ("pending", "approval", 0)
        assert waiting["flow_run_id"] == run
        path = f"/v1/approvals/{waiting['waits']['approval']['id']}"
        answer = {"approve": True, "digest": waiting["waits"]["approval"]["digest"]}
        api.post(path, json=answer).raise_for_status()
        ended = fragile_hub.ended(job["id"], ann)
        assert (ended["status"], ended["attempt"], ended["flow_run_id"]) == ("completed", 1, run)
        assert api.get(path).json()["state"] == "used"
        assert api.post(path, json=answer).status_code == 409
    assert fragile_hub.flow_run(run)["state"]["type"] == "COMPLETED"
