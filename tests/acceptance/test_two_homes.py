"""Two homes with two sets of ports run side by side and know nothing of each other."""

from collections.abc import Iterator

import httpx
import pytest

from tests.fixtures import run
from tests.fixtures.hub import TIME_SERVER, Hub, running

pytestmark = pytest.mark.stack
TOOL = {"name": "time__get_current_time", "arguments": {"timezone": "UTC"}}


@pytest.fixture(scope="module")
def two(spare_hub: Hub) -> Iterator[tuple[Hub, Hub]]:
    """A hub that starts on no home at all, as the first one of a machine does, and one that is there already."""
    with running(run.new_directory("one")) as one:
        for hub in (one, spare_hub):
            assert hub.run("server", "add", "time", "--command", *TIME_SERVER).code == 0
        yield one, spare_hub
    assert spare_hub.run("server", "remove", "time").code == 0


def jobs(hub: Hub) -> list[str]:
    """The ids of all jobs of a hub."""
    with hub.api() as api:
        return [job["id"] for job in api.get("/v1/jobs", params={"limit": 1000}).raise_for_status().json()["items"]]


def knows_run(hub: Hub, flow_run_id: str) -> bool:
    """Whether a hub's Prefect has the flow run."""
    with hub.prefect() as prefect:
        return prefect.get(f"/flow_runs/{flow_run_id}").status_code == 200


def test_a_job_of_one_home_does_not_show_on_the_other(two: tuple[Hub, Hub]) -> None:
    one, other = two
    job = one.called(TOOL)
    assert job["status"] == "completed"
    assert job["id"] in jobs(one)
    assert knows_run(one, job["flow_run_id"])
    assert job["id"] not in jobs(other)
    assert not knows_run(other, job["flow_run_id"])
    with other.api() as api:
        assert api.get(f"/v1/jobs/{job['id']}").status_code == 404


def test_jobs_of_both_at_once_end_each_where_it_was_submitted(two: tuple[Hub, Hub]) -> None:
    submitted = [(hub, hub.submit(TOOL)["id"]) for hub in two for _ in range(3)]
    ended = [hub.ended(job_id) for hub, job_id in submitted]
    assert {job["status"] for job in ended} == {"completed"}
    assert not set(jobs(two[0])) & set(jobs(two[1]))


def test_the_keys_of_one_home_open_nothing_of_the_other(two: tuple[Hub, Hub]) -> None:
    one, other = two
    with other.api(one.key) as api:
        assert api.get("/v1/jobs").status_code == 401
    url = f"{other.prefect_url}/flow_runs/filter"
    assert httpx.post(url, json={}, auth=other.prefect_auth).status_code == 200
    assert httpx.post(url, json={}, auth=one.prefect_auth).status_code == 401


def test_stopping_one_home_leaves_the_other_at_work(two: tuple[Hub, Hub]) -> None:
    """The last one: it stops the first hub for good."""
    one, other = two
    assert one.run("down").code == 0
    assert one.run("status").code == 1
    assert other.run("status").code == 0
    assert other.called(TOOL)["status"] == "completed"
