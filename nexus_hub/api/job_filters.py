"""Filters of `GET /v1/jobs`, as its query has them."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

from nexus_hub.errors import InvalidRequest
from nexus_hub.jobs.lists import LONGEST_SEARCH, MOST_IDS, JobFilter, Lane, ListedType
from nexus_hub.jobs.store import parse_id
from nexus_hub.models import JobStatus

_Search = Annotated[
    str | None,
    Query(
        description="The beginning of an id, or of the name of a server or tool, or an error code.",
        json_schema_extra={"maxLength": LONGEST_SEARCH},
    ),
]
_Ids = Annotated[str | None, Query(description=f"Up to {MOST_IDS} ids, with commas between them.")]
_Server = Annotated[str | None, Query(description="Name or id.")]
_Tool = Annotated[str | None, Query(description="The server's own name of it.")]
_User = Annotated[str | None, Query(description="Name or id; for operators.")]


def _read_filter(
    status: JobStatus | None = None,
    server: _Server = None,
    tool: _Tool = None,
    user: _User = None,
    job_type: ListedType | None = None,
    lane: Lane | None = None,
    search: _Search = None,
    ids: _Ids = None,
) -> JobFilter:
    return JobFilter(
        status=status,
        server=server,
        tool=tool,
        user=user,
        job_type=job_type,
        lane=lane,
        search=_check_search(search),
        ids=None if ids is None else _read_ids(ids),
    )


JobsWanted = Annotated[JobFilter, Depends(_read_filter)]


def _check_search(text: str | None) -> str | None:
    if text is not None and len(text) > LONGEST_SEARCH:
        raise InvalidRequest(f"search may have {LONGEST_SEARCH} characters at most.")
    return text


def _read_ids(text: str) -> list[UUID]:
    parts = text.split(",", MOST_IDS)
    if len(parts) > MOST_IDS:
        raise InvalidRequest(f"ids takes up to {MOST_IDS} ids.")
    return [parse_id(part) for part in parts]
