"""A cancellation reaches job, call and flow run, whoever asks for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.hub import HABITS, Hub, until

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def habits(hub: Hub) -> Iterator[Hub]:
    """The hub with the server `habits`."""
    assert hub.run("server", "add", "habits", "--command", *HABITS).code == 0
    yield hub
    assert hub.run("server", "remove", "habits").code == 0


def endless_call(hub: Hub, folder: Path) -> str:
    """A call under way at its server, which touches a file in the folder when it is told of a cancellation."""
    job = hub.submit({"name": "habits__hang", "arguments": {"folder": str(folder)}})
    appears(folder / "began")
    return str(job["id"])


def appears(path: Path) -> None:
    """Wait for a file that a server touches."""
    until(lambda: True if path.exists() else None, 60, path.name)


def assert_cancelled(hub: Hub, job_id: str, folder: Path) -> None:
    """The job, its server and its flow run all know."""
    ended = hub.ended(job_id)
    assert (ended["status"], ended["error_code"], ended["attempt"]) == ("cancelled", "cancelled", 1)
    appears(folder / "cancelled")
    assert hub.flow_run(ended["flow_run_id"])["state"]["name"] == "Cancelled"


def test_cancelling_reaches_the_call_and_the_flow_run(habits: Hub, tmp_path: Path) -> None:
    job_id = endless_call(habits, tmp_path)
    with habits.api() as api:
        assert api.delete(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"
    assert_cancelled(habits, job_id, tmp_path)


def test_cancelling_on_the_command_line_reaches_the_call_and_the_flow_run(habits: Hub, tmp_path: Path) -> None:
    job_id = endless_call(habits, tmp_path)
    assert habits.run("job", "cancel", job_id).code == 0
    assert_cancelled(habits, job_id, tmp_path)


@pytest.mark.parametrize("kind", ["CANCELLING", "CANCELLED"])
def test_cancelling_in_prefect_cancels_the_job(habits: Hub, tmp_path: Path, kind: str) -> None:
    """By its button, which asks for it, or by setting the state itself, which asks nobody."""
    job_id = endless_call(habits, tmp_path)
    with habits.api() as api, habits.prefect() as prefect:
        flow_run_id = api.get(f"/v1/jobs/{job_id}").json()["flow_run_id"]
        body = {"state": {"type": kind, "name": kind.capitalize()}, "force": kind == "CANCELLED"}
        assert prefect.post(f"/flow_runs/{flow_run_id}/set_state", json=body).is_success
    assert_cancelled(habits, job_id, tmp_path)
