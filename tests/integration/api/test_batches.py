"""Batches through the client, on a running API."""

import pytest

from nexus_hub.errors import ApiProblem
from tests.fixtures.served import Served
from tests.fixtures.upstreams import own_server


async def test_the_client_submits_many_jobs_at_once_and_gets_their_ids_in_order(served: Served) -> None:
    await served.runtime.servers.register("habits", own_server("habits"))
    async with served.client() as client:
        ids = await client.submit_batch([{"name": "habits__echo", "arguments": {"n": n}} for n in range(3)])
        assert [(await client.job(job_id))["params"] for job_id in ids] == [{"n": 0}, {"n": 1}, {"n": 2}]
        with pytest.raises(ApiProblem, match=r"jobs\[1\]: There is no tool"):
            await client.submit_batch([{"name": "habits__echo"}, {"name": "habits__nothing"}])
