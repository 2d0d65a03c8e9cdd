"""Calls of clients: a tool, a resource, a prompt, a completion."""

from collections.abc import Callable
from functools import partial
from typing import Any

from mcp import MCPError
from mcp_types import INVALID_PARAMS, METHOD_NOT_FOUND

from nexus_hub.calls.traces import note_result
from nexus_hub.catalog.uris import Located
from nexus_hub.errors import HubError, InternalError, UpstreamRejected
from nexus_hub.execution.flight import DirectCall, Handed, Kept
from nexus_hub.gateway.answers import cacheable, to_rpc_error, tool_error
from nexus_hub.gateway.approval_questions import ApprovalQuestions
from nexus_hub.gateway.asked import Asked
from nexus_hub.gateway.entries import Entry, Kind
from nexus_hub.gateway.input import Inputs
from nexus_hub.gateway.login_questions import LoginQuestions
from nexus_hub.gateway.long_calls import LongCalls
from nexus_hub.gateway.pages import is_over
from nexus_hub.gateway.peers import ClientPeer
from nexus_hub.gateway.states import StateSeal
from nexus_hub.gateway.traces import name_entry
from nexus_hub.json_object import JsonObject
from nexus_hub.runtime import Runtime
from nexus_hub.telemetry import tracing
from nexus_hub.upstream.requests import Completion, PromptGet, ResourceRead, ToolCall, UpstreamRequest

OLD_NOT_FOUND = -32002
"""The code of the older era for a resource that is not there."""
LONGEST_NAME = 200
"""Characters of an unknown name that its error repeats."""


class Calls:
    """Makes the calls that a client's view allows."""

    def __init__(self, runtime: Runtime, long_calls: LongCalls) -> None:
        self._runtime = runtime
        self._long_calls = long_calls
        self._approvals = ApprovalQuestions(runtime)
        self.logins = LoginQuestions(runtime.settings.public_url)
        self.inputs = Inputs(StateSeal(runtime.database, runtime.keyring, runtime.database.clock), self.logins)

    async def call_tool(self, asked: Asked) -> dict[str, Any]:
        """Call a tool; what goes wrong with a known one is a result that the model reads.

        Raises:
            MCPError: the caller sees no such tool, or the server itself refused the request.
        """
        if (own := await self._long_calls.call_own(asked)) is not None:
            return own
        name = asked.params["name"]
        entry = _find(asked, "tool", name)
        try:
            return await self._call_tool(asked, entry, name)
        except UpstreamRejected as error:
            refusal = to_rpc_error(error)
        except HubError as error:
            tracing.current_span().fail(error.code)
            return asked.answer(tool_error(error))
        raise refusal

    async def read_resource(self, asked: Asked) -> dict[str, Any]:
        """Read a resource.

        Raises:
            MCPError: no server that the caller sees has it, or it can't be read.
        """
        uri = asked.params["uri"]
        found = _locate(asked, uri)
        try:
            result = await self._call(asked, found.entry, ResourceRead(found.uri, asked.meta), uri)
        except HubError as error:
            refusal = to_rpc_error(error)
        else:
            return asked.answer(cacheable(result, asked.version))
        raise _name_missing(asked, uri, refusal)

    async def get_prompt(self, asked: Asked) -> dict[str, Any]:
        """Get a prompt.

        Raises:
            MCPError: the caller sees no such prompt, or it can't be had.
        """
        name = asked.params["name"]
        entry = _find(asked, "prompt", name)
        return await self._answer(asked, entry, PromptGet(entry.name, asked.arguments, asked.meta), name)

    async def complete(self, asked: Asked) -> dict[str, Any]:
        """Complete an argument of a prompt or a template; a server that completes none has no suggestion.

        Raises:
            MCPError: the caller sees no such prompt or template, or the server refused the request.
        """
        ref = asked.params["ref"]
        if ref["type"] == "ref/prompt":
            entry = _find(asked, "prompt", ref["name"])
            own = {**ref, "name": entry.name}
        else:
            found = _locate(asked, ref["uri"], is_template=True)
            entry, own = found.entry, {**ref, "uri": found.uri}
        request = Completion(own, asked.params["argument"], asked.params.get("context"), asked.meta)
        try:
            return await self._answer(asked, entry, request, entry.public)
        except MCPError as error:
            if error.error.code != METHOD_NOT_FOUND:
                raise
        return asked.answer(JsonObject.of({"completion": {"values": []}}))

    async def _call_tool(self, asked: Asked, entry: Entry, name: str) -> dict[str, Any]:
        asked.view.require("tool", entry, name)
        if (task := await self._long_calls.begin(asked, entry)) is not None:
            return task
        request = ToolCall(entry.name, asked.arguments, asked.meta)
        characters = asked.wishes.page_characters
        outcome = await self._make(
            asked,
            entry,
            request,
            name,
            handle_seconds=asked.wishes.handle_seconds,
            keeps=partial(is_over, characters=characters) if characters else None,
        )
        if isinstance(outcome, Handed):
            return await self._long_calls.hand_over(asked, entry, name, outcome)
        if isinstance(outcome, Kept):
            return await self._long_calls.show_first_page(asked, outcome)
        return asked.answer(outcome)

    async def _answer(self, asked: Asked, entry: Entry, request: UpstreamRequest, name: str) -> dict[str, Any]:
        try:
            return asked.answer(await self._call(asked, entry, request, name))
        except HubError as error:
            refusal = to_rpc_error(error)
        raise refusal

    async def _call(self, asked: Asked, entry: Entry, request: UpstreamRequest, name: str) -> JsonObject:
        """Make a call whose answer can only be its result: its client is given no handle."""
        asked.view.require("prompt" if entry.named else "resource", entry, name)
        outcome = await self._make(asked, entry, request, name, handle_seconds=0)
        if isinstance(outcome, Handed | Kept):
            raise InternalError
        return outcome

    async def _make(
        self,
        asked: Asked,
        entry: Entry,
        request: UpstreamRequest,
        name: str,
        *,
        handle_seconds: float | None,
        keeps: Callable[[JsonObject], bool] | None = None,
    ) -> JsonObject | Handed | Kept:
        async def call(request: UpstreamRequest, client: ClientPeer | None) -> JsonObject | Handed | Kept:
            direct = DirectCall(
                entry.ref,
                request,
                asked.principal.user_id,
                name,
                handle_seconds=handle_seconds,
                keeps=keeps,
                by_bundle=entry.by_bundle,
            )
            on_progress = client.report if client is not None and asked.on_progress is not None else None
            outcome = await self._runtime.direct.call(direct, on_progress=on_progress, peer=client)
            if client is not None and isinstance(outcome, Handed) and outcome.is_asking:
                return await self._approvals.follow(asked, direct, outcome, client, on_progress)
            return outcome

        if isinstance(request, Completion):
            return await call(request, None)
        outcome = await self.inputs.call(asked, entry.ref, request, call)
        if isinstance(outcome, JsonObject):
            note_result(tracing.current_span(), outcome)
        return outcome


def _locate(asked: Asked, uri: str, *, is_template: bool = False) -> Located[Entry]:
    try:
        return asked.view.locate(uri, is_template=is_template)
    except HubError as error:
        refusal = MCPError(INVALID_PARAMS, error.message, {"uri": uri})
    raise refusal


def _name_missing(asked: Asked, uri: str, refusal: MCPError) -> MCPError:
    """Say in a refusal of a resource which one it is, and in the newer era with the code that is in use there."""
    error = refusal.error
    if error.code not in {OLD_NOT_FOUND, INVALID_PARAMS}:
        return refusal
    data = error.data if isinstance(error.data, dict) else {}
    return MCPError(INVALID_PARAMS if asked.is_modern else error.code, error.message, {**data, "uri": uri})


def _find(asked: Asked, kind: Kind, name: str) -> Entry:
    entry = asked.view.find(kind, name)
    if entry is None:
        raise MCPError(INVALID_PARAMS, f"Unknown {kind}: {name[:LONGEST_NAME]}")
    name_entry(asked.context.method, kind, name)
    return entry
