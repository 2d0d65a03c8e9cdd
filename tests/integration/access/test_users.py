"""Users, their tokens, and who a token belongs to."""

import hashlib
from uuid import UUID, uuid4

import psycopg
import pytest

from nexus_hub.access import users
from nexus_hub.access.tokens import Authenticator
from nexus_hub.db.pool import Database
from nexus_hub.errors import InvalidName, NameTaken, NotAuthenticated, NotFound
from nexus_hub.models import OPERATOR, Principal
from tests.fixtures.postgres import HubDatabase

KEY = "the-service-key-of-this-test"


@pytest.fixture
def authenticator(hub_database: Database) -> Authenticator:
    return Authenticator(hub_database, KEY)


async def test_the_service_key_is_the_operators(authenticator: Authenticator) -> None:
    assert await authenticator.principal(KEY) == OPERATOR


@pytest.mark.parametrize(
    "token",
    [None, "", "undefined", "null", KEY + "x", KEY[:-1], KEY.upper(), "nxh_x", "\x00", "é", "\ud800", "x" * 10**6],
)
async def test_any_other_token_is_nobodys(authenticator: Authenticator, token: str | None) -> None:
    with pytest.raises(NotAuthenticated):
        await authenticator.principal(token)


async def test_a_users_token_is_the_users_until_it_is_revoked(
    hub_database: Database, authenticator: Authenticator
) -> None:
    ann = await users.add(hub_database, "ann")
    tokens = [
        await users.issue_token(hub_database, "ann"),
        await users.issue_token(hub_database, str(ann.id).upper()),
    ]
    bobs = await token_of(hub_database, "bob")
    for token in tokens:
        assert await authenticator.principal(token) == Principal(ann.id)
    assert await users.revoke_tokens(hub_database, "ann") == 2
    for token in tokens:
        with pytest.raises(NotAuthenticated):
            await authenticator.principal(token)
    assert await users.revoke_tokens(hub_database, "ann") == 0
    assert not (await authenticator.principal(bobs)).is_operator


async def token_of(database: Database, name: str) -> str:
    await users.add(database, name)
    return await users.issue_token(database, name)


async def test_a_token_that_has_run_out_is_nobodys_and_not_counted(
    hub_database: Database, authenticator: Authenticator, database: HubDatabase
) -> None:
    token = await token_of(hub_database, "ann")
    assert [user.tokens for user in await users.list_users(hub_database)] == [1]
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as connection:
        await connection.execute("UPDATE api_tokens SET expires_at = now() - interval '1 second'")
    with pytest.raises(NotAuthenticated):
        await authenticator.principal(token)
    assert [user.tokens for user in await users.list_users(hub_database)] == [0]
    assert await users.revoke_tokens(hub_database, "ann") == 0


async def test_of_a_token_only_its_hash_is_stored(hub_database: Database, database: HubDatabase) -> None:
    token = await token_of(hub_database, "ann")
    async with await psycopg.AsyncConnection.connect(database.admin_url) as connection:
        rows = await (await connection.execute("SELECT token_hash, t::text FROM api_tokens AS t")).fetchall()
    assert [row[0] for row in rows] == [hashlib.sha256(token.encode()).digest()]
    assert token not in str(rows)


@pytest.mark.parametrize("name", ["a", "Ann.B-c_d@example.org", "7", "a" * 64])
async def test_a_user_is_found_by_name_and_by_id(hub_database: Database, name: str) -> None:
    user = await users.add(hub_database, name)
    assert await users.find(hub_database, name) == user.id
    assert await users.find(hub_database, str(user.id)) == user.id
    with pytest.raises(NameTaken, match="taken"):
        await users.add(hub_database, name)


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "-a", ".a", "é", "a" * 65, "a\x00", "a\n", str(UUID(int=1)), UUID(int=1).hex]
)
async def test_a_name_of_another_form_is_refused(hub_database: Database, name: str) -> None:
    with pytest.raises(InvalidName):
        await users.add(hub_database, name)
    assert await users.list_users(hub_database) == []


async def test_an_unknown_user_is_not_found(hub_database: Database) -> None:
    for act in (users.find, users.issue_token, users.revoke_tokens):
        with pytest.raises(NotFound, match="nobody"):
            await act(hub_database, "nobody")
    with pytest.raises(NotFound):
        await users.issue_token(hub_database, str(uuid4()))


async def test_the_id_of_an_outside_issuer_is_taken_as_it_is(hub_database: Database) -> None:
    outside = uuid4()
    assert await users.find(hub_database, str(outside)) == outside
