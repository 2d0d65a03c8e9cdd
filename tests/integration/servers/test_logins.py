"""Logins at upstream servers on a real database, with an authorization server that is played."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import pytest_asyncio

from nexus_hub.errors import CannotOpen, LoginNeeded, NotFound, UpstreamUnavailable
from nexus_hub.models import OPERATOR, Principal, ServerRef
from nexus_hub.servers.login_refresh import MOST_PER_SERVER
from nexus_hub.servers.login_rows import HeaderCredential, LoginKey, LoginRow
from nexus_hub.servers.logins import MOST_REFUSALS, Logins
from nexus_hub.upstream.credentials import CredentialSource
from tests.fixtures.logins import (
    PlayedIssuer,
    add_server,
    bearer,
    change,
    end_tokens,
    open_logins,
    site_of,
    unavailable,
)
from tests.fixtures.postgres import HubDatabase

ANN, BOB = uuid4(), uuid4()
CUT = (
    b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    b" WHERE datname = current_database() AND application_name = 'nexus-hub logins'"
)


@pytest.fixture
def issuer() -> PlayedIssuer:
    return PlayedIssuer()


@pytest_asyncio.fixture
async def logins(database: HubDatabase, issuer: PlayedIssuer) -> AsyncIterator[Logins]:
    async with open_logins(database.app_url, issuer) as opened:
        yield opened


@pytest.fixture
def ref(database: HubDatabase) -> ServerRef:
    return add_server(database)


@pytest_asyncio.fixture
async def ann(logins: Logins, issuer: PlayedIssuer, ref: ServerRef) -> CredentialSource:
    """Ann's login, as her calls have it."""
    await logins.store(LoginKey(ref, ANN), issuer.log_in("ann"))
    return logins.source(LoginKey(ref, ANN), site_of(issuer))


def stored(database: HubDatabase, column: str) -> list[Any]:
    with psycopg.connect(database.owner_url) as connection:
        return [value for (value,) in connection.execute(f"SELECT {column} FROM upstream_logins".encode())]


async def test_a_login_is_its_users_alone_and_sealed(
    database: HubDatabase, logins: Logins, issuer: PlayedIssuer, ref: ServerRef, ann: CredentialSource
) -> None:
    assert await ann.headers() == bearer("ann.0")
    with pytest.raises(LoginNeeded, match="you are not logged in") as missing:
        await logins.source(LoginKey(ref, BOB), site_of(issuer)).headers()
    assert missing.value.link
    with pytest.raises(LoginNeeded, match="nobody has logged in"):
        await logins.source(LoginKey(ref), site_of(issuer)).headers()
    await logins.store(LoginKey(ref), issuer.log_in("all"))
    await logins.store(LoginKey(ref), issuer.log_in("everybody"))
    assert await logins.source(LoginKey(ref), site_of(issuer)).headers() == bearer("everybody.0")
    assert await ann.headers() == bearer("ann.0")
    assert len(stored(database, "id")) == 2
    assert not any(
        b"ann.0" in row or b"r-" in row for row in map(str.encode, stored(database, "upstream_logins::text"))
    )


async def test_of_all_that_meet_a_refused_token_one_exchanges_it(
    database: HubDatabase, issuer: PlayedIssuer, ref: ServerRef
) -> None:
    keys = [LoginKey(ref, uuid4()) for _ in range(5)]
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(open_logins(database.app_url, issuer)) for _ in range(3)]
        for number, key in enumerate(keys):
            await processes[0].store(key, issuer.log_in(f"user-{number}"))
        sources = [process.source(key, site_of(issuer)) for process in processes for key in keys]
        for expiry in range(4):
            refused = await asyncio.gather(*(source.headers() for source in sources))
            renewed = await asyncio.gather(
                *(source.renew(headers) for source, headers in zip(sources, refused, strict=True) for _ in range(3))
            )
            assert [headers["Authorization"] for headers in renewed] == [
                f"Bearer user-{number}.{expiry + 1}" for _ in processes for number in range(5) for _ in range(3)
            ]
    assert set(issuer.exchanges.values()) == {4}


async def test_a_token_that_has_ended_is_exchanged_before_it_is_sent(
    database: HubDatabase, logins: Logins, issuer: PlayedIssuer, ann: CredentialSource
) -> None:
    end_tokens(database, -1)
    assert await asyncio.gather(*(ann.headers() for _ in range(5))) == [bearer("ann.1")] * 5
    assert issuer.exchanges == {"ann": 1}


async def test_a_token_that_ends_soon_goes_on_while_it_is_renewed(
    database: HubDatabase, logins: Logins, issuer: PlayedIssuer, ann: CredentialSource
) -> None:
    end_tokens(database, 20)
    let_go = asyncio.Event()
    issuer.before = lambda: _wait(let_go)
    assert await ann.headers() == bearer("ann.0")
    let_go.set()
    while await ann.headers() == bearer("ann.0"):
        await asyncio.sleep(0.01)
    assert await ann.headers() == bearer("ann.1")
    assert issuer.exchanges == {"ann": 1}


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def test_a_refused_refresh_says_that_a_person_is_needed_in_all_processes(
    database: HubDatabase, logins: Logins, issuer: PlayedIssuer, ref: ServerRef, ann: CredentialSource
) -> None:
    issuer.has_grace = False
    refused = await ann.headers()
    tokens = issuer.log_in("ann")
    await issuer.refresh(tokens)
    await logins.store(LoginKey(ref, ANN), tokens)
    with psycopg.connect(database.owner_url, autocommit=True) as listener:
        listener.execute("LISTEN nexus_catalog")
        for _ in range(3):
            with pytest.raises(LoginNeeded, match="was used already"):
                await ann.renew(refused)
        notices = [notice.payload for notice in listener.notifies(timeout=0)]
    assert [('"login"' in notice, str(ANN) in notice) for notice in notices] == [(True, True)]
    (state,) = await logins.rows.list_states(Principal(ANN))
    assert (state.state, state.kind) == ("needed", "oauth")
    assert state.reason == "the refresh token was used already"
    async with open_logins(database.app_url, issuer) as other:
        with pytest.raises(LoginNeeded, match="was used already"):
            await other.source(LoginKey(ref, ANN), site_of(issuer)).headers()
    asked = issuer.asked
    await logins.store(LoginKey(ref, ANN), issuer.log_in("ann"))
    assert (await ann.headers())["Authorization"].startswith("Bearer ann.")
    assert issuer.asked == asked


async def test_an_authorization_server_that_fails_is_asked_again_within_the_call(
    logins: Logins, issuer: PlayedIssuer, ann: CredentialSource
) -> None:
    refused = await ann.headers()
    issuer.failures = [unavailable() for _ in range(3)]
    assert await ann.renew(refused) == bearer("ann.1")


async def test_while_it_is_down_a_token_that_holds_is_used_and_none_is_lost(
    database: HubDatabase, issuer: PlayedIssuer, ref: ServerRef
) -> None:
    async with open_logins(database.app_url, issuer, patience=0.3) as logins:
        await logins.store(LoginKey(ref, ANN), issuer.log_in("ann"))
        ann = logins.source(LoginKey(ref, ANN), site_of(issuer))
        issuer.failures = [unavailable() for _ in range(1000)]
        end_tokens(database, 20)
        assert await ann.headers() == bearer("ann.0")
        end_tokens(database, -1)
        logins.forget(ref)
        with pytest.raises(UpstreamUnavailable):
            await ann.headers()
        asked, unasked = issuer.asked, 0
        while not unasked:  # at once, and nobody is asked for a while
            with pytest.raises(UpstreamUnavailable):
                await ann.headers()
            asked, unasked = issuer.asked, issuer.asked == asked
        assert stored(database, "state") == ["ready"]
    issuer.failures = []
    async with open_logins(database.app_url, issuer) as later:
        assert await later.source(LoginKey(ref, ANN), site_of(issuer)).headers() == bearer("ann.1")


async def test_a_caller_that_goes_away_ends_no_exchange(
    database: HubDatabase, logins: Logins, issuer: PlayedIssuer, ann: CredentialSource
) -> None:
    refused = await ann.headers()
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        begun.set()
        await let_go.wait()

    issuer.after = hold
    caller = asyncio.create_task(ann.renew(refused))
    await begun.wait()
    caller.cancel()
    with suppress(asyncio.CancelledError):
        await caller
    let_go.set()
    assert await ann.renew(refused) == bearer("ann.1")
    assert issuer.exchanges == {"ann": 1}


async def test_exchanges_under_way_come_to_their_end_when_the_process_stops(
    database: HubDatabase, issuer: PlayedIssuer, ref: ServerRef
) -> None:
    async with open_logins(database.app_url, issuer) as logins:
        await logins.store(LoginKey(ref, ANN), issuer.log_in("ann"))
        ann = logins.source(LoginKey(ref, ANN), site_of(issuer))
        begun = asyncio.Event()

        async def hold() -> None:
            begun.set()
            await asyncio.sleep(0.1)

        issuer.after = hold
        caller = asyncio.create_task(ann.renew(await ann.headers()))
        await begun.wait()
    assert await caller == bearer("ann.1")
    assert stored(database, "revision") == [2]


async def test_new_tokens_are_kept_until_the_database_takes_them(
    database: HubDatabase, logins: Logins, issuer: PlayedIssuer, ann: CredentialSource
) -> None:
    async def cut() -> None:
        with psycopg.connect(database.admin_url) as connection:
            connection.execute(CUT)

    refused = await ann.headers()
    issuer.after = cut
    assert await ann.renew(refused) == bearer("ann.1")
    assert stored(database, "revision") == [2]
    assert stored(database, "refreshing_since") == [None]
    assert issuer.exchanges == {"ann": 1}


async def test_an_exchange_that_was_cut_off_is_taken_up_soon_and_once(
    database: HubDatabase, logins: Logins, issuer: PlayedIssuer, ref: ServerRef, ann: CredentialSource
) -> None:
    """A process dies with the new tokens in its hands; a server with a grace time takes those of before once more."""
    issuer.has_grace = True
    tokens = issuer.log_in("ann")
    await logins.store(LoginKey(ref, ANN), tokens)
    await issuer.refresh(tokens)
    change(database, "UPDATE upstream_logins SET refreshing_since = now()")
    assert await logins.resume() == 0  # its process may only be waiting for the database
    assert await logins.resume() == 1
    assert (issuer.exchanges, stored(database, "refreshing_since")) == ({"ann": 2}, [None])
    assert await logins.resume() == 0
    assert await ann.headers() == bearer("ann.2")


async def test_of_an_exchange_that_was_cut_off_for_good_the_reason_says_so(
    database: HubDatabase, logins: Logins, issuer: PlayedIssuer, ref: ServerRef, ann: CredentialSource
) -> None:
    tokens = issuer.log_in("ann")
    await logins.store(LoginKey(ref, ANN), tokens)
    await issuer.refresh(tokens)
    change(database, "UPDATE upstream_logins SET refreshing_since = now()")
    with pytest.raises(LoginNeeded, match="cut off"):
        await ann.renew(await ann.headers())


async def test_a_server_that_refuses_whatever_is_renewed_is_given_up(
    logins: Logins, issuer: PlayedIssuer, ann: CredentialSource
) -> None:
    headers = await ann.headers()
    for _ in range(MOST_REFUSALS):
        headers = await ann.renew(headers)
    with pytest.raises(LoginNeeded, match="again and again"):
        await ann.renew(headers)
    assert await ann.headers() == headers
    assert issuer.exchanges == {"ann": MOST_REFUSALS}


async def test_of_those_who_share_an_exchange_each_has_a_link_of_its_own(
    logins: Logins, issuer: PlayedIssuer, ref: ServerRef
) -> None:
    """The operator gives the login that serves all; a user who waits with it can't."""
    await logins.store(LoginKey(ref), replace(issuer.log_in("all"), refresh_token="r-spent"))
    site = site_of(issuer)
    sources = [logins.source(LoginKey(ref), one) for one in (site, replace(site, link=None, is_yours=False))]
    refused = await sources[0].headers()
    ends = await asyncio.gather(*(source.renew(refused) for source in sources), return_exceptions=True)
    assert [(type(end), getattr(end, "link", ""), getattr(end, "is_yours", "")) for end in ends] == [
        (LoginNeeded, site.link, True),
        (LoginNeeded, None, False),
    ]
    assert issuer.asked == 1


async def test_a_login_that_is_removed_while_it_is_read_is_not_kept(
    logins: Logins, issuer: PlayedIssuer, ref: ServerRef, ann: CredentialSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a reader has in its hands when the notice comes is for that one call."""
    refused, key, read = await ann.headers(), LoginKey(ref, ANN), logins.rows.read

    async def read_late(which: LoginKey) -> LoginRow | None:
        row = await read(which)
        if row is not None and row.revision > 1:
            await logins.remove(which)
        return row

    monkeypatch.setattr(logins.rows, "read", read_late)
    assert await ann.renew(refused) == bearer("ann.1")
    with pytest.raises(LoginNeeded):
        await logins.source(key, site_of(issuer)).headers()


async def test_who_waits_too_long_behind_others_exchanges_nothing_later(
    database: HubDatabase, issuer: PlayedIssuer, ref: ServerRef
) -> None:
    keys, let_go = [LoginKey(ref, uuid4()) for _ in range(MOST_PER_SERVER + 1)], asyncio.Event()
    async with open_logins(database.app_url, issuer, patience=0.3) as logins:
        for number, key in enumerate(keys):
            await logins.store(key, issuer.log_in(f"user-{number}"))
        issuer.before = lambda: _wait(let_go)
        sources = [logins.source(key, site_of(issuer)) for key in keys]
        refused = [await source.headers() for source in sources]
        ends = await asyncio.gather(
            *(source.renew(headers) for source, headers in zip(sources, refused, strict=True)), return_exceptions=True
        )
        assert {type(end) for end in ends} == {UpstreamUnavailable}
        let_go.set()
    assert issuer.asked == MOST_PER_SERVER


async def test_tokens_that_cannot_be_renewed_need_a_person(
    database: HubDatabase, logins: Logins, issuer: PlayedIssuer, ref: ServerRef
) -> None:
    tokens = issuer.log_in("ann")
    await logins.store(LoginKey(ref, ANN), type(tokens)(**{**_members(tokens), "refresh_token": None}))
    ann = logins.source(LoginKey(ref, ANN), site_of(issuer))
    with pytest.raises(LoginNeeded, match="no way to renew"):
        await ann.renew(await ann.headers())
    assert issuer.asked == 0


def _members(tokens: Any) -> dict[str, Any]:
    return {name: getattr(tokens, name) for name in tokens.__dataclass_fields__}


async def test_a_header_is_sent_as_it_was_set(logins: Logins, issuer: PlayedIssuer, ref: ServerRef) -> None:
    key = LoginKey(ref, ANN)
    await logins.store(key, HeaderCredential("X-Api-Key", "first"))
    source = logins.source(key, site_of(issuer))
    refused = await source.headers()
    assert refused == {"X-Api-Key": "first"}
    with pytest.raises(LoginNeeded, match="refuses the header"):
        await source.renew(refused)
    await logins.rows.store(key, HeaderCredential("X-Api-Key", "second"))  # by another process
    assert await source.renew(refused) == {"X-Api-Key": "second"}
    removed = await logins.remove(key)
    assert removed == HeaderCredential("X-Api-Key", "second")
    assert "second" not in repr(removed)
    assert await logins.remove(key) is None


async def test_scopes_that_are_wanted_are_kept_for_the_next_login(
    logins: Logins, issuer: PlayedIssuer, ref: ServerRef, ann: CredentialSource
) -> None:
    with pytest.raises(LoginNeeded, match="it wants the scopes files:write"):
        await ann.ask_for("files:write")
    with pytest.raises(LoginNeeded):
        await ann.ask_for("files:read files:write")
    (state,) = await logins.rows.list_states(OPERATOR, ref.server_ref_id)
    assert (state.scope, state.state) == ("files:write files:read", "ready")
    assert await ann.headers() == bearer("ann.0")


async def test_a_login_opens_for_its_own_server_and_user_only(
    database: HubDatabase, logins: Logins, issuer: PlayedIssuer, ref: ServerRef, ann: CredentialSource
) -> None:
    other = add_server(database)
    change(database, "UPDATE upstream_logins SET server_ref_id = %s", other.server_ref_id)
    with pytest.raises(CannotOpen):
        await logins.source(LoginKey(other, ANN), site_of(issuer)).headers()
    change(database, "UPDATE upstream_logins SET server_ref_id = %s, user_id = %s", ref.server_ref_id, BOB)
    with pytest.raises(CannotOpen):
        await logins.source(LoginKey(ref, BOB), site_of(issuer)).headers()


async def test_logins_go_with_their_server_and_when_it_changes_hands(
    database: HubDatabase, logins: Logins, issuer: PlayedIssuer, ref: ServerRef
) -> None:
    own = add_server(database, ANN)
    for key in (LoginKey(ref), LoginKey(ref, ANN), LoginKey(own)):
        await logins.store(key, issuer.log_in("ann"))
    assert [state.server_ref_id for state in await logins.rows.list_states(Principal(BOB))] == [ref.server_ref_id]
    assert len(await logins.rows.list_states(Principal(ANN))) == 3
    change(database, "UPDATE user_servers SET user_id = %s", BOB)
    assert stored(database, "server_type") == ["system", "system"]
    change(database, "DELETE FROM system_servers")
    assert stored(database, "id") == []
    with pytest.raises(NotFound):
        await logins.store(LoginKey(ref), issuer.log_in("ann"))


async def test_the_logins_of_a_user_go_with_the_user(
    database: HubDatabase, logins: Logins, issuer: PlayedIssuer, ref: ServerRef, ann: CredentialSource
) -> None:
    """No catalog is read with the login of somebody who is gone, and nothing is left for a rotation to keep alive."""
    await logins.store(LoginKey(ref, BOB), issuer.log_in("bob"))
    for user, name in ((ANN, "ann"), (BOB, "bob")):
        change(database, "INSERT INTO users (id, name) VALUES (%s, %s)", user, name)
        change(
            database,
            "INSERT INTO login_requests (state_hash, server_type, server_ref_id, user_id, began_by, sealed, key_id, "
            "expires_at) SELECT sha256(%s::text::bytea), server_type, server_ref_id, user_id, user_id, sealed, key_id, "
            "now() + interval '10 minutes' FROM upstream_logins WHERE user_id = %s",
            name,
            user,
        )
    change(database, "DELETE FROM users WHERE id = %s", ANN)
    assert stored(database, "user_id") == [BOB]
    with psycopg.connect(database.owner_url) as connection:
        assert connection.execute("SELECT began_by FROM login_requests").fetchall() == [(BOB,)]
    logins.forget(ref)  # as the notice has it done
    with pytest.raises(LoginNeeded):
        await ann.headers()


async def test_what_is_used_is_renewed_ahead_of_its_end(
    database: HubDatabase, logins: Logins, issuer: PlayedIssuer, ref: ServerRef
) -> None:
    keys = [LoginKey(ref, uuid4()) for _ in range(4)]
    for number, key in enumerate(keys):
        await logins.store(key, issuer.log_in(f"user-{number}"))
    for key in keys[:3]:
        await logins.source(key, site_of(issuer)).headers()
    await logins.write_use()
    end_tokens(database, 500)
    change(database, "UPDATE upstream_logins SET expires_at = now() + '1 hour' WHERE user_id = %s", keys[0].user_id)
    change(
        database,
        "UPDATE upstream_logins SET last_used_at = now() - interval '2 days' WHERE user_id = %s",
        keys[1].user_id,
    )
    report = await logins.refresh_due()
    assert (report.due, report.refreshed, report.needed, report.failed) == (1, 1, 0, 0)
    assert issuer.exchanges == {"user-2": 1}


async def test_a_catalog_is_read_with_the_login_of_all_or_of_who_used_it_last(
    database: HubDatabase, logins: Logins, issuer: PlayedIssuer, ref: ServerRef, ann: CredentialSource
) -> None:
    await logins.store(LoginKey(ref, BOB), issuer.log_in("bob"))
    await ann.headers()
    await logins.write_use()
    assert await logins.rows.choose_for_catalog(ref) == LoginKey(ref, ANN)
    await logins.store(LoginKey(ref), issuer.log_in("all"))
    assert await logins.rows.choose_for_catalog(ref) == LoginKey(ref)
    change(database, "UPDATE upstream_logins SET state = 'needed'")
    assert await logins.rows.choose_for_catalog(ref) is None
