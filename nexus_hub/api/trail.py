"""The audit of the API: one seam, by a request's route, its caller and its answer."""

from contextlib import suppress
from typing import Any
from uuid import UUID

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nexus_hub.api.cookies import address_of
from nexus_hub.api.problems import CODE
from nexus_hub.audit.entries import AuditEntry, AuditSource, Outcome
from nexus_hub.audit.writer import AuditWriter
from nexus_hub.telemetry import tracing
from nexus_hub.telemetry.trail import Trail, keep_trail

ACCESS_REFUSED = "access.refused"
REVOKE = "grant.revoke"
ACTIONS = {
    "POST /v1/session": "session.open",
    "DELETE /v1/session": "session.close",
    "POST /v1/session/links": "session.link",
    "POST /v1/jobs": "job.submit",
    "POST /v1/jobs:batch": "job.submit",
    "POST /v1/jobs/{job_id}:run-again": "job.submit",
    "DELETE /v1/jobs/{job_id}": "job.cancel",
    "GET /v1/tools": "tool.list",
    "GET /v1/resources": "resource.list",
    "GET /v1/prompts": "prompt.list",
    "POST /v1/servers": "server.register",
    "POST /v1/servers:import": "server.register",
    "PATCH /v1/servers/{server_type}/{server_ref_id}": "server.change",
    "DELETE /v1/servers/{server_type}/{server_ref_id}": "server.remove",
    "POST /v1/servers/{server_type}/{server_ref_id}/sync": "server.sync",
    "POST /v1/servers/{server_type}/{server_ref_id}/test": "server.test",
    "POST /v1/servers/{server_type}/{server_ref_id}/tools:approve": "tool.approve",
    "POST /v1/servers/{server_type}/{server_ref_id}/login": "login.begin",
    "POST /v1/logins:finish": "login.finish",
    "DELETE /v1/servers/{server_type}/{server_ref_id}/login": "login.end",
    "PUT /v1/servers/{server_type}/{server_ref_id}/credential": "login.finish",
    "DELETE /v1/servers/{server_type}/{server_ref_id}/credential": "login.end",
    "POST /v1/bundles": "bundle.add",
    "PUT /v1/bundles/{bundle}": "bundle.change",
    "DELETE /v1/bundles/{bundle}": "bundle.remove",
    "POST /v1/users": "user.add",
    "POST /v1/users/{user}/tokens": "token.issue",
    "POST /v1/users/{user}/links": "session.link",
    "DELETE /v1/users/{user}/tokens": "token.revoke",
    "DELETE /v1/users/{user}/tokens/{token}": "token.revoke",
    "POST /v1/oauth/requests/{request_id}": "grant.answer",
    "DELETE /v1/grants/{grant_id}": "grant.end",
    "POST /oauth/register": "client.register",
    "POST /oauth/token": "grant.exchange",
    "POST /oauth/revoke": REVOKE,
    "POST /v1/users/{user}/identities": "identity.add",
    "DELETE /v1/users/{user}/identities/{identity_id}": "identity.remove",
    "POST /v1/groups": "group.add",
    "PATCH /v1/groups/{group}": "group.change",
    "DELETE /v1/groups/{group}": "group.remove",
    "PUT /v1/groups/{group}/members/{user}": "group.join",
    "DELETE /v1/groups/{group}/members/{user}": "group.leave",
    "POST /v1/groups/{group}/grants": "access.grant",
    "DELETE /v1/groups/{group}/grants/{grant_id}": "access.revoke",
    "PATCH /v1/access": "access.change",
    "POST /v1/approvals/{approval_id}": "approval.answer",
    "POST /v1/vault/rotate": "key.rotate",
    "POST /internal/vault-rotate": "key.rotate",
    "POST /internal/vault-restore": "key.restore",
    "POST /internal/job-executor": "job.dispatch",
    "POST /internal/cleanup-jobs": "job.cleanup",
    "POST /internal/refresh-catalog": "server.sync",
    "POST /v1/configuration:plan": "configuration.plan",
    "POST /v1/configuration:apply": "configuration.apply",
    "GET /v1/audit": "audit.read",
}
"""The routes that leave an entry, and what that says was done."""
EDGE = "/functions/v1/nexus-hub"
_IN_GROUPS = frozenset({"job.submit", "tool.list", "resource.list", "prompt.list", "audit.read"})
"""Actions whose entries are written beside the answer; those of all others are there before it."""
_OF_CLIENTS = frozenset({"client.register", "grant.exchange", REVOKE})
"""Actions of whoever comes along: those that come to nothing are counted, such as the end of a token of nobody's."""


class AuditTrail:
    """Writes an entry of each request that the audit is to know, and counts those that were refused."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and note what came of it before it is answered."""
        writer: AuditWriter | None = getattr(scope["app"].state, "audit", None)
        if scope["type"] != "http" or writer is None:
            await self.app(scope, receive, send)
            return
        with keep_trail() as trail:

            async def note_answer(message: Message) -> None:
                if message["type"] == "http.response.start":
                    await _note(writer, scope, trail, message["status"])
                await send(message)

            await self.app(scope, receive, note_answer)


async def _note(writer: AuditWriter, scope: Scope, trail: Trail, status: int) -> None:
    action = trail.action or find_action(scope)
    is_nothing = action in _OF_CLIENTS and (status >= 400 or (action == REVOKE and trail.target is None))
    if status in {401, 403} or is_nothing:
        writer.refuse(_make_entry(scope, trail, action or ACCESS_REFUSED, "refused"))
    elif action in _IN_GROUPS:
        writer.put(_make_entry(scope, trail, action, _outcome_of(status)))
    elif action is not None:
        await writer.write(_make_entry(scope, trail, action, _outcome_of(status)))


def find_action(scope: Scope) -> str | None:
    """Find the action of a request by its route; None if it leaves no entry."""
    route = scope.get("route")
    path = str(getattr(route, "path", "")).removeprefix(EDGE)
    if route is not None and not path:
        return "key.rotate"  # the seed's script calls the edge function itself
    return ACTIONS.get(f"{scope['method']} {path}")


def _make_entry(scope: Scope, trail: Trail, action: str, outcome: Outcome) -> AuditEntry:
    connection = HTTPConnection(scope)
    parameters: dict[str, Any] = scope.get("path_params", {})
    _read_parameters(trail, parameters)
    source = AuditSource(
        scope.get("state", {}).get("principal"),
        connection.headers.get("user-agent"),
        address_of(connection),
        tracing.claimed_trace_id(scope["headers"]),
    )
    code = None if outcome == "ok" else scope.get(CODE, "not-allowed" if outcome == "refused" else "http-error")
    return AuditEntry.of(action, source, trail, outcome, code)


def _read_parameters(trail: Trail, parameters: dict[str, Any]) -> None:
    """Read what a request is about from the parameters of its path, which were checked if it was not refused."""
    for name, value in parameters.items():
        match name:
            case "job_id":
                trail.job_id = trail.job_id or _parse_id(value)
            case "server_ref_id":
                trail.server_ref_id = _parse_id(value)
            case "group":
                trail.target = trail.target or value
            case "user":
                trail.target = f"{parameters['group']}: {value}" if "group" in parameters else value
            case "bundle":
                trail.target = value
            case _:
                continue


def _outcome_of(status: int) -> Outcome:
    return "ok" if status < 400 else "refused" if status in {404, 429} else "failed"


def _parse_id(value: object) -> UUID | None:
    with suppress(ValueError):
        return UUID(str(value))
    return None
