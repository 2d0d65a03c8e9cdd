"""Calls that need a person's yes: who asks is asked in the chat where its own yes will do, all others get a handle.

The job of such a call is there before the question. Whoever gives no answer here may give it at the console.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

from nexus_hub.errors import Conflict, NotAllowed
from nexus_hub.execution.flight import DirectCall, Handed, Kept
from nexus_hub.gateway.asked import Asked
from nexus_hub.gateway.peers import ClientPeer
from nexus_hub.jobs.approvals import WaitingAsk, read_ask
from nexus_hub.json_object import JsonObject
from nexus_hub.json_text import write
from nexus_hub.orchestration.approvals import Answer
from nexus_hub.runtime import Runtime
from nexus_hub.upstream.peer import ELICIT, PeerRefused, find_missing
from nexus_hub.upstream.requests import OnProgress, PromptGet, ResourceRead, ToolCall, UpstreamRequest

QUESTION_SECONDS = 600.0
LONGEST_SHOWN = 4000
"""Characters of arguments that a question shows; what is longer is answered where all of it can be seen."""
_FORM = {
    "type": "object",
    "properties": {"approve": {"type": "boolean", "title": "Make this call", "default": False}},
    "required": ["approve"],
}


class ApprovalQuestions:
    """Goes on with calls that were stored as jobs and wait for a yes."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def follow(
        self, asked: Asked, call: DirectCall, handed: Handed, peer: ClientPeer, on_progress: OnProgress | None
    ) -> JsonObject | Handed | Kept:
        """Ask the person at the client if that person may answer, and wait for the call's end after a yes.

        Without an answer there is a handle, or for who takes none a wait as long as its client's.

        Raises:
            HubError: as for `Submission.follow`; `approval-denied` after a no.
        """
        submission = self._runtime.submission
        with submission.cancelling_with(asked.principal, handed.job_id):
            is_answered = await self._ask(asked, call, handed, peer)
        if not is_answered and call.handle_seconds != 0:
            return handed
        known = (call.handle_seconds, self._runtime.settings.handle_seconds)
        seconds = next(one for one in known if one is not None)
        return await submission.follow(call, replace(handed, is_asking=not is_answered), seconds or None, on_progress)

    async def _ask(self, asked: Asked, call: DirectCall, handed: Handed, peer: ClientPeer) -> bool:
        """Ask; True if there is an answer, from here or from elsewhere."""
        waiting = await read_ask(self._runtime.database, handed.job_id)
        if waiting is None:
            return True
        question = _write_question(call)
        if not waiting.self_approval or question is None or find_missing(peer.capabilities, ELICIT, question):
            return False
        said: dict[str, Any] = {}
        with suppress(PeerRefused, TimeoutError):
            async with asyncio.timeout(QUESTION_SECONDS):
                said = await peer.ask(ELICIT, question)
        return await self._decide(asked, waiting, said)

    async def _decide(self, asked: Asked, waiting: WaitingAsk, said: dict[str, Any]) -> bool:
        content = said.get("content")
        match said.get("action"):
            case "accept":
                approve = isinstance(content, dict) and content.get("approve") is True
            case "decline":
                approve = False
            case _:
                return False
        answer = Answer(approve, waiting.digest)
        try:
            await self._runtime.approvals.decide(asked.principal, "elicitation", waiting.id, answer)
        except NotAllowed:
            return False
        except Conflict:  # somebody else was quicker, or its time is over
            return True
        return True


def _write_question(call: DirectCall) -> dict[str, Any] | None:
    """Write the parameters of the elicitation; None if it could not show all that is to be sent."""
    shown = write(_show(call.request), indent=2, separators=(",", ": ")).decode()
    if len(shown) > LONGEST_SHOWN:
        return None
    message = f"May {call.tool} be called with these arguments, once?\n{shown}"
    return {"message": message, "requestedSchema": _FORM}


def _show(request: UpstreamRequest) -> Any:
    match request:
        case ToolCall() | PromptGet():
            return request.arguments
        case ResourceRead():
            return {"uri": request.uri}
        case _:
            return {}
