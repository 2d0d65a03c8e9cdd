"""Bundles over the API: what operators say is kept as they say it, and what can't be is refused whole."""

from typing import Any

import pytest

from nexus_hub.errors import ApiProblem
from tests.fixtures.bundles import add_catalog, entry, put_catalog, tool
from tests.fixtures.served import Served

FORECAST = entry(
    "weather",
    "get_forecast",
    "forecast",
    description="The weather to come.",
    fixed={"units": "metric"},
    hidden=["debug"],
)


def described(items: list[dict[str, Any]]) -> list[tuple[str, str | None, str]]:
    return [(item["source"], item["name"], item["state"]) for item in items]


async def test_a_bundle_is_kept_as_it_is_said(served: Served) -> None:
    ref = await add_catalog(served.database, "weather", tool("get_forecast", "city", "units", "debug"))
    words = {"title": "Travel", "instructions": "Plan journeys.", "access": "closed"}
    body = words | {"name": "travel", "entries": [FORECAST, entry("weather", "*"), entry("weather", "gone")]}
    async with served.client() as api:
        added = await api.request("POST", "/v1/bundles", body)
        assert {key: added[key] for key in words} == words
        assert described(added["entries"]) == [
            ("get_forecast", "forecast", "ok"),
            ("*", None, "ok"),
            ("gone", None, "missing"),
        ]
        first = added["entries"][0]
        assert {key: first[key] for key in FORECAST} == FORECAST
        await put_catalog(served.database, ref, "weather", tool("gone"))
        body = {"name": "trips", "entries": [entry("weather", "gone"), FORECAST]}
        changed = await api.request("PUT", "/v1/bundles/travel", body)
        assert described(changed["entries"]) == [("gone", None, "ok"), ("get_forecast", "forecast", "missing")]
        assert changed["entries"][1]["id"] == first["id"], "jobs know it by that"
        assert (changed["title"], changed["access"]) == (None, None)
        assert (await api.request("GET", "/v1/bundles"))["items"] == [changed]
        await api.request("DELETE", "/v1/bundles/trips")
        assert (await api.request("GET", "/v1/bundles"))["items"] == []


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([entry("nobody", "x")], "entries[0]: there is no system server 'nobody'"),
        ([entry("weather", "a"), entry("weather", "b", "weather__a")], "entries[1]: the tool 'weather__a' is there"),
        ([entry("weather", "*"), entry("weather", "*")], "entries[1]: all of a server are there already"),
        ([entry("weather", "*", "x")], "takes them as they are"),
        ([entry("weather", "a", "hub__jobs")], "not begin with hub__"),
        ([entry("weather", "a", "with space")], "letters, digits"),
        ([entry("weather", "x://1", fixed={"a": 1}) | {"kind": "resource"}], "takes no arguments"),
        ([entry("weather", "a", fixed={"a": 1}) | {"kind": "prompt"}], "are strings"),
    ],
)
async def test_a_bundle_with_one_bad_entry_changes_nothing(
    served: Served, entries: list[dict[str, Any]], says: str
) -> None:
    await add_catalog(served.database, "weather", tool("a"), tool("b"))
    async with served.client() as api:
        before = await api.request("POST", "/v1/bundles", {"name": "travel", "entries": [entry("weather", "a")]})
        with pytest.raises(ApiProblem) as refused:
            await api.request("PUT", "/v1/bundles/travel", {"name": "trips", "entries": entries})
        assert says in refused.value.message
        assert await api.request("GET", "/v1/bundles/travel") == before


async def test_bundles_and_servers_share_their_names(served: Served) -> None:
    await add_catalog(served.database, "weather")
    async with served.client() as api:
        await api.request("POST", "/v1/bundles", {"name": "travel"})
        for name in ("travel", "weather", "hub"):
            with pytest.raises(ApiProblem):
                await api.request("POST", "/v1/bundles", {"name": name})
        with pytest.raises(Exception, match="taken by another bundle"):
            await add_catalog(served.database, "travel")


async def test_users_see_the_bundles_that_they_may_use_and_not_what_is_in_them(served: Served) -> None:
    await add_catalog(served.database, "weather", tool("get_forecast"))
    _, token = await served.user("ann")
    async with served.client() as api, served.client(token) as ann:
        for name, access in (("travel", "open"), ("secret", "closed")):
            await api.request("POST", "/v1/bundles", {"name": name, "access": access, "entries": [FORECAST]})
        (seen,) = (await ann.request("GET", "/v1/bundles"))["items"]
        assert seen == {"id": seen["id"], "name": "travel", "title": None, "instructions": None}
        assert await ann.request("GET", "/v1/bundles/travel") == seen
        with pytest.raises(ApiProblem, match="There is no bundle 'secret'"):
            await ann.request("GET", "/v1/bundles/secret")
        with pytest.raises(ApiProblem, match="Only an operator"):
            await ann.request("DELETE", "/v1/bundles/travel")
