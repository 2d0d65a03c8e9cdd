"""Clients at `/mcp` of both eras: a call is sent once, and its answer or its failure is kept."""

import asyncio
import itertools
import json
import time
from collections.abc import Mapping

import httpx

from tests.faults.fleet.sent import DirectCall, Notes, arguments, tool
from tests.fixtures.mcp_wire import LEGACY, MODERN, Answer, Wire, headers_for, request

CALL_SECONDS = 60
"""As long as many clients wait for an answer."""
TAG = "X-Matrix-Tag"
"""Names a call to the proxy's log."""
Unanswered = (httpx.HTTPError, json.JSONDecodeError, AssertionError, KeyError, IndexError)


class Caller:
    """A user's client: of the newer era, or in a session of the older one that is opened again when it is gone."""

    def __init__(self, url: str, token: str, notes: Notes) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=CALL_SECONDS, trust_env=False)
        self._wire = Wire(self._http)
        self._opening = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._notes = notes

    async def close(self) -> None:
        await self._http.aclose()

    async def call(self, call: DirectCall) -> None:
        """Make a call and note what came of it."""
        self._notes.calls.append(call)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                answer = await (self._modern(call) if call.era == MODERN else self._legacy(call))
            _note(call, answer)
        except (*Unanswered, TimeoutError) as error:
            call.failure = type(error).__name__
        call.ended = time.monotonic()

    async def _modern(self, call: DirectCall) -> Answer:
        body = request("tools/call", _params(call))
        return await self._wire.send(body, {**headers_for(body), TAG: call.planned.tag})

    async def _legacy(self, call: DirectCall) -> Answer:
        answer = await self._in_session(call)
        if answer.status == httpx.codes.NOT_FOUND:  # the session is gone, and nothing was called
            self._notes.opened_anew[answer.content.decode()[:120]] += 1
            self._wire.session = None
            answer = await self._in_session(call)
        return answer

    async def _in_session(self, call: DirectCall) -> Answer:
        async with self._opening:
            if self._wire.session is None:
                await self._open()
        body = request("tools/call", number=next(self._numbers))  # several are under way in a session
        body["params"] = dict(_params(call))
        return await self._wire.send(body, {**self._wire.in_session, TAG: call.planned.tag})

    async def _open(self) -> None:
        """Open a session, as a client does that tries again."""
        while True:
            try:
                await self._wire.open(LEGACY)
            except Unanswered:
                self._wire.session = None
                await asyncio.sleep(1)
            else:
                return


def _params(call: DirectCall) -> Mapping[str, object]:
    return {"name": tool(call.planned), "arguments": arguments(call.planned)}


def _note(call: DirectCall, answer: Answer) -> None:
    if answer.status != httpx.codes.OK:
        call.failure = f"HTTP {answer.status}"
    elif answer.code is not None:
        call.failure = f"error {answer.code}: {answer.error[:100]}"
    elif answer.result.get("isError"):
        call.failure = f"isError: {answer.result['content'][0]['text'][:100]}"
    elif not answer.result.get("content"):
        call.failure = f"no content: {answer.content[-200:]!r}"
    else:
        call.result = answer.result["content"][0]["text"]
