"""Flow `execute-prompt`: get a prompt of an upstream server as a durable job."""

from typing import Any
from uuid import UUID

from prefect import flow
from prefect.client.schemas.objects import State

from flows.attempt import NO_ARGUMENTS, run_attempt
from nexus_hub.jobs.requests import JobRequest


@flow(name="execute-prompt", persist_result=False, log_prints=False)
async def execute_prompt(
    prompt: str = "",
    arguments: dict[str, Any] = NO_ARGUMENTS,
    user: str = "",
    job_id: UUID | None = None,
    attempt: int = 1,
) -> "State[None]":
    """Get a prompt of an upstream MCP server; its messages are in `job_results`.

    What is typed here is stored by Prefect and visible to everybody who may open Prefect.

    Args:
        prompt: The prompt's name as the hub lists it, such as everything__args-prompt.
        arguments: The prompt's arguments, a JSON object of strings.
        user: The user the job belongs to, by name or uuid; empty means the operator.
        job_id: Filled by the hub: the stored job that this run carries out.
        attempt: Filled by the hub: which attempt of that job this is, from 1.
    """
    request = JobRequest("prompt_execute", prompt, arguments) if prompt else None
    return await run_attempt(job_id, attempt, request, user)
