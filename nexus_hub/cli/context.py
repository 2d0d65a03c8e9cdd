"""Common ground of all commands: options, exit codes, and a run against the hub.

Whatever takes long to import (httpx, pydantic, rich) is imported once a command needs it: help, wrong use and requests
must not wait for it.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus_hub.errors import HubError, InvalidRequest, RequestRefused, TooLarge

if TYPE_CHECKING:
    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient

SUCCESS, FAILED, WRONG_USE, STILL_RUNNING, INTERRUPTED = 0, 1, 2, 3, 130
_UNUSED = ("httpx._main", "h2")
"""Parts of httpx that no command uses, half of its import: its own command line (rich, pygments) and HTTP/2."""

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


def run(as_json: bool, command: Callable[[HubClient, Output], Awaitable[int | None]]) -> None:
    """Run a command against the hub that the environment names, and exit with its code.

    Raises:
        typer.Exit: always.
    """
    import asyncio

    from nexus_hub.cli.output import Output

    import_httpx()
    from nexus_hub.client import HubClient

    output = Output(as_json=as_json)

    async def connect() -> int:
        async with HubClient.from_environment() as client:
            return await command(client, output) or SUCCESS

    try:
        code = asyncio.run(connect())
    except HubError as error:
        output.error(error.message)
        code = exit_code(error)
    except KeyboardInterrupt:
        code = INTERRUPTED
    raise typer.Exit(code)


def exit_code(error: HubError) -> int:
    """Tell wrong use from a failure."""
    return WRONG_USE if isinstance(error, InvalidRequest | TooLarge | RequestRefused) else FAILED


def import_httpx() -> None:
    """Import httpx as if its optional parts were not installed; who has imported it before keeps what there is."""
    if "httpx" in sys.modules or "httpcore" in sys.modules:
        return
    modules: dict[str, Any] = sys.modules
    hidden = [name for name in _UNUSED if name not in modules]
    modules |= dict.fromkeys(hidden)
    try:
        import httpcore
        import httpx
    finally:
        for name in hidden:
            del modules[name]
    _ = httpx, httpcore
