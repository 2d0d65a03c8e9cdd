"""`console`: a link that logs in to the console, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nexus_hub import address
from nexus_hub.cli.context import Json, run
from nexus_hub.errors import ApiProblem

if TYPE_CHECKING:
    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient
    from nexus_hub.settings import Settings

ASK_SECONDS = 5.0
"""`up` waits so long for its own API to make a link, and goes on without one."""


def console(
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False, as_json: Json = False
) -> None:
    """Make a link that logs you in to the console in a browser; it is good once, for 10 minutes."""

    async def command(client: HubClient, output: Output) -> None:
        url, expires_at = await make_link(client)
        if as_json:
            output.data({"url": url, "expires_at": expires_at})
        else:
            output.line(url)
        if open_it:
            open_privately(url)

    run(as_json, command)


async def make_link(client: HubClient) -> tuple[str, str]:
    """Make a link for the holder of the client's token, and say until when it is good."""
    link = await client.request("POST", "/v1/session/links")
    return f"{client.url}/login#code={link['code']}", link["expires_at"]


def make_operators_link(settings: Settings) -> str | None:
    """Make a link for the operator of this machine's own hub, also within a running event loop; None if it can't be."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    from nexus_hub.cli.context import import_httpx

    import_httpx()
    from nexus_hub.client import HubClient

    given = settings.service_key
    key = given.get_secret_value() if given else address.read_service_key(settings.home)

    async def ask() -> str:
        async with HubClient(settings.listen_url, key, timeout=ASK_SECONDS) as client:
            return (await make_link(client))[0]

    try:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, ask()).result()
    except (ApiProblem, KeyError):  # what answers may be another program
        return None


def open_privately(url: str) -> None:
    """Open a link by a file of one's own: who lists the processes of this machine would see it in a browser's command.

    The file stays, since nobody says when the browser has read it; its code is soon good for nothing.
    """
    import tempfile
    import webbrowser
    from html import escape
    from pathlib import Path

    target = escape(url)
    with tempfile.NamedTemporaryFile("w", prefix="nexus-hub-", suffix=".html", delete=False) as file:
        file.write(
            f'<!doctype html><meta http-equiv="refresh" content="0;url={target}"><a href="{target}">nexus-hub</a>\n'
        )
    webbrowser.open(Path(file.name).as_uri())
