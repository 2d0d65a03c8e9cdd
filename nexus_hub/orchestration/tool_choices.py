"""The tools that Prefect's form of `invoke-tool` offers to choose from: those of the system servers.

Everybody who opens Prefect sees the form, so that tools of users' own servers are not in it; their names can be typed.
"""

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any

from nexus_hub.catalog.names import is_plain_name
from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.orchestration.prefect_client import FLOWS, PrefectClient
from nexus_hub.telemetry.loops import outlasting

CATALOG = load("catalog")
FLOW = FLOWS["tool_invoke"]
INTERVAL_SECONDS = 15.0
READ_EVERY = 20
"""Comparisons after which the form is read again though the names are the same: somebody may have changed it."""
CHOICES_LIMIT = 200
"""More tools than that are no help in a list: then the name is typed."""


def offer_tools(form: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Give the form these names as choices for `tool`; without any, or with too many, it asks for a name only.

    A name that the form could show as something else than it is stays out: it can be typed.
    """
    names = [name for name in names if is_plain_name(name)]
    tool = {member: value for member, value in form["properties"]["tool"].items() if member not in {"type", "anyOf"}}
    if 0 < len(names) <= CHOICES_LIMIT:
        # Prefect's UI begins with the first choice, and shows a list of values only where no type stands beside them.
        tool["anyOf"] = [{"title": "Tools of the hub", "enum": names}, {"title": "Another name", "type": "string"}]
    else:
        tool["type"] = "string"
    return form | {"properties": form["properties"] | {"tool": tool}}


def offered_tools(form: dict[str, Any]) -> list[str]:
    """The names that a form offers for `tool`."""
    choices = form.get("properties", {}).get("tool", {}).get("anyOf", [])
    return [name for choice in choices for name in choice.get("enum", [])]


class ToolChoices:
    """A worker's loop: keeps the choices of the form as the catalog is. Without a change it asks the database alone."""

    def __init__(
        self, database: Database, prefect_client: PrefectClient, *, interval: float = INTERVAL_SECONDS
    ) -> None:
        self._database = database
        self._prefect_client = prefect_client
        self._interval = interval
        self._names: list[str] | None = None

    async def run(self) -> None:
        """Compare until cancelled; an error ends a comparison, not the loop."""
        for comparison in count(1):
            await asyncio.sleep(self._interval)
            if comparison % READ_EVERY == 0:
                self._names = None  # a deploy at the same moment may have written over the choices
            with outlasting("tool-choices"):
                await self.update()

    async def update(self) -> bool:
        """Bring the form up to date; True if it had to be changed.

        Raises:
            DatabaseUnavailable, PrefectUnavailable, NoDeployment: it stays as it was.
        """
        async with self._database.transaction() as transaction:
            rows = await transaction.all(CATALOG["offered_tools"], limit=CHOICES_LIMIT + 1)
        names = [row["name"] for row in rows]
        if names == self._names:
            return False
        form = await self._prefect_client.read_form(FLOW)
        offering = offer_tools(form, names)
        if offering != form:
            await self._prefect_client.write_form(FLOW, offering)
        self._names = names
        return offering != form
