"""Flow `fetch-resource`: read a resource of an upstream server as a durable job."""

from uuid import UUID

from prefect import flow
from prefect.client.schemas.objects import State

from flows.attempt import run_attempt
from nexus_hub.jobs.requests import JobRequest


@flow(name="fetch-resource", persist_result=False, log_prints=False)
async def fetch_resource(
    server: str = "",
    uri: str = "",
    user: str = "",
    job_id: UUID | None = None,
    attempt: int = 1,
) -> "State[None]":
    """Read a resource of an upstream MCP server; its contents are in `job_results`.

    What is typed here is stored by Prefect and visible to everybody who may open Prefect.

    Args:
        server: The server's name or id.
        uri: The resource's URI.
        user: The user the job belongs to, by name or uuid; empty means the operator.
        job_id: Filled by the hub: the stored job that this run carries out.
        attempt: Filled by the hub: which attempt of that job this is, from 1.
    """
    request = JobRequest("resource_fetch", server, uri=uri) if server else None
    return await run_attempt(job_id, attempt, request, user)
