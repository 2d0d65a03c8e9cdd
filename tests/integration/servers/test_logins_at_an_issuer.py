"""Logins in two processes whose tokens a real authorization server gives, rotates and at times does not."""

import asyncio
import time
from functools import partial
from uuid import uuid4

import jwt
import pytest

from nexus_hub.models import ServerRef
from nexus_hub.servers.login_refresh import LoginSite
from nexus_hub.servers.login_rows import LoginKey
from nexus_hub.upstream.oauth import ClientRegistration, Reach, TokenSet
from nexus_hub.upstream.token_endpoint import refresh
from tests.fixtures.logins import PlayedIssuer, add_server, open_logins
from tests.fixtures.oidc import DESK, Issuer
from tests.fixtures.postgres import HubDatabase

RESOURCE = "http://127.0.0.1:9/mcp"
EXPIRIES = 3
pytestmark = pytest.mark.node


@pytest.fixture
def ref(database: HubDatabase) -> ServerRef:
    return add_server(database)


def site_at(issuer: Issuer) -> LoginSite:
    return LoginSite("weather", partial(refresh, reach=Reach("weather", allow_private=True)))


async def log_in(issuer: Issuer, account: str) -> TokenSet:
    given = await issuer.token(account, RESOURCE)
    return TokenSet(
        access_token=given["access_token"],
        refresh_token=given["refresh_token"],
        expires_at=time.time() + given["expires_in"],
        client=ClientRegistration(DESK["client_id"], issuer.url, DESK["client_secret"], "client_secret_basic"),
        issuer=issuer.url,
        token_endpoint=f"{issuer.url}/token",
        resource=RESOURCE,
    )


async def test_each_expiry_is_one_exchange_though_half_of_them_fail(
    database: HubDatabase, issuer: Issuer, ref: ServerRef
) -> None:
    """Of a family of refresh tokens one that came twice would end all, and its user would have to log in anew."""
    accounts = {f"user-{number}": LoginKey(ref, uuid4()) for number in range(5)}
    none = PlayedIssuer()
    async with open_logins(database.app_url, none) as one, open_logins(database.app_url, none) as other:
        for account, key in accounts.items():
            await one.store(key, await log_in(issuer, account))
        await issuer.steer(fail_share=0.5)
        site = site_at(issuer)
        sources = [(account, at.source(key, site)) for account, key in accounts.items() for at in (one, other)]
        for _ in range(EXPIRIES):
            refused = await asyncio.gather(*(source.headers() for _, source in sources))
            renewed = await asyncio.gather(
                *(source.renew(headers) for (_, source), headers in zip(sources, refused, strict=True))
            )
            assert [subject_of(headers["Authorization"]) for headers in renewed] == [account for account, _ in sources]
    for account in accounts:
        assert await issuer.exchanges(grant="refresh_token", account=account, outcome="ok") == EXPIRIES


def subject_of(authorization: str) -> str:
    token = authorization.removeprefix("Bearer ")
    return str(jwt.decode(token, options={"verify_signature": False})["sub"])
