"""Flow `invoke-tool`: call a tool of an upstream server as a durable job."""

from typing import Any
from uuid import UUID

from prefect import flow
from prefect.client.schemas.objects import State

from flows.attempt import NO_ARGUMENTS, run_attempt
from nexus_hub.jobs.requests import JobRequest


@flow(name="invoke-tool", persist_result=False, log_prints=False)
async def invoke_tool(
    tool: str = "",
    arguments: dict[str, Any] = NO_ARGUMENTS,
    user: str = "",
    job_id: UUID | None = None,
    attempt: int = 1,
) -> "State[None]":
    """Call a tool of an upstream MCP server; the result is in `job_results`.

    What is typed here is stored by Prefect and visible to everybody who may open Prefect:
    send secret arguments through the hub's API or `nexus-hub call` instead.

    Args:
        tool: The tool's name as the hub lists it, such as time__get_current_time.
        arguments: The tool's arguments, a JSON object. Prefect stores and shows what is typed here.
        user: The user the job belongs to, by name or uuid; empty means the operator.
        job_id: Filled by the hub: the stored job that this run carries out.
        attempt: Filled by the hub: which attempt of that job this is, from 1.
    """
    request = JobRequest("tool_invoke", tool, arguments) if tool else None
    return await run_attempt(job_id, attempt, request, user)
