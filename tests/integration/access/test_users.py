"""Users, their tokens, and who a token belongs to."""

import asyncio
import hashlib
from uuid import UUID, uuid4

import psycopg
import pytest

from nexus_hub.access import user_tokens, users
from nexus_hub.access.tokens import TRUST_SECONDS, Authenticator
from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.db.pool import Database
from nexus_hub.errors import InvalidName, NameTaken, NotAuthenticated, NotFound
from nexus_hub.live.listener import listen
from nexus_hub.models import OPERATOR, Principal
from tests.fixtures.postgres import HubDatabase

KEY = "the-service-key-of-this-test"


@pytest.fixture
def authenticator(hub_database: Database) -> Authenticator:
    return Authenticator(hub_database, KEY)


async def test_the_service_key_is_the_operators(authenticator: Authenticator) -> None:
    assert (await authenticator.bearer(KEY)).principal == OPERATOR


@pytest.mark.parametrize(
    "token",
    [None, "", "undefined", "null", KEY + "x", KEY[:-1], KEY.upper(), "nxh_x", "\x00", "é", "\ud800", "x" * 10**6],
)
async def test_any_other_token_is_nobodys(authenticator: Authenticator, token: str | None) -> None:
    with pytest.raises(NotAuthenticated):
        await authenticator.bearer(token)


async def test_a_users_token_is_the_users_until_it_is_revoked(
    hub_database: Database, authenticator: Authenticator
) -> None:
    ann = await users.add(hub_database, "ann")
    tokens = [
        (await user_tokens.issue(hub_database, "ann")).token,
        (await user_tokens.issue(hub_database, str(ann.id).upper())).token,
    ]
    bobs = await token_of(hub_database, "bob")
    for token in tokens:
        assert (await authenticator.bearer(token)).principal == Principal(ann.id)
    assert await user_tokens.revoke_all(hub_database, "ann") == 2
    for token in tokens:
        with pytest.raises(NotAuthenticated):
            await authenticator.bearer(token)
    assert await user_tokens.revoke_all(hub_database, "ann") == 0
    assert not (await authenticator.bearer(bobs)).principal.is_operator


async def test_a_token_is_trusted_for_a_moment_and_looked_up_after_that(hub_database: Database) -> None:
    now = 0.0
    authenticator, token = Authenticator(hub_database, KEY, clock=lambda: now), await token_of(hub_database, "ann")
    authenticator.notice(True)
    ann = await authenticator.bearer(token)
    await user_tokens.revoke_all(hub_database, "ann")
    now = TRUST_SECONDS - 0.1
    assert await authenticator.bearer(token) == ann
    now = TRUST_SECONDS
    with pytest.raises(NotAuthenticated):
        await authenticator.bearer(token)


async def test_a_token_is_trusted_no_longer_than_it_is_good(hub_database: Database) -> None:
    now = 0.0
    authenticator, token = Authenticator(hub_database, KEY, clock=lambda: now), await token_of(hub_database, "ann")
    authenticator.notice(True)
    async with hub_database.transaction() as transaction:
        await transaction.run(b"UPDATE api_tokens SET expires_at = clock_timestamp() + interval '2 seconds'")
    await authenticator.bearer(token)
    await user_tokens.revoke_all(hub_database, "ann")
    now = 2.0
    with pytest.raises(NotAuthenticated):
        await authenticator.bearer(token)


async def test_no_token_is_trusted_while_its_end_could_not_be_heard_of(hub_database: Database) -> None:
    authenticator, token = Authenticator(hub_database, KEY), await token_of(hub_database, "ann")
    authenticator.notice(True)
    authenticator.notice(False)
    await authenticator.bearer(token)
    await user_tokens.revoke_all(hub_database, "ann")
    with pytest.raises(NotAuthenticated):
        await authenticator.bearer(token)


async def test_a_lookup_that_was_overtaken_by_a_notice_leaves_no_trust(hub_database: Database) -> None:
    """It may have read the token as it was before."""
    authenticator, token = Authenticator(hub_database, KEY), await token_of(hub_database, "ann")
    authenticator.notice(True)
    looking = asyncio.create_task(authenticator.bearer(token))
    await asyncio.sleep(0)
    authenticator.notice(True)
    await looking
    await user_tokens.revoke_all(hub_database, "ann")
    with pytest.raises(NotAuthenticated):
        await authenticator.bearer(token)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE api_tokens SET revoked_at = now()",
        "UPDATE api_tokens SET expires_at = now()",
        "UPDATE api_tokens SET user_id = (SELECT id FROM users WHERE name = 'bob')",
        "DELETE FROM api_tokens",
        "DELETE FROM users WHERE name = 'ann'",
        "TRUNCATE api_tokens",
    ],
)
async def test_the_database_tells_when_a_token_may_be_good_no_longer(
    database: HubDatabase, hub_database: Database, change: str
) -> None:
    await token_of(hub_database, "bob")
    await token_of(hub_database, "ann")
    told: asyncio.Queue[bool] = asyncio.Queue()
    listening = asyncio.create_task(listen(hub_database.url, _ignore, lambda: None, on_tokens=told.put_nowait))
    assert await told.get()
    await user_tokens.issue(hub_database, "ann")
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        connection.execute(change)
    assert await told.get()
    await cancel_and_wait(listening)


def _ignore(_: object) -> None:
    """Do nothing with a change of a job."""


async def token_of(database: Database, name: str) -> str:
    await users.add(database, name)
    return (await user_tokens.issue(database, name)).token


async def test_a_token_that_has_run_out_is_nobodys_and_not_counted(
    hub_database: Database, authenticator: Authenticator, database: HubDatabase
) -> None:
    token = await token_of(hub_database, "ann")
    assert [user.tokens for user in await users.list_users(hub_database)] == [1]
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as connection:
        await connection.execute("UPDATE api_tokens SET expires_at = now() - interval '1 second'")
    with pytest.raises(NotAuthenticated):
        await authenticator.bearer(token)
    assert [user.tokens for user in await users.list_users(hub_database)] == [0]
    assert await user_tokens.revoke_all(hub_database, "ann") == 0


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
    "name", ["", " ", "a b", "-a", ".a", "é", "a" * 65, "a\x00", "a\n", "me", str(UUID(int=1)), UUID(int=1).hex]
)
async def test_a_name_of_another_form_is_refused(hub_database: Database, name: str) -> None:
    with pytest.raises(InvalidName):
        await users.add(hub_database, name)
    assert await users.list_users(hub_database) == []


async def test_an_unknown_user_is_not_found(hub_database: Database) -> None:
    for act in (users.find, user_tokens.issue, user_tokens.list_tokens, user_tokens.revoke_all):
        with pytest.raises(NotFound, match="nobody"):
            await act(hub_database, "nobody")
    with pytest.raises(NotFound):
        await user_tokens.issue(hub_database, str(uuid4()))


async def test_the_id_of_an_outside_issuer_is_taken_as_it_is(hub_database: Database) -> None:
    outside = uuid4()
    assert await users.find(hub_database, str(outside)) == outside
