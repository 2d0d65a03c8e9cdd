"""A hub whose people log in at an issuer of their own: oidc-provider; and one that the test plays, for bad tokens."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from nexus_hub.errors import ApiProblem, Conflict, InvalidRequest, NotFound
from tests.fixtures import forks
from tests.fixtures.jwts import BAD_TOKENS, BASE, played_issuer
from tests.fixtures.oidc import Issuer
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY, Served, serving
from tests.fixtures.upstreams import free_port

PROGRAM = Path(sys.executable).with_name("nexus-hub")


@pytest_asyncio.fixture
async def hub(database: HubDatabase, tmp_path: Path, issuer: Issuer) -> AsyncIterator[Served]:
    """A hub that makes users of the issuer's subjects."""
    port = free_port()
    set_up: dict[str, Any] = {
        "public_url": f"http://127.0.0.1:{port}",
        "issuer": issuer.url,
        "issuer_creates_users": True,
        "issuer_groups_claim": "groups",
        "issuer_admin_group": "ops",
    }
    async with serving(database, tmp_path, port, **set_up) as served:
        yield served


async def get(served: Served, token: str, path: str = "/v1/tools") -> httpx.Response:
    async with httpx.AsyncClient(base_url=served.url, headers={"authorization": f"Bearer {token}"}) as client:
        return await client.get(path)


async def users(served: Served) -> dict[str, UUID]:
    async with served.client() as api:
        return {user["name"]: UUID(user["id"]) for user in (await api.request("GET", "/v1/users"))["items"]}


@pytest.mark.node
async def test_a_subject_becomes_a_user_with_its_first_token(hub: Served, issuer: Issuer) -> None:
    await issuer.steer(claims={"7f3": {"preferred_username": "Ann Ünal", "groups": ["staff"]}})
    for _ in range(2):
        token = (await issuer.token("7f3", hub.url))["access_token"]
        assert (await get(hub, token)).status_code == 200
    assert list(await users(hub)) == ["Ann-Unal"]
    async with hub.client() as api:
        (found,) = (await api.request("GET", "/v1/users/Ann-Unal/identities"))["items"]
    assert (found["subject"], found["issuer"], found["groups"]) == ("7f3", issuer.url, ["staff"])
    assert found["seen_at"]


@pytest.mark.node
async def test_a_name_that_is_taken_is_never_taken_over(hub: Served, issuer: Issuer) -> None:
    await hub.user("ann")
    await issuer.steer(claims={"7f3": {"preferred_username": "ann"}})
    assert (await get(hub, (await issuer.token("7f3", hub.url))["access_token"])).status_code == 200
    first, second = sorted(await users(hub))
    assert first == "ann"
    assert second.startswith("ann-")


@pytest.mark.node
async def test_a_token_is_good_for_its_resource_alone(hub: Served, issuer: Issuer) -> None:
    token = (await issuer.token("ann", f"{hub.url}/mcp"))["access_token"]
    assert (await get(hub, token)).status_code == 401
    other = (await issuer.token("ann", "https://other.example/mcp"))["access_token"]
    answer = await get(hub, other)
    assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")
    assert "made for something else than this hub" in answer.json()["detail"]
    assert other not in answer.text


@pytest.mark.node
async def test_operators_are_those_of_the_admin_group(hub: Served, issuer: Issuer) -> None:
    await issuer.steer(claims={"eve": {"groups": ["ops"]}})
    for account, status in (("eve", 200), ("bob", 403)):
        token = (await issuer.token(account, hub.url, "tools:list tools:call jobs admin"))["access_token"]
        assert (await get(hub, token, "/v1/users")).status_code == status


@pytest.mark.node
async def test_machines_come_with_client_credentials(hub: Served, issuer: Issuer) -> None:
    assert (await get(hub, (await issuer.machine_token(hub.url))["access_token"])).status_code == 200
    assert [name.split("-")[0] for name in await users(hub)] == ["user"]


@pytest.mark.node
async def test_keys_may_rotate_while_tokens_of_the_old_ones_are_about(hub: Served, issuer: Issuer) -> None:
    old = (await issuer.token("ann", hub.url))["access_token"]
    assert (await get(hub, old)).status_code == 200
    await issuer.steer(new_keys="keep")
    new = (await issuer.token("ann", hub.url))["access_token"]
    assert [(await get(hub, token)).status_code for token in (old, new)] == [200, 200]


@pytest.mark.node
@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
async def test_other_signatures_are_taken(hub: Served, issuer: Issuer, algorithm: str) -> None:
    await issuer.steer(algorithm=algorithm)
    assert (await get(hub, (await issuer.token("ann", hub.url))["access_token"])).status_code == 200


@pytest.mark.node
async def test_a_clock_five_minutes_ahead_is_named(hub: Served, issuer: Issuer) -> None:
    await issuer.steer(skew_seconds=300)
    answer = await get(hub, (await issuer.token("ann", hub.url))["access_token"])
    assert answer.status_code == 401
    assert "clocks" in answer.json()["detail"]


@pytest.mark.node
async def test_only_those_whom_an_operator_mapped_come_in_and_no_longer_than_that(
    database: HubDatabase, tmp_path: Path, issuer: Issuer
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with serving(database, tmp_path, port, public_url=url, issuer=issuer.url) as served:
        token = (await issuer.token("7f3", url))["access_token"]
        answer = await get(served, token)
        assert answer.status_code == 401
        assert "nexus-hub user map" in answer.json()["detail"]
        ann, _ = await served.user("ann")
        await served.user("bob")
        async with served.client() as api:
            made = [await api.request("POST", "/v1/users/ann/identities", {"subject": "7f3"}) for _ in range(2)]
            assert made[0]["id"] == made[1]["id"]
            assert (await get(served, token)).status_code == 200
            await served.stored(ann)
            assert len((await get(served, token, "/v1/jobs")).json()["items"]) == 1
            with pytest.raises(ApiProblem) as refused:
                await api.request("POST", "/v1/users/bob/identities", {"subject": "7f3"})
            assert refused.value.code == Conflict.code
            with pytest.raises(ApiProblem) as refused:
                await api.request("DELETE", f"/v1/users/bob/identities/{made[0]['id']}")
            assert refused.value.code == NotFound.code
            await api.request("DELETE", f"/v1/users/ann/identities/{made[0]['id']}")
        assert (await get(served, token)).status_code == 401


@pytest.mark.node
async def test_the_command_line_maps_subjects(hub: Served, issuer: Issuer) -> None:
    await hub.user("ann")
    assert "7f3 stands for ann." in await nexus_hub(hub, "user", "map", "ann", "--subject", "7f3")
    (found,) = json.loads(await nexus_hub(hub, "user", "identities", "ann", "--json"))["items"]
    assert (found["subject"], found["issuer"], found["seen_at"]) == ("7f3", issuer.url, None)
    assert "stands for ann no longer" in await nexus_hub(hub, "user", "unmap", "ann", found["id"])


async def nexus_hub(served: Served, *words: str) -> str:
    """Run a command as the operator; what it wrote."""
    known = {"NEXUS_URL": served.url, "NEXUS_TOKEN": SERVICE_KEY}
    process = await asyncio.create_subprocess_exec(
        *forks.command(PROGRAM, *words),
        env={**os.environ, **known},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, problems = await process.communicate()
    assert process.returncode == 0, problems.decode()
    return out.decode()


async def test_what_comes_back_for_each_bad_token(
    database: HubDatabase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        played_issuer() as issuer,
        serving(database, tmp_path, free_port(), public_url=BASE, issuer=issuer.url) as served,
    ):
        caplog.clear()
        for name, (make, reason) in BAD_TOKENS.items():
            token = make(issuer)
            answer = await get(served, token, "/v1/tools")
            told = f"{answer.text} {answer.headers} {caplog.text}"
            assert (name, answer.status_code, answer.json()["code"]) == (name, 401, "not-authenticated")
            assert re.search(reason, answer.json()["detail"]), name
            assert 'error="invalid_token", error_description="' in answer.headers["www-authenticate"], name
            assert re.search(reason, answer.headers["www-authenticate"]), name
            assert not any(one in told for one in token.split(".") if len(one) > 8), name
        assert await users(served) == {}


async def test_while_the_issuer_is_down_its_tokens_are_unknown_and_others_are_good(
    database: HubDatabase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with played_issuer() as issuer:
        issuer.answers["/jwks"] = (500, {})
        async with serving(database, tmp_path, free_port(), public_url=BASE, issuer=issuer.url) as served:
            answer = await get(served, issuer.token(aud=BASE))
            assert (answer.status_code, answer.json()["code"]) == (503, "issuer-unavailable")
            assert caplog.text.count("the keys of NEXUS_ISSUER can't be read") == 1
            _, token = await served.user("ann")
            assert (await get(served, token)).status_code == 200


async def test_a_hub_without_an_issuer_maps_nobody(served: Served) -> None:
    await served.user("ann")
    async with served.client() as api:
        with pytest.raises(ApiProblem, match="NEXUS_ISSUER") as refused:
            await api.request("POST", "/v1/users/ann/identities", {"subject": "7f3"})
    assert refused.value.code == InvalidRequest.code
