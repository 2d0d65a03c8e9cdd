"""What every command shares: the settings, where it writes, and how an error becomes an exit code."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from nexus_hub.cli.output import Output
from nexus_hub.client import ApiProblem, HubClient
from nexus_hub.errors import HubError
from nexus_hub.settings import load

SUCCESS, FAILED, WRONG_USE, STILL_RUNNING = 0, 1, 2, 3
_WRONG_USE_STATUS = {400, 413, 422}

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


def run(as_json: bool, command: Callable[[HubClient, Output], Awaitable[int | None]]) -> None:
    """Run a command against the hub that the settings name, and exit with its code.

    Raises:
        typer.Exit: always.
    """
    output = Output(as_json=as_json)

    async def connected() -> int:
        async with HubClient.of(load()) as client:
            return await command(client, output) or SUCCESS

    try:
        code = asyncio.run(connected())
    except ApiProblem as problem:
        output.error(problem.message)
        code = WRONG_USE if problem.status in _WRONG_USE_STATUS else FAILED
    except HubError as error:
        output.error(error.message)
        code = WRONG_USE if error.status in _WRONG_USE_STATUS else FAILED
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)
