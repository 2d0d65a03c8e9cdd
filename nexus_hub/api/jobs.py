"""`/v1/jobs`."""

from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from nexus_hub.api.access import HEAVY, Asking, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.queries import Cursor, JobId, Limit, described
from nexus_hub.api.rows import JobAnswer
from nexus_hub.errors import InvalidRequest, PrefectUnavailable
from nexus_hub.jobs import store, submit
from nexus_hub.jobs.requests import DEFAULT_ATTEMPTS, DEFAULT_TIMEOUT_SECONDS, MOST_ATTEMPTS, JobBounds, JobRequest
from nexus_hub.models import LONGEST_TIMEOUT_SECONDS, JobStatus, JobType
from nexus_hub.orchestration.dispatcher import BATCH_MAX_JOBS, JobDispatch

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
batches = APIRouter(tags=["jobs"])


class ResourceName(BaseModel):
    """The name of a resource: its server and its URI."""

    model_config = ConfigDict(extra="forbid", strict=True)
    server: str
    uri: str


class NewJob(BaseModel):
    """A job to run: a tool or prompt by its namespaced name, or a resource by server and URI."""

    model_config = ConfigDict(extra="forbid", strict=True)
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
            **self.model_dump(exclude={"job_type", "name", "timeout_seconds"}),
        )


class NewJobs(BaseModel):
    """Jobs that are stored together and share a flow run; a bare list of them will do."""

    model_config = ConfigDict(extra="forbid", strict=True)
    jobs: Annotated[list[NewJob], Field(min_length=1, max_length=BATCH_MAX_JOBS)]

    @model_validator(mode="before")
    @classmethod
    def _of_list(cls, given: Any) -> Any:
        return {"jobs": given} if isinstance(given, list) else given


@router.post("", status_code=202, responses=answers(404, 409))
async def create_job(body: NewJob, principal: Asking, runtime: RuntimeOf) -> Any:
    """Store a job and start it; the answer is its row, and where to find it later."""
    bounds = runtime.job_bounds
    job, is_new = await submit.submit(runtime.database, principal, body.to_request(bounds), bounds)
    if is_new:
        label = body.name.server if isinstance(body.name, ResourceName) else body.name
        runtime.dispatcher.start(JobDispatch(job["id"], 1, job["job_type"], label))
    return JobAnswer(job, status_code=202, headers={"Location": f"/v1/jobs/{job['id']}"})


@batches.post("/v1/jobs:batch", status_code=202, responses=answers(404, 409), dependencies=HEAVY)
async def create_batch(body: NewJobs, principal: Asking, runtime: RuntimeOf) -> Any:
    """Store up to 1,000 jobs, all or none, and start them in one flow run; the answer is their ids, in order."""
    requests, bounds = [], runtime.job_bounds
    for number, job in enumerate(body.jobs):
        with store.numbered(number):
            requests.append(job.to_request(bounds))
    ids, batch_id, new = await submit.submit_batch(runtime.database, principal, requests, bounds)
    if new:
        runtime.dispatcher.start_batch(batch_id, new)
    return {"ids": ids}


@router.get("", dependencies=HEAVY)
async def list_jobs(
    principal: Asking,
    runtime: RuntimeOf,
    status: JobStatus | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Any:
    """List jobs, newest first."""
    return await store.list_jobs(runtime.database, principal, status=status, limit=limit, cursor=cursor)


@router.get("/{job_id}", responses=answers(404))
async def get_job(job_id: JobId, principal: Asking, runtime: RuntimeOf) -> Any:
    """Get a job's row."""
    return JobAnswer(await store.get(runtime.database, principal, store.parse_id(job_id)))


@router.delete("/{job_id}", responses=answers(404, 409))
async def cancel_job(job_id: JobId, principal: Asking, runtime: RuntimeOf) -> Any:
    """Cancel a job; the upstream is told, and the flow run follows."""
    found = store.parse_id(job_id)
    flow_run_id = await store.cancel(runtime.database, principal, found)
    if flow_run_id is not None:
        with suppress(PrefectUnavailable):  # the run finds its job cancelled when it starts
            await runtime.prefect_client.cancel(flow_run_id)
    return JobAnswer(await store.get(runtime.database, principal, found))
