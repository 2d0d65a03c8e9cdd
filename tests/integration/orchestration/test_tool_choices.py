"""The form in Prefect follows the catalog; Prefect's side is played by a transport that keeps one deployment."""

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from nexus_hub.db.pool import Database
from nexus_hub.errors import PrefectUnavailable
from nexus_hub.orchestration.prefect_client import PrefectClient
from nexus_hub.orchestration.tool_choices import ToolChoices, offered_tools
from tests.fixtures.jobs import Table

FORM = {"type": "object", "properties": {"tool": {"type": "string"}}, "required": ["tool"]}


class KeptDeployment:
    """A Prefect that has the deployment `invoke-tool`, and counts what it is asked."""

    def __init__(self) -> None:
        self.form: dict[str, Any] = FORM
        self.asked: list[str] = []
        self.status = 200
        self.client = PrefectClient("http://prefect/api", None)
        self.client._http = httpx.AsyncClient(
            transport=httpx.MockTransport(self._answer), base_url="http://prefect/api"
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.method)
        if request.method == "PATCH":
            self.form = json.loads(request.content)["parameter_openapi_schema"]
            return httpx.Response(204)
        return httpx.Response(self.status, json={"id": str(uuid4()), "parameter_openapi_schema": self.form})


async def add_tool(table: Table, name: str, *, kind: str = "system", enabled: bool = True) -> None:
    await table.connection.execute(
        "INSERT INTO tool_cache (server_type, server_ref_id, user_id, tool_name, namespaced_name, enabled, definition)"
        " VALUES (%(kind)s, %(ref)s,"
        " CASE WHEN %(kind)s = 'user' THEN %(user)s::uuid END, 't', %(name)s, %(enabled)s, '{}')",
        {"kind": kind, "ref": uuid4(), "user": uuid4(), "name": name, "enabled": enabled},
    )


async def test_the_form_offers_the_tools_of_system_servers_and_no_others(hub_database: Database, table: Table) -> None:
    prefect = KeptDeployment()
    await add_tool(table, "b__two")
    await add_tool(table, "a__one")
    await add_tool(table, "hidden__off", enabled=False)
    await add_tool(table, "flora__own", kind="user")
    assert await ToolChoices(hub_database, prefect.client).update()
    assert offered_tools(prefect.form) == ["a__one", "b__two"]


async def test_without_a_change_prefect_is_not_asked(hub_database: Database, table: Table) -> None:
    prefect = KeptDeployment()
    choices = ToolChoices(hub_database, prefect.client)
    await add_tool(table, "a__one")
    assert await choices.update()
    prefect.asked.clear()
    assert not await choices.update()
    assert prefect.asked == []
    await add_tool(table, "b__two")
    assert await choices.update()
    assert offered_tools(prefect.form) == ["a__one", "b__two"]


async def test_a_second_worker_changes_nothing(hub_database: Database, table: Table) -> None:
    prefect = KeptDeployment()
    await add_tool(table, "a__one")
    assert await ToolChoices(hub_database, prefect.client).update()
    prefect.asked.clear()
    assert not await ToolChoices(hub_database, prefect.client).update()
    assert prefect.asked == ["GET"]


async def test_what_prefect_did_not_take_is_offered_again(hub_database: Database, table: Table) -> None:
    prefect = KeptDeployment()
    choices = ToolChoices(hub_database, prefect.client)
    await add_tool(table, "a__one")
    prefect.status = 500
    with pytest.raises(PrefectUnavailable):
        await choices.update()
    prefect.status = 200
    assert await choices.update()
