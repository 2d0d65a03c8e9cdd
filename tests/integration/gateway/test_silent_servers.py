"""A server that gives no sign of life, as a client of `/mcp` and an operator see it."""

import httpx
import pytest

from nexus_hub.models import ServerRef
from tests.fixtures.moody import moody
from tests.fixtures.served import SERVICE_KEY, Served
from tests.integration.gateway.test_listing_and_calling import ERAS, connected


@ERAS
async def test_its_tools_stay_listed_and_a_call_is_refused_at_once_with_since_and_until(
    served: Served, mode: str
) -> None:
    async with moody() as good, moody() as server, connected(served, mode=mode) as client:
        await served.runtime.servers.register("good", good.config)
        listed = await served.runtime.servers.register("weather", server.config)
        await server.stop()
        circuit = served.runtime.connections.circuits.of(ServerRef(listed.server_type, listed.id))
        for _ in range(9):
            circuit.fail("Nothing accepts connections at its address.")
        asked = server.connections
        result = await client.call_tool("weather__echo", {})
        assert server.connections == asked
        assert result.is_error
        text = result.content[0].text  # type: ignore[union-attr]
        assert "The server 'weather' has not answered since" in text
        assert "it is tried again at" in text
        error = (result.meta or {})["nexus-hub/error"]
        assert error["code"] == "circuit-open"
        assert error["retry_after"] == pytest.approx(circuit.seconds_left, abs=16)
        assert "weather__echo" in {tool.name for tool in (await client.list_tools()).tools}
        assert not (await client.call_tool("good__echo", {})).is_error


async def test_an_operator_sees_since_when_it_is_silent_and_when_it_is_tried_again(served: Served) -> None:
    async with moody() as server, httpx.AsyncClient(headers={"Authorization": f"Bearer {SERVICE_KEY}"}) as http:
        listed = await served.runtime.servers.register("weather", server.config)
        circuit = served.runtime.connections.circuits.of(ServerRef(listed.server_type, listed.id))
        for _ in range(9):
            circuit.fail()
        await served.runtime.circuits.share()
        shown = (await http.get(f"{served.url}/v1/servers/weather")).json()
        assert shown["circuit"]["state"] == "open"
        assert shown["circuit"]["since"] < shown["circuit"]["until"]
