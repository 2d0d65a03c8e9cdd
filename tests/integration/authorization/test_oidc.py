"""The issuer that tests use: what others build their tests on."""

import httpx
import jwt
import pytest

from tests.fixtures.oidc import DESK, Issuer

RESOURCE = "http://127.0.0.1:8700/mcp"
pytestmark = pytest.mark.node


def claims(token: str) -> dict[str, object]:
    """What a token says, unverified."""
    return dict(jwt.decode(token, options={"verify_signature": False}))


async def test_people_get_tokens_for_a_resource(issuer: Issuer) -> None:
    """The account of the hint, the resource as audience, the scopes asked for, and the account's claims."""
    await issuer.steer(claims={"bob": {"groups": ["staff"]}})
    got = await issuer.token("bob", RESOURCE, "tools:list")
    said = claims(got["access_token"])
    assert (said["sub"], said["aud"], said["iss"]) == ("bob", RESOURCE, issuer.url)
    assert (said["scope"], said["groups"], got["expires_in"]) == ("tools:list", ["staff"], 3600)
    assert await issuer.exchanges(grant="authorization_code", client="desk", account="bob", outcome="ok") == 1


async def refresh(issuer: Issuer, token: str) -> httpx.Response:
    """Exchange a refresh token."""
    async with httpx.AsyncClient(auth=(DESK["client_id"], DESK["client_secret"])) as client:
        return await client.post(
            f"{issuer.url}/token", data={"grant_type": "refresh_token", "refresh_token": token, "resource": RESOURCE}
        )


async def test_refresh_tokens_rotate_and_their_reuse_ends_the_login(issuer: Issuer) -> None:
    """Each works once; with its second use, the later one is dead too."""
    first = (await issuer.token("ann", RESOURCE))["refresh_token"]
    second = (await refresh(issuer, first)).json()["refresh_token"]
    assert second != first
    assert (await refresh(issuer, first)).json()["error"] == "invalid_grant"
    assert (await refresh(issuer, second)).json()["error"] == "invalid_grant"
    assert await issuer.exchanges(grant="refresh_token", account="ann", outcome="ok") == 1


async def test_half_of_the_exchanges_fail_when_asked(issuer: Issuer) -> None:
    """Before they happen: what was sent stays good."""
    token = (await issuer.token("ann", RESOURCE))["refresh_token"]
    await issuer.steer(fail_share=0.5)
    answers = [await refresh(issuer, token) for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 500]
    assert (await refresh(issuer, answers[0].json()["refresh_token"])).status_code == 200
    assert (await issuer.steer())["failed"] == 1


async def test_an_answer_is_lost_when_asked(issuer: Issuer) -> None:
    """After it happened: the old refresh token is spent."""
    token = (await issuer.token("ann", RESOURCE))["refresh_token"]
    await issuer.steer(lose_share=1)
    assert (await refresh(issuer, token)).status_code == 500
    await issuer.steer(lose_share=0)
    assert (await refresh(issuer, token)).json()["error"] == "invalid_grant"


async def test_machines_have_tokens_of_their_own(issuer: Issuer) -> None:
    """The subject is the client; there is nothing to refresh."""
    got = await issuer.machine_token(RESOURCE)
    assert claims(got["access_token"])["sub"] == "machine"
    assert "refresh_token" not in got


async def test_clients_register_or_are_their_document(issuer: Issuer) -> None:
    """DCR and CIMD, without a secret."""
    wanted = {
        "redirect_uris": ["http://127.0.0.1/callback"],
        "application_type": "native",
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
    }
    async with httpx.AsyncClient() as client:
        registered = (await client.post(f"{issuer.url}/reg", json=wanted)).json()
        found = (await client.get(f"{issuer.url}/.well-known/oauth-authorization-server")).json()
    assert found["client_id_metadata_document_supported"]
    own = "https://client.example/oauth.json"
    await issuer.steer(documents={own: {"client_id": own, **wanted}})
    for name in (registered["client_id"], own):
        got = await issuer.token("ann", RESOURCE, client={"client_id": name})
        assert claims(got["access_token"])["client_id"] == name
        assert got["refresh_token"]


async def test_a_person_may_say_no(issuer: Issuer) -> None:
    """The client hears of it."""
    await issuer.steer(deny=True)
    with pytest.raises(AssertionError, match="access_denied"):
        await issuer.token("ann", RESOURCE)
