"""Access tokens of an outside issuer: JWTs, checked with the keys that it publishes."""

import re
from itertools import islice
from typing import Any, get_args

import jwt

from nexus_hub.access.tokens import Bearer
from nexus_hub.authorization.identities import Identities, is_subject
from nexus_hub.authorization.issuer_keys import IssuerKeys
from nexus_hub.clock import RemoteClock
from nexus_hub.db.pool import Database
from nexus_hub.errors import NotAuthenticated
from nexus_hub.models import Principal, Scope
from nexus_hub.settings import Settings, split_names

LEEWAY_SECONDS = 30.0
"""The time by which the clocks of the hub and of the issuer may be apart."""
MOST_CHARACTERS = 16_384
MOST_GROUPS = 200
SCOPES: frozenset[Scope] = frozenset(get_args(Scope))
_LAST_SECOND = 2**40
"""The end of a token that says it has a later one: a number of any size may stand in it."""
_JWT = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*){2,4}")
_TIMES = ("exp", "nbf", "iat")
"""Checked here: the library knows no clock but this machine's."""
_CHECKED: Any = {
    "require": ["exp"],
    "verify_aud": False,
    "enforce_minimum_key_length": True,
    **{f"verify_{name}": False for name in _TIMES},
}
_GLANCE: Any = {"verify_signature": False, "verify_iss": True}
_REASONS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "The token has expired.",
    jwt.ImmatureSignatureError: "The token is good only later; the clocks of its issuer and of the hub may be apart.",
    jwt.InvalidIssuerError: "The token was made by another issuer.",
    jwt.InvalidAlgorithmError: "The token is signed in a way that is not allowed.",
    jwt.InvalidSignatureError: "The token's signature is not that of its issuer.",
    jwt.InvalidKeyError: "The issuer's key is too short.",
    jwt.MissingRequiredClaimError: "The token does not say what is needed of it: iss and exp.",
}


class IssuerTokens:
    """The tokens of the issuer NEXUS_ISSUER, whose times are judged by the database's clock as all others are."""

    def __init__(
        self, issuer: str, settings: Settings, keys: IssuerKeys, identities: Identities, clock: RemoteClock
    ) -> None:
        self._issuer = issuer
        self._keys = keys
        self._identities = identities
        self._clock = clock
        self._algorithms = split_names(settings.issuer_algorithms)
        self._audiences = frozenset(split_names(settings.issuer_audience))
        self._base = settings.public_base
        self._user_claim = settings.issuer_user_claim
        self._name_claim = settings.issuer_name_claim
        self._groups_claim = settings.issuer_groups_claim
        self._admin_group = settings.issuer_admin_group

    def takes(self, token: str) -> bool:
        """Tell if a token looks like a JWT."""
        return len(token) <= MOST_CHARACTERS and _JWT.fullmatch(token) is not None

    async def verify(self, token: str) -> Bearer | None:
        """Check a token, and find the user who its subject is.

        Raises:
            NotAuthenticated: it is not good here, or its subject is nobody.
            IssuerUnavailable: nobody can say, since the issuer's keys can't be read.
        """
        claims = await self._check(token)
        if "cnf" in claims:
            raise NotAuthenticated("The token is bound to a key of its client (cnf), which the hub does not look at.")
        resource = self._read_resource(claims)
        subject = _read_subject(claims, self._user_claim)
        groups = _read_groups(claims, self._groups_claim)
        scopes = _read_scopes(claims)
        user_id = await self._identities.resolve(subject, groups, str(_find(claims, self._name_claim) or ""))
        acts_as_operator = self._admin_group in groups and "admin" in scopes
        seconds_left = min(int(claims["exp"]), _LAST_SECOND) + LEEWAY_SECONDS - self._clock.time()
        return Bearer(Principal(None if acts_as_operator else user_id, scopes, groups), resource, seconds_left)

    async def _check(self, token: str) -> dict[str, Any]:
        """Check what a token says before its signature: keys are looked for only for one that may be good."""
        header = self._decode(token)["header"]
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in self._algorithms:
            raise NotAuthenticated(_REASONS[jwt.InvalidAlgorithmError])
        key = await self._keys.find(key_id, algorithm)
        claims: dict[str, Any] = self._decode(token, key)["payload"]
        return claims

    def _decode(self, token: str, key: jwt.PyJWK | None = None) -> dict[str, Any]:
        """Read a token; without a key, all but its signature is checked."""
        how: Any = {"issuer": self._issuer}
        try:
            if key is None:
                decoded = jwt.decode_complete(token, options=_CHECKED | _GLANCE, **how)
            else:
                decoded = jwt.decode_complete(token, key, [key.algorithm_name], _CHECKED, **how)
            _check_times(decoded["payload"], self._clock.time())
            return decoded
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            reason = _REASONS.get(type(error), "The token is no JWT that can be read.")
        raise NotAuthenticated(reason)

    def _read_resource(self, claims: dict[str, Any]) -> str | None:
        """Find where a token is good: the widest of the hub's resources among its audiences; None: everywhere.

        Raises:
            NotAuthenticated: it was made for something else.
        """
        named = [one for one in _strings_of(claims.get("aud")) if one]
        if self._audiences.intersection(named):
            return None
        paths = [] if self._audiences else [path for one in named if (path := self._path_of(one)) is not None]
        if not paths:
            raise NotAuthenticated("The token was made for something else than this hub (aud).")
        return min(paths, key=len) or None

    def _path_of(self, audience: str) -> str | None:
        """Find the path of an audience that is one of the hub's resources."""
        if not audience.startswith(self._base):
            return None
        path = audience.removeprefix(self._base).removesuffix("/")
        return path if re.fullmatch(r"(?:/mcp(?:/[A-Za-z0-9_.-]+)?)?", path) else None


def make_issuer_tokens(settings: Settings, database: Database, clock: RemoteClock) -> IssuerTokens | None:
    """Make the verifier of the issuer that is set, in a running event loop; None where none is."""
    if settings.issuer is None:
        return None
    keys = IssuerKeys(
        settings.issuer,
        settings.issuer_jwks_url,
        split_names(settings.issuer_algorithms),
        allow_private=settings.allow_private_upstreams,
    )
    keys.begin_reading()  # an issuer that is not as it was set is told of now, and not at the first log-in
    identities = Identities(database, settings.issuer, creates_users=settings.issuer_creates_users)
    return IssuerTokens(settings.issuer, settings, keys, identities, clock)


def _check_times(claims: dict[str, Any], now: float) -> None:
    """Check that a token holds by now, give or take the leeway.

    Raises:
        jwt.PyJWTError, ValueError, TypeError, OverflowError: it does not, or a time of it is no number.
    """
    if int(claims["exp"]) <= now - LEEWAY_SECONDS:
        raise jwt.ExpiredSignatureError
    if any(int(claims[name]) > now + LEEWAY_SECONDS for name in ("nbf", "iat") if name in claims):
        raise jwt.ImmatureSignatureError


def _find(claims: dict[str, Any], name: str) -> Any:
    """Find a claim by its name, else by its path through objects, such as `realm_access.roles`."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _strings_of(value: Any) -> list[str]:
    """Read a claim that is a string or a list of strings; others in the list are left out."""
    listed = value if isinstance(value, list) else [value]
    return [one for one in listed if isinstance(one, str)]


def _read_subject(claims: dict[str, Any], name: str) -> str:
    subject = _find(claims, name)
    if not is_subject(subject):
        raise NotAuthenticated("The token names no user whom the hub could know.")
    return str(subject)


def _read_scopes(claims: dict[str, Any]) -> frozenset[Scope]:
    """Read the scopes that the hub knows: of `scope` with spaces between, or `scp`, as some issuers call it."""
    named = {
        word for one in (*_strings_of(claims.get("scope")), *_strings_of(claims.get("scp"))) for word in one.split()
    }
    return frozenset(scope for scope in SCOPES if scope in named)


def _read_groups(claims: dict[str, Any], name: str | None) -> frozenset[str]:
    """Read the groups, of which those that could be no name are left out."""
    listed = _strings_of(_find(claims, name)) if name else []
    return frozenset(islice((one for one in listed if is_subject(one)), MOST_GROUPS))
