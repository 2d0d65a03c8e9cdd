"""Public keys of an outside issuer: read from it, kept, read anew when it rotates them, and asked for not too often."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection
from typing import Any

import jwt
from mcp.client.auth.utils import build_oauth_authorization_server_metadata_discovery_urls as places_of_metadata

from nexus_hub.errors import ExchangeFailed, IssuerUnavailable, NotAuthenticated
from nexus_hub.upstream.documents import Document, fetch, origin_of

FRESH_SECONDS = 600.0
"""Keys older than this are read anew, while those that are there go on to be used."""
GOOD_SECONDS = 3600.0
"""Keys older than this are used no more, should the issuer not answer for so long."""
PAUSE_SECONDS = 30.0
"""Keys are read once in so long for tokens that name a key which is not among them, however many such come."""
RETRY_SECONDS = 5.0
"""The time for which keys that could not be read are not asked for again."""
EXCHANGE_SECONDS = 5.0
PATIENCE_SECONDS = 3.0
"""The time for which a request waits for keys that are being read: others with unknown tokens wait for it."""
MOST_BYTES = 256 * 1024
MOST_KEYS = 100
KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}
LOG = logging.getLogger(__name__)
Keys = dict[tuple[str | None, str], jwt.PyJWK]


class IssuerKeys:
    """The keys of one issuer.

    Its own origin, and that of a `jwks_url` that the operator set, may be private; what its metadata names elsewhere is
    judged like a user's server, unless all may be private.
    """

    def __init__(
        self,
        issuer: str,
        jwks_url: str | None,
        algorithms: Collection[str],
        *,
        allow_private: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._algorithms = algorithms
        self._private = frozenset(origin_of(url) for url in (issuer, jwks_url) if url)
        self._allow_private = allow_private
        self._clock = clock
        self._keys: Keys = {}
        self._read_at = -math.inf
        self._look_at = -math.inf
        self._retry_at = -math.inf
        self._failed = False
        self._reading: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK:
        """Find the key that a token names; a token may leave that out where only one key fits.

        Raises:
            NotAuthenticated: the issuer publishes no such key.
            IssuerUnavailable: its keys can't be read, so that nobody knows.
        """
        found = self._pick(key_id, algorithm)
        if found is not None:
            if self._age() >= FRESH_SECONDS:
                self.begin_reading()
            return found
        reading = self._look_for_another() if self._age() < GOOD_SECONDS else self.begin_reading()
        if reading is not None:
            await asyncio.wait({reading}, timeout=PATIENCE_SECONDS)
            found = self._pick(key_id, algorithm)
        if found is not None:
            return found
        if self._failed or (reading is not None and not reading.done()):
            raise IssuerUnavailable
        raise NotAuthenticated("The token is signed with a key that its issuer does not publish.")

    def _age(self) -> float:
        return self._clock() - self._read_at

    def _pick(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        if self._age() >= GOOD_SECONDS:
            return None
        if key_id is not None:
            return self._keys.get((key_id, algorithm))
        fitting = [key for (_, fits), key in self._keys.items() if fits == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    def _look_for_another(self) -> asyncio.Task[None] | None:
        """Read keys that are good for one that is not among them, unless somebody did a moment ago."""
        if self._reading is None:
            if self._clock() < self._look_at:
                return None
            self._look_at = self._clock() + PAUSE_SECONDS
        return self.begin_reading()

    def begin_reading(self) -> asyncio.Task[None] | None:
        """Begin to read the keys, unless somebody does, or that failed a moment ago."""
        if self._reading is None and self._clock() >= self._retry_at:
            self._reading = asyncio.create_task(self._read(), name="issuer-keys")
        return self._reading

    async def _read(self) -> None:
        try:
            document = await self._ask(self._jwks_url or await self._discover())
            self._keys = read_keys(document, self._algorithms)
        except ExchangeFailed as error:
            if not self._failed:
                LOG.warning("the keys of NEXUS_ISSUER can't be read: %s", error)
            self._failed, self._retry_at = True, self._clock() + RETRY_SECONDS
        else:
            self._failed, self._read_at = False, self._clock()
        finally:
            self._reading = None

    async def _discover(self) -> str:
        """Find the URL of the keys in the issuer's metadata, which must be its own; other answers are passed over."""
        host = origin_of(self._issuer)
        failed = ExchangeFailed(host, "its metadata does not name its keys; set NEXUS_ISSUER_JWKS_URL")
        for url in places_of_metadata(self._issuer, self._issuer):
            try:
                metadata = _object_of(await self._ask(url))
            except ExchangeFailed as error:
                if error.may_pass:
                    raise
                continue
            if metadata.get("issuer") != self._issuer:
                failed = ExchangeFailed(host, "its metadata is that of another issuer than NEXUS_ISSUER")
            elif isinstance(metadata.get("jwks_uri"), str):
                return str(metadata["jwks_uri"])
        raise failed

    async def _ask(self, url: str) -> Document:
        return await fetch(
            url,
            private=self._private,
            allow_private=self._allow_private,
            most_bytes=MOST_BYTES,
            seconds=EXCHANGE_SECONDS,
        )


def read_keys(document: Document, algorithms: Collection[str]) -> Keys:
    """Read the keys that check signatures, each with all algorithms that it fits; others are left out.

    Raises:
        ExchangeFailed: there are none, or too many.
    """
    listed = _object_of(document).get("keys")
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise ExchangeFailed(document.host, f"the answer is no set of up to {MOST_KEYS} keys")
    keys: Keys = {}
    for entry in listed:
        for algorithm in algorithms:
            if isinstance(entry, dict) and _fits(entry, algorithm) and (key := _make_key(entry, algorithm)):
                keys.setdefault((entry.get("kid"), algorithm), key)
    if not keys:
        raise ExchangeFailed(document.host, "none of its keys can be used")
    return keys


def _object_of(document: Document) -> dict[str, Any]:
    if document.status != 200:
        may_pass = document.status == 429 or document.status >= 500
        raise ExchangeFailed(document.host, f"it answers with the status {document.status}", may_pass=may_pass)
    return document.json_object()


def _fits(entry: dict[str, Any], algorithm: str) -> bool:
    """Tell if a key is made for an algorithm; one of RSA that says nothing is good for several."""
    curve = CURVES.get(algorithm)
    return (
        entry.get("kty") == KINDS[algorithm[:2]]
        and entry.get("alg") in (None, algorithm)
        and entry.get("use") in (None, "sig")
        and (curve is None or entry.get("crv") == curve)
        and isinstance(entry.get("kid"), str | None)
    )


def _make_key(entry: dict[str, Any], algorithm: str) -> jwt.PyJWK | None:
    try:
        return jwt.PyJWK(entry, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
