"""Tokens of an outside issuer: what is good, what comes back for each that is not, and how often keys are asked for."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import jwt
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_hub.access.tokens import Bearer
from nexus_hub.authorization.identities import Identities, propose_names
from nexus_hub.authorization.issuer import MOST_GROUPS, IssuerTokens
from nexus_hub.authorization.issuer_keys import FRESH_SECONDS, GOOD_SECONDS, PAUSE_SECONDS, RETRY_SECONDS, IssuerKeys
from nexus_hub.clock import RemoteClock
from nexus_hub.db.pool import Database
from nexus_hub.errors import IssuerUnavailable, NotAuthenticated
from nexus_hub.settings import Settings, split_names
from tests.fixtures.jwts import BAD_TOKENS, BASE, KEY, PlayedIssuer, part, played_issuer, private_key, public_jwk

ANN = UUID(int=1)
JWKS = "/jwks"


class KnownSubjects(Identities):
    """Every subject is Ann; what was asked is kept."""

    def __init__(self) -> None:
        super().__init__(Database("postgresql://127.0.0.1:1/none", name="none"), "none", creates_users=False)
        self.asked: list[tuple[str, frozenset[str], str]] = []

    async def resolve(self, subject: str, groups: frozenset[str], wished: str) -> UUID:
        self.asked.append((subject, groups, wished))
        return ANN


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest_asyncio.fixture
async def issuer() -> AsyncIterator[PlayedIssuer]:
    async with played_issuer() as played:
        yield played


def tokens_of(
    issuer: PlayedIssuer,
    subjects: Identities | None = None,
    clock: Callable[[], float] = time.monotonic,
    told: RemoteClock | None = None,
    **more: Any,
) -> IssuerTokens:
    set_up = Settings(**{"public_url": BASE, "issuer": issuer.url, **more})
    keys = IssuerKeys(issuer.url, set_up.issuer_jwks_url, split_names(set_up.issuer_algorithms), clock=clock)
    return IssuerTokens(issuer.url, set_up, keys, subjects or KnownSubjects(), told or RemoteClock())


async def verify(tokens: IssuerTokens, token: str) -> Bearer:
    assert tokens.takes(token)
    found = await tokens.verify(token)
    assert found is not None
    return found


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_a_bad_token_is_refused_with_its_reason_and_without_itself(
    issuer: PlayedIssuer, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, reason = BAD_TOKENS[name]
    token, subjects = make(issuer), KnownSubjects()
    with pytest.raises(NotAuthenticated, match=reason) as refused:
        await verify(tokens_of(issuer, subjects), token)
    assert not subjects.asked
    parts = [one for one in token.split(".") if len(one) > 8]
    told = f"{refused.value.reason} {caplog.text}"
    assert not any(one in told for one in parts)
    assert refused.value.__context__ is None  # the error within knows what the token says


async def test_a_good_token_says_whose_it_is_where_it_is_good_and_for_how_long(issuer: PlayedIssuer) -> None:
    found = await verify(tokens_of(issuer), issuer.token())
    assert (found.principal.user_id, found.principal.scopes) == (ANN, frozenset({"tools:list", "tools:call"}))
    assert (found.resource, found.principal.groups) == ("/mcp", frozenset())
    assert 600 < found.seconds_left <= 630


async def test_clocks_may_be_apart_by_half_a_minute(issuer: PlayedIssuer) -> None:
    now = int(time.time())
    moments: list[dict[str, Any]] = [{"exp": now - 20}, {"nbf": now + 20}, {"iat": now + 20}]
    for claims in moments:
        assert (await verify(tokens_of(issuer), issuer.token(**claims))).seconds_left > 0


@pytest.mark.parametrize("hours", [-1, 1])
async def test_the_clock_of_this_machine_may_be_hours_off(issuer: PlayedIssuer, hours: int) -> None:
    told = RemoteClock(local=lambda: time.time() - hours * 3600)
    told.note(time.time())
    tokens, now = tokens_of(issuer, told=told), int(time.time())
    assert 600 < (await verify(tokens, issuer.token())).seconds_left <= 630
    bad: list[dict[str, Any]] = [{"exp": now - 60}, {"nbf": now + 60}, {"iat": now + 60}]
    for claims in bad:
        with pytest.raises(NotAuthenticated):
            await tokens.verify(issuer.token(**claims))


async def test_a_token_may_end_later_than_any_clock_will_tell(issuer: PlayedIssuer) -> None:
    assert (await verify(tokens_of(issuer), issuer.token(exp=10**400))).seconds_left > 10**9


@pytest.mark.parametrize(
    ("audience", "resource"),
    [
        (BASE, None),
        (f"{BASE}/", None),
        (f"{BASE}/mcp/", "/mcp"),
        (f"{BASE}/mcp/wiki", "/mcp/wiki"),
        (["https://other.example", f"{BASE}/mcp/wiki", f"{BASE}/mcp"], "/mcp"),
    ],
)
async def test_a_token_is_good_for_the_widest_of_its_resources(
    issuer: PlayedIssuer, audience: object, resource: str | None
) -> None:
    assert (await verify(tokens_of(issuer), issuer.token(aud=audience))).resource == resource


async def test_an_audience_that_is_set_is_the_only_one(issuer: PlayedIssuer) -> None:
    tokens = tokens_of(issuer, issuer_audience="hub, api://hub")
    assert (await verify(tokens, issuer.token(aud="api://hub"))).resource is None
    with pytest.raises(NotAuthenticated, match="something else"):
        await verify(tokens, issuer.token())


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "openid jobs tools:list"}, {"jobs", "tools:list"}),
        ({"scope": None, "scp": "jobs"}, {"jobs"}),
        ({"scope": None, "scp": ["tools:list", "jobs", 1]}, {"tools:list", "jobs"}),
        ({"scope": None}, set()),
        ({"scope": {"jobs": True}}, set()),
    ],
)
async def test_scopes_are_read_from_scope_or_scp_and_never_taken_for_granted(
    issuer: PlayedIssuer, claims: dict[str, Any], scopes: set[str]
) -> None:
    found = await verify(tokens_of(issuer), issuer.token(**claims))
    assert found.principal.scopes is not None
    assert set(found.principal.scopes) == scopes


async def test_only_the_admin_group_with_the_scope_admin_acts_as_the_operator(issuer: PlayedIssuer) -> None:
    tokens = tokens_of(issuer, issuer_groups_claim="groups", issuer_admin_group="ops")
    for groups, scope, is_operator in (
        (["ops", "all"], "admin jobs", True),
        ("ops", "admin", True),
        (["ops"], "jobs", False),
        (["oops"], "admin", False),
        ([], "admin", False),
    ):
        found = await verify(tokens, issuer.token(groups=groups, scope=scope))
        assert found.principal.is_operator is is_operator, (groups, scope)
    without = tokens_of(issuer, issuer_groups_claim="groups")
    assert not (await verify(without, issuer.token(groups=["ops"], scope="admin"))).principal.is_operator


async def test_claims_may_have_other_names_and_lie_deeper(issuer: PlayedIssuer) -> None:
    subjects = KnownSubjects()
    tokens = tokens_of(
        issuer,
        subjects,
        issuer_user_claim="https://x.example/oid",
        issuer_name_claim="nick",
        issuer_groups_claim="realm_access.roles",
    )
    many = [f"g{number}" for number in range(MOST_GROUPS + 5)]
    deep = {"roles": ["a\0", "", "g" * 256, 7, *many]}
    claims: dict[str, Any] = {"https://x.example/oid": "7", "nick": "Ann", "realm_access": deep}
    token = issuer.token(**claims)
    found = await verify(tokens, token)
    assert subjects.asked == [("7", frozenset(many[:MOST_GROUPS]), "Ann")]
    assert found.principal.groups == set(many[:MOST_GROUPS])


@pytest.mark.parametrize(("kind", "algorithm"), [("RSA", "RS256"), ("RSA", "PS256"), ("EC", "ES256"), ("OKP", "EdDSA")])
async def test_keys_of_all_kinds_are_taken(issuer: PlayedIssuer, kind: str, algorithm: str) -> None:
    issuer.keys = [public_jwk("other"), public_jwk("mine", kind, algorithm)]
    token = issuer.token("mine", kind, algorithm, kid="mine")
    assert (await verify(tokens_of(issuer), token)).principal.user_id == ANN


async def test_a_token_without_a_key_id_is_good_where_one_key_fits(issuer: PlayedIssuer) -> None:
    token = issuer.token(kid=None)
    assert await verify(tokens_of(issuer), token)
    issuer.keys = [public_jwk("first"), public_jwk("second")]
    with pytest.raises(NotAuthenticated, match=KEY):
        await verify(tokens_of(issuer), token)


async def test_a_key_that_says_no_algorithm_fits_its_kind(issuer: PlayedIssuer) -> None:
    issuer.keys = [{**public_jwk("first"), "alg": None, "use": None}]
    tokens = tokens_of(issuer)
    assert await verify(tokens, issuer.token(algorithm="PS256"))
    assert await verify(tokens, issuer.token())


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_short_keys_are_not_trusted(issuer: PlayedIssuer) -> None:
    issuer.keys = [public_jwk("short", "short")]
    with pytest.raises(NotAuthenticated, match="too short"):
        await verify(tokens_of(issuer), issuer.token("short", "short", kid="short"))


async def test_keys_that_can_not_be_used_are_passed_over(issuer: PlayedIssuer) -> None:
    secret = {"kty": "oct", "kid": "first", "k": "c2VjcmV0", "alg": "HS256"}
    junk: list[Any] = [None, 1, "key", {}, {"kty": []}, {"kty": "RSA", "kid": "first", "n": "!", "e": "AQAB"}, secret]
    strange = [{"kty": "RSA", "kid": ["first"]}, {"kty": "RSA", "alg": ["RS256"], "kid": "first"}]
    sealing = [public_jwk("second", use="enc", kid="first"), public_jwk("second", kid="first", alg="RSA-OAEP")]
    issuer.keys = [*junk, *strange, *sealing, public_jwk("first")]
    assert await verify(tokens_of(issuer), issuer.token())


async def test_what_looks_like_no_jwt_is_left_to_others() -> None:
    async with played_issuer() as issuer:
        tokens = tokens_of(issuer)
        strange = ["", "nxh_abc", "a", "a.b", "a.b.c.d.e.f", "a b.c.d", ".b.c", "é.b.c", "a." + "b" * 20_000 + ".c"]
        assert [token for token in strange if tokens.takes(token)] == []


class OneKey(IssuerKeys):
    """Any token's key is one that the test has."""

    async def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK:
        del key_id
        return jwt.PyJWK(public_jwk("any", "OKP", "EdDSA"), algorithm)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
NAMES = ("iss", "aud", "exp", "nbf", "iat", "sub", "scope", "scp", "groups", "jti", "cnf", "preferred_username")
STRANGE = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4)


@given(header=st.dictionaries(st.sampled_from(("alg", "kid", "typ", "crit", "b64", "jwk")), JSON), claims=STRANGE)
@settings(max_examples=150, deadline=None)
def test_whatever_a_token_says_it_is_good_or_refused(header: dict[str, Any], claims: dict[str, Any]) -> None:
    issuer = PlayedIssuer("https://login.example")
    set_up = Settings(public_url=BASE, issuer=issuer.url, issuer_groups_claim="groups", issuer_admin_group="ops")
    tokens = IssuerTokens(issuer.url, set_up, OneKey(issuer.url, None, ["EdDSA"]), KnownSubjects(), RemoteClock())
    said = issuer.claims() | claims
    signed = f"{part({'alg': 'EdDSA', **header})}.{part(said)}"
    token = f"{signed}.{part(private_key('any', 'OKP').sign(signed.encode()))}"
    with suppress(NotAuthenticated):
        found = asyncio.run(verify(tokens, token))
        assert said["iss"] == issuer.url
        assert found.resource in {None, "/mcp"}
        assert found.principal.user_id == ANN


# The keys.


async def test_keys_are_read_once_for_many_tokens(issuer: PlayedIssuer) -> None:
    tokens = tokens_of(issuer)
    await asyncio.gather(*(verify(tokens, issuer.token(jti=str(number))) for number in range(20)))
    assert issuer.asked[JWKS] == 1


async def test_a_storm_of_unknown_keys_costs_one_look_in_half_a_minute(issuer: PlayedIssuer) -> None:
    clock = Clock()
    tokens = tokens_of(issuer, clock=clock)
    await verify(tokens, issuer.token())

    async def storm() -> None:
        refused = await asyncio.gather(
            *(verify(tokens, issuer.token(kid=f"made up {number}")) for number in range(50)), return_exceptions=True
        )
        assert {type(one) for one in refused} == {NotAuthenticated}

    await storm()
    await storm()
    assert issuer.asked[JWKS] == 2
    clock.now += PAUSE_SECONDS
    await storm()
    await storm()
    assert issuer.asked[JWKS] == 3
    assert await verify(tokens, issuer.token())


async def test_a_new_key_is_found_when_the_first_token_names_it(issuer: PlayedIssuer) -> None:
    clock = Clock()
    tokens = tokens_of(issuer, clock=clock)
    await verify(tokens, issuer.token())
    issuer.keys = [public_jwk("second")]
    assert await verify(tokens, issuer.token("second", kid="second"))
    with pytest.raises(NotAuthenticated, match=KEY):
        await verify(tokens, issuer.token())


async def test_a_key_that_was_taken_back_is_forgotten_soon(issuer: PlayedIssuer) -> None:
    clock = Clock()
    tokens = tokens_of(issuer, clock=clock)
    await verify(tokens, issuer.token())
    issuer.keys = [public_jwk("second")]
    clock.now += FRESH_SECONDS
    await verify(tokens, issuer.token())  # does not wait for the new keys
    await until_read(issuer, 2)
    with pytest.raises(NotAuthenticated, match=KEY):
        await verify(tokens, issuer.token())


async def until_read(issuer: PlayedIssuer, times: int) -> None:
    """Wait until the keys were read so many times, and what was read has been taken in."""
    async with asyncio.timeout(10):
        while issuer.asked[JWKS] < times or any(one.get_name() == "issuer-keys" for one in asyncio.all_tasks()):
            await asyncio.sleep(0.01)


BROKEN: dict[str, tuple[int, Any]] = {
    "failing": (500, {}),
    "gone": (404, {}),
    "huge": (200, b'{"keys": [' + b" " * 300_000 + b"]}"),
    "many": (200, {"keys": [public_jwk("first")] * 101}),
    "none": (200, {"keys": []}),
    "no-set": (200, {"keys": {}}),
    "no-json": (200, b"<html>"),
    "deep": (200, b"[" * 60_000),
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_tokens_go_on_while_the_keys_can_not_be_read_and_not_for_ever(issuer: PlayedIssuer, broken: str) -> None:
    clock = Clock()
    tokens = tokens_of(issuer, clock=clock)
    await verify(tokens, issuer.token())
    issuer.answers[JWKS] = BROKEN[broken]
    clock.now += FRESH_SECONDS
    await verify(tokens, issuer.token())
    await until_read(issuer, 2)
    clock.now += GOOD_SECONDS - FRESH_SECONDS - 1
    await verify(tokens, issuer.token())
    await until_read(issuer, 3)
    clock.now += RETRY_SECONDS + 1
    with pytest.raises(IssuerUnavailable):
        await verify(tokens, issuer.token())
    del issuer.answers[JWKS]
    clock.now += RETRY_SECONDS
    assert await verify(tokens, issuer.token())


async def test_an_issuer_that_is_down_is_no_fault_of_the_token_and_is_not_asked_in_a_storm(
    issuer: PlayedIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    tokens = tokens_of(issuer, clock=clock)
    issuer.answers[JWKS] = BROKEN["failing"]
    for _ in range(10):
        with pytest.raises(IssuerUnavailable):
            await verify(tokens, issuer.token())
    assert issuer.asked[JWKS] == 1
    clock.now += RETRY_SECONDS
    with pytest.raises(IssuerUnavailable):
        await verify(tokens, issuer.token())
    assert issuer.asked[JWKS] == 2
    assert [one.levelno for one in caplog.records] == [logging.WARNING]  # it is said once


async def test_nobody_waits_long_for_an_issuer_that_is_slow(
    issuer: PlayedIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_hub.authorization.issuer_keys.PATIENCE_SECONDS", 0.05)
    issuer.seconds = 0.3
    tokens = tokens_of(issuer)
    with pytest.raises(IssuerUnavailable):
        await verify(tokens, issuer.token())
    await until_read(issuer, 1)
    assert await verify(tokens, issuer.token())
    assert issuer.asked[JWKS] == 1


# Its metadata.


async def test_the_address_of_the_keys_may_be_set(issuer: PlayedIssuer) -> None:
    issuer.answers["/elsewhere"] = (200, {"keys": issuer.keys})
    assert await verify(tokens_of(issuer, issuer_jwks_url=f"{issuer.url}/elsewhere"), issuer.token())
    assert set(issuer.asked) == {"/elsewhere"}


@pytest.mark.parametrize("metadata", [{"issuer": "https://other.example"}, {"jwks_uri": 7}, {"jwks_uri": None}])
async def test_metadata_of_somebody_else_or_without_keys_is_not_followed(
    issuer: PlayedIssuer, metadata: dict[str, Any]
) -> None:
    good = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/jwks"}
    issuer.answers["/.well-known/openid-configuration"] = (200, {**good, **metadata})
    with pytest.raises(IssuerUnavailable):
        await verify(tokens_of(issuer), issuer.token())
    assert not issuer.asked[JWKS]


async def test_metadata_that_names_a_private_host_is_not_followed(issuer: PlayedIssuer) -> None:
    async with played_issuer() as other:
        lie = {"issuer": issuer.url, "jwks_uri": f"{other.url}/jwks"}
        issuer.answers["/.well-known/openid-configuration"] = (200, lie)
        with pytest.raises(IssuerUnavailable):
            await verify(tokens_of(issuer), issuer.token())
        assert not other.asked


async def test_the_first_metadata_that_is_the_issuers_is_taken(issuer: PlayedIssuer) -> None:
    issuer.answers["/.well-known/oauth-authorization-server"] = (200, {"issuer": "https://other.example"})
    assert await verify(tokens_of(issuer), issuer.token())


# Names of new users.


@pytest.mark.parametrize(
    ("wished", "name"),
    [
        ("ann", "ann"),
        ("Ann Ünal", "Ann-Unal"),
        ("ann@x.example", "ann@x.example"),
        ("../ann", "ann"),
        ("a" * 99, "a" * 64),
    ],
)
def test_a_new_user_is_named_as_the_rules_allow(wished: str, name: str) -> None:
    assert next(propose_names(wished, "i", "s")) == name


@pytest.mark.parametrize("wished", ["", "---", "日本", "0f8fad5b-d9cb-469f-a165-70867728950e"])
def test_a_name_that_is_none_gets_a_mark_of_the_subject(wished: str) -> None:
    first, second = list(propose_names(wished, "i", "s"))
    assert len(first) < len(second) <= 64
    assert first != next(propose_names(wished, "i", "t"))
