"""A job that has to wait for its server's limit."""

import psycopg
import pytest

from tests.fixtures.hub import HABITS, TIME_SERVER, Hub, running_call, until

pytestmark = pytest.mark.stack


def make_older(hub: Hub, seconds: float) -> None:
    """Let all calls that limits have counted be so many seconds older."""
    with psycopg.connect(hub.app_url) as connection:
        connection.execute("SELECT set_config('nexus.scope', 'service', true)")
        connection.execute(
            "UPDATE rate_limit_tracking SET window_start = window_start - make_interval(secs => %s)", [seconds]
        )


def test_a_job_over_its_servers_limit_waits_and_then_completes_in_the_same_run(hub: Hub) -> None:
    assert hub.run("server", "add", "habits", "--command", *HABITS).code == 0
    added = hub.run("server", "add", "limited", "--limit-per-minute", "1", "--command", *TIME_SERVER)
    assert added.code == 0
    call = {"name": "limited__get_current_time", "arguments": {"timezone": "UTC"}}
    assert hub.called(call)["status"] == "completed"
    make_older(hub, 45)
    hub.until_idle()
    waiting = hub.submit(call)
    beside = running_call(hub, 10)
    with hub.api() as api, hub.prefect() as prefect:

        def look() -> str | None:
            row = api.get(f"/v1/jobs/{waiting['id']}").json()
            if row["status"] != "pending" or not row["flow_run_id"] or row["available_at"] == row["created_at"]:
                return None
            run = prefect.get(f"/flow_runs/{row['flow_run_id']}").json()
            return str(run["state"]["name"]) if run["state"]["name"] != "Running" else None

        assert until(look, 30, "the wait for the limit") == "AwaitingRetry"
    ended = hub.ended(waiting["id"], seconds=120)
    assert (ended["status"], ended["attempt"]) == ("completed", 1)
    assert hub.flow_run(ended["flow_run_id"])["run_count"] == 2
    assert hub.ended(beside)["status"] == "completed"
    for name in ("limited", "habits"):
        assert hub.run("server", "remove", name).code == 0
