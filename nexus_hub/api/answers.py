"""Descriptions of problems in the OpenAPI document."""

from typing import Any

from nexus_hub.api.problems import Problem

EVERYWHERE = (400, 401, 408, 413, 422, 429, 500, 503)
"""Statuses that every route with a token may answer."""
PROBLEM: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457, with two members more: `error`, the same as `detail`, and `code`.",
    "required": ["type", "title", "status", "detail", "error", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "error": {"type": "string"},
        "code": {"type": "string"},
        "problems": {"type": "array", "items": {"type": "string"}, "description": "A line for each place."},
        "faults": {"type": "array", "items": {"type": "object"}, "description": "Faults of a configuration, by place."},
        "bound": {"type": "string", "description": "The setting whose bound was reached."},
    },
}
_WORDS = {
    400: "The request can't be used.",
    401: "No token, or one that is not known.",
    403: "Only an operator may do this.",
    404: "You see nothing of that name or id.",
    408: "The request did not arrive in time.",
    409: "The present state forbids it.",
    413: "Over a limit of size.",
    422: "The request does not have the documented form.",
    429: "Over a bound; `Retry-After` says when to come back.",
    500: "The hub failed.",
    502: "The upstream server failed.",
    503: "The database, Prefect or the hub is not available just now.",
    504: "The upstream server gave no answer in time.",
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "The scheme.", "schema": {"type": "string"}}},
    429: _RETRY_AFTER,
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems of these statuses, for the routes that may answer with them."""
    content = {Problem.media_type: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": _WORDS[status], "content": content}
        | ({"headers": _HEADERS[status]} if status in _HEADERS else {})
        for status in statuses
    }
