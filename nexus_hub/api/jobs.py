"""`/v1/jobs`."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, model_validator

from nexus_hub.api.access import HEAVY, Asking, LargeTurn, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.bodies import Body
from nexus_hub.api.job_filters import JobsWanted
from nexus_hub.api.queries import Cursor, JobId, Limit, described
from nexus_hub.api.rows import AsSentRoute, JobAnswer
from nexus_hub.errors import InvalidRequest
from nexus_hub.jobs import lists, store, submit
from nexus_hub.jobs.again import prepare_again
from nexus_hub.jobs.requests import DEFAULT_ATTEMPTS, DEFAULT_TIMEOUT_SECONDS, MOST_ATTEMPTS, JobBounds, JobRequest
from nexus_hub.jobs.timeline import read_timeline
from nexus_hub.models import LONGEST_TIMEOUT_SECONDS, JobType
from nexus_hub.orchestration.dispatcher import BATCH_MAX_JOBS

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=AsSentRoute)
batches = APIRouter(tags=["jobs"], route_class=AsSentRoute)


class ResourceName(Body):
    """The name of a resource: its server and its URI."""

    server: str
    uri: str


class NewJob(Body):
    """A job to run: a tool or prompt by its namespaced name, or a resource by server and URI."""

    job_type: JobType = "tool_invoke"
    name: str | ResourceName
    arguments: dict[str, Any] = Field(default_factory=dict)
    idempotency_key: str | None = described(None, minLength=1, maxLength=200)
    timeout_seconds: int = described(DEFAULT_TIMEOUT_SECONDS, minimum=1, maximum=LONGEST_TIMEOUT_SECONDS)
    max_attempts: int = described(DEFAULT_ATTEMPTS, minimum=1, maximum=MOST_ATTEMPTS)
    retry: str = described("auto", enum=["auto", "always"])

    def to_request(self, bounds: JobBounds) -> JobRequest:
        """Give the library's form of it, with the time-out that the bounds leave to who names none.

        Raises:
            InvalidRequest: the name's form does not fit the job's type.
        """
        resource = self.name if isinstance(self.name, ResourceName) else None
        if (resource is not None) != (self.job_type == "resource_fetch"):
            raise InvalidRequest(
                "name must be {server, uri} for a resource_fetch, and a namespaced name for the other job types."
            )
        return JobRequest(
            job_type=self.job_type,
            name=resource.server if resource else str(self.name),
            uri=resource.uri if resource else None,
            timeout_seconds=(
                self.timeout_seconds if "timeout_seconds" in self.model_fields_set else bounds.default_timeout_seconds
            ),
            arguments=self.arguments,
            idempotency_key=self.idempotency_key,
            max_attempts=self.max_attempts,
            retry=self.retry,
        )


class NewJobs(Body):
    """Jobs that are stored together and share a flow run; a bare list of them will do."""

    jobs: Annotated[list[NewJob], Field(min_length=1, max_length=BATCH_MAX_JOBS)]

    @model_validator(mode="before")
    @classmethod
    def _of_list(cls, given: Any) -> Any:
        return {"jobs": given} if isinstance(given, list) else given


@router.post("", status_code=202, responses=answers(404, 409))
async def create_job(body: NewJob, principal: Asking, runtime: RuntimeOf, take_turn: LargeTurn) -> Any:
    """Store a job and start it; the answer is its row, and where to find it later."""
    request = body.to_request(runtime.job_bounds)
    job = await runtime.submission.submit(principal, request, label=request.name, take_turn=take_turn)
    return JobAnswer(job, status_code=202, headers={"Location": f"/v1/jobs/{job['id']}"})


@batches.post("/v1/jobs:batch", status_code=202, responses=answers(404, 409), dependencies=HEAVY)
async def create_batch(body: NewJobs, principal: Asking, runtime: RuntimeOf) -> Any:
    """Store up to 1,000 jobs, all or none, to be run together; the answer is their ids, in order."""
    requests, bounds = [], runtime.job_bounds
    for number, job in enumerate(body.jobs):
        with store.numbered(number):
            requests.append(job.to_request(bounds))
    open_run, asker = runtime.dispatcher.open_run, runtime.submission.asker
    # Before they are stored, so that Prefect is asked meanwhile; and after it, should that run have found nothing.
    ids, batch_id, new = await submit.submit_batch(
        runtime.database, principal, requests, bounds, on_checked=open_run, asker=asker
    )
    if new:
        open_run(batch_id)
    return {"ids": ids}


@router.get("", dependencies=HEAVY, responses=answers(403, 404, 409))
async def list_jobs(
    principal: Asking, runtime: RuntimeOf, wanted: JobsWanted, limit: Limit = 50, cursor: Cursor = None
) -> Any:
    """List jobs, newest first: all that you see, or those that fit every filter."""
    return await lists.list_jobs(runtime.database, principal, wanted, limit=limit, cursor=cursor)


@router.get("/{job_id}", responses=answers(404))
async def get_job(job_id: JobId, principal: Asking, runtime: RuntimeOf, take_turn: LargeTurn) -> Any:
    """Get a job's row, and what it waits for."""
    job = await store.get(runtime.database, principal, store.parse_id(job_id), take_turn, with_waits=True)
    return JobAnswer(job)


@router.get("/{job_id}/timeline", responses=answers(404))
async def show_timeline(job_id: JobId, principal: Asking, runtime: RuntimeOf) -> Any:
    """Show the moments of a job that its row has kept, in their order; to an operator also where its flow run is."""
    timeline = await read_timeline(runtime.database, principal, store.parse_id(job_id))
    url = runtime.settings.prefect_url.removesuffix("/api")
    shown = principal.is_operator and timeline.flow_run_id is not None
    return {
        "items": timeline.items,
        "flow_run_url": f"{url}/runs/flow-run/{timeline.flow_run_id}" if shown else None,
    }


@router.post("/{job_id}:run-again", status_code=202, responses=answers(404))
async def run_again(job_id: JobId, principal: Asking, runtime: RuntimeOf) -> Any:
    """Make the same call anew, as a job of whoever asks; the answer is its row, and where to find it later."""
    request, resolved = await prepare_again(runtime.database, principal, store.parse_id(job_id), runtime.job_bounds)
    job = await runtime.submission.submit(principal, request, label=request.name, resolved=resolved)
    return JobAnswer(job, status_code=202, headers={"Location": f"/v1/jobs/{job['id']}"})


@router.delete("/{job_id}", responses=answers(404, 409))
async def cancel_job(job_id: JobId, principal: Asking, runtime: RuntimeOf) -> Any:
    """Cancel a job; the upstream is told, and the flow run follows."""
    found = store.parse_id(job_id)
    await runtime.submission.cancel(principal, found)
    return JobAnswer(await store.get(runtime.database, principal, found, with_waits=True))
