"""A hub that is its own authorization server, one for each module that does not make another."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from tests.fixtures.oauth_client import Client, forget_clients, open_hub, sign_in
from tests.fixtures.postgres import HubDatabase, MakeDatabase


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(
    make_database: MakeDatabase, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[FastAPI, HubDatabase]]:
    database = make_database()
    async with open_hub(database, tmp_path_factory.mktemp("hub")) as app:
        yield app, database


@pytest.fixture
def app(hub: tuple[FastAPI, HubDatabase]) -> FastAPI:
    """The hub, without the clients of the test before."""
    return forget_clients(*hub)


@pytest.fixture
def hub_database(hub: tuple[FastAPI, HubDatabase]) -> HubDatabase:
    return hub[1]


@pytest_asyncio.fixture(loop_scope="module")
async def ann(app: FastAPI) -> httpx.AsyncClient:
    return await sign_in(app, "ann")


@pytest_asyncio.fixture(loop_scope="module")
async def client(app: FastAPI) -> Client:
    return await Client.register(app)
