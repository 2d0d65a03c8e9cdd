"""Scopes: what each route of the API and each method of MCP needs of a token that is not good for everything."""

import re
from typing import get_args

from nexus_hub.errors import InsufficientScope, InvalidRequest
from nexus_hub.models import Principal, Scope

SCOPES: tuple[Scope, ...] = get_args(Scope)
OFFERED: tuple[Scope, ...] = ("tools:list", "tools:call", "jobs")
"""The scopes that a client is told to ask for: all but that for managing."""
LABELS: dict[Scope, str] = {
    "tools:list": "See servers, tools, resources and prompts",
    "tools:call": "Call tools, read resources and get prompts",
    "jobs": "See, start and cancel jobs",
    "admin": "Manage what you may manage: servers, users, tokens and keys",
}
Need = frozenset[Scope]
_ANY: Need = frozenset()
_LIST: Need = frozenset({"tools:list"})
_CALL: Need = frozenset({"tools:call"})
_JOBS: Need = frozenset({"jobs"})
_SUBMIT: Need = _CALL | _JOBS
_ADMIN: Need = frozenset({"admin"})
_SERVER = "/v1/servers/{}/{}"
ROUTES: dict[str, Need] = {
    "GET /v1/tools": _LIST,
    "GET /v1/tools/{}": _LIST,
    "GET /v1/resources": _LIST,
    "GET /v1/prompts": _LIST,
    "GET /v1/servers": _LIST,
    "GET /v1/servers/{}": _LIST,
    f"GET {_SERVER}": _LIST,
    f"GET {_SERVER}/limit": _LIST,
    "GET /v1/health": _LIST,
    "POST /v1/jobs": _SUBMIT,
    "POST /v1/jobs:batch": _SUBMIT,
    "POST /v1/jobs/{}:run-again": _SUBMIT,
    "GET /v1/jobs": _JOBS,
    "GET /v1/jobs/events": _JOBS,
    "GET /v1/jobs/{}": _JOBS,
    "GET /v1/jobs/{}/events": _JOBS,
    "GET /v1/jobs/{}/timeline": _JOBS,
    "DELETE /v1/jobs/{}": _JOBS,
    "GET /v1/queue": _JOBS,
    "GET /v1/approvals": _JOBS,
    "GET /v1/approvals/{}": _ADMIN,
    "POST /v1/approvals/{}": _ADMIN,
    "POST /v1/servers": _ADMIN,
    "POST /v1/servers:import": _ADMIN,
    f"PATCH {_SERVER}": _ADMIN,
    f"DELETE {_SERVER}": _ADMIN,
    f"POST {_SERVER}/sync": _ADMIN,
    f"POST {_SERVER}/test": _ADMIN,
    f"GET {_SERVER}/tools": _ADMIN,
    f"POST {_SERVER}/tools:approve": _ADMIN,
    "GET /v1/changes": _ADMIN,
    "GET /v1/bundles": _LIST,
    "GET /v1/bundles/{}": _LIST,
    "POST /v1/bundles": _ADMIN,
    "PUT /v1/bundles/{}": _ADMIN,
    "DELETE /v1/bundles/{}": _ADMIN,
    "GET /v1/users": _ADMIN,
    "POST /v1/users": _ADMIN,
    "GET /v1/users/{}/tokens": _ADMIN,
    "POST /v1/users/{}/tokens": _ADMIN,
    "POST /v1/users/{}/links": _ADMIN,
    "DELETE /v1/users/{}/tokens": _ADMIN,
    "DELETE /v1/users/{}/tokens/{}": _ADMIN,
    "GET /v1/users/{}/identities": _ADMIN,
    "POST /v1/users/{}/identities": _ADMIN,
    "DELETE /v1/users/{}/identities/{}": _ADMIN,
    "GET /v1/users/{}/permissions": _LIST,
    "GET /v1/groups": _ADMIN,
    "POST /v1/groups": _ADMIN,
    "GET /v1/groups/{}": _ADMIN,
    "PATCH /v1/groups/{}": _ADMIN,
    "DELETE /v1/groups/{}": _ADMIN,
    "PUT /v1/groups/{}/members/{}": _ADMIN,
    "DELETE /v1/groups/{}/members/{}": _ADMIN,
    "POST /v1/groups/{}/grants": _ADMIN,
    "DELETE /v1/groups/{}/grants/{}": _ADMIN,
    "GET /v1/access": _ADMIN,
    "PATCH /v1/access": _ADMIN,
    "GET /v1/oauth/requests/{}": _ADMIN,
    "POST /v1/oauth/requests/{}": _ADMIN,
    "GET /v1/grants": _ADMIN,
    "DELETE /v1/grants/{}": _ADMIN,
    f"POST {_SERVER}/login": _ADMIN,
    f"DELETE {_SERVER}/login": _ADMIN,
    "POST /v1/logins:finish": _ADMIN,
    f"PUT {_SERVER}/credential": _ADMIN,
    f"DELETE {_SERVER}/credential": _ADMIN,
    "GET /v1/vault": _ADMIN,
    "POST /v1/vault/rotate": _ADMIN,
    "GET /v1/vault/rotation": _ADMIN,
    "GET /v1/audit": _ADMIN,
    "GET /v1/configuration": _ADMIN,
    "POST /v1/configuration:plan": _ADMIN,
    "POST /v1/configuration:apply": _ADMIN,
    "POST /internal/job-executor": _ADMIN,
    "POST /internal/vault-rotate": _ADMIN,
    "POST /internal/vault-restore": _ADMIN,
    "POST /internal/cleanup-jobs": _ADMIN,
    "POST /internal/refresh-catalog": _ADMIN,
    "POST /functions/v1/nexus-hub": _ADMIN,
    "POST /functions/v1/nexus-hub/internal/job-executor": _ADMIN,
    "POST /functions/v1/nexus-hub/internal/vault-rotate": _ADMIN,
    "POST /functions/v1/nexus-hub/internal/cleanup-jobs": _ADMIN,
    "POST /v1/session": _ANY,
    "GET /v1/session": _ANY,
    "DELETE /v1/session": _ANY,
    "POST /v1/session/links": _ANY,
}
"""Routes by method and path, with {} for each parameter; one that is not here needs to manage."""
METHODS: dict[str, Need] = {
    "initialize": _ANY,
    "ping": _ANY,
    "server/discover": _ANY,
    "logging/setLevel": _ANY,
    "tools/list": _LIST,
    "prompts/list": _LIST,
    "resources/list": _LIST,
    "resources/templates/list": _LIST,
    "tools/call": _CALL,
    "prompts/get": _CALL,
    "resources/read": _CALL,
    "completion/complete": _CALL,
    "resources/subscribe": _CALL,
    "resources/unsubscribe": _ANY,
    "subscriptions/listen": _LIST,
    "tasks/get": _JOBS,
    "tasks/update": _JOBS,
    "tasks/cancel": _JOBS,
    "tasks/result": _JOBS,
    "tasks/list": _JOBS,
}
"""Requests of MCP by method; a notification, an answer and a method that there is not need nothing."""
OWN_TOOLS, LOOKING = _JOBS, _LIST
"""The needs of the hub's own tools, which are about jobs, and of those that only look for tools."""
SUBSCRIPTIONS: dict[str, Need] = {"resourceSubscriptions": _CALL, "taskIds": _JOBS}
"""The needs of a stream's subscriptions that tell of more than lists."""
_PARAMETER = re.compile(r"\{[^}]*\}")


def find_route_need(method: str, path: str) -> Need:
    """Find the need of a route by its method and the template of its path."""
    return ROUTES.get(f"{method} {_PARAMETER.sub('{}', path)}", _ADMIN)


def require(principal: Principal, needed: Need) -> None:
    """Let a caller through whose token is good for all that is needed.

    Raises:
        InsufficientScope: it is not.
    """
    if principal.scopes is not None and not needed <= principal.scopes:
        raise InsufficientScope(needed)


def parse_scopes(names: list[str] | None) -> frozenset[Scope] | None:
    """Read names of scopes; None means all.

    Raises:
        InvalidRequest: there is none, or one of them is no scope.
    """
    if names is None:
        return None
    found = frozenset(scope for scope in SCOPES if scope in names)
    if not found or len(found) < len(set(names)):
        raise InvalidRequest(f"Scopes are some of {', '.join(SCOPES)}, and at least one.")
    return found
