"""Rows of jobs as answers, and requests for jobs: what passes through is what was sent.

Params and result go into an answer as the texts that are stored, and nobody reads them on the way.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

from nexus_hub.api.problems import Json
from nexus_hub.jobs.requests import DEEPEST_ARGUMENTS
from nexus_hub.json_text import read


class _RequestAsSent(Request):
    """A request of which the numbers keep their form."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            try:
                self._json = read(await self.body())
            except RecursionError:
                deepest = f"The body is nested too deep; arguments may have {DEEPEST_ARGUMENTS} levels."
                raise HTTPException(422, deepest) from None
        return self._json


class AsSentRoute(APIRoute):
    """A route whose body is read without loss."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Give the handler of such requests."""
        handle = super().get_route_handler()

        async def handle_as_sent(request: Request) -> Response:
            return await handle(_RequestAsSent(request.scope, request.receive))

        return handle_as_sent


class JobAnswer(Response):
    """A job's row as an answer."""

    media_type = "application/json"

    def __init__(self, row: dict[str, Any], *, status_code: int = 200, headers: dict[str, str] | None = None) -> None:
        super().__init__(write_row(row), status_code=status_code, headers=headers)


def write_row(row: dict[str, Any]) -> bytes:
    """Write a row in the order of its columns."""
    return bytes(Json(row).body)
