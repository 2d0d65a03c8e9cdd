"""OAuth clients: those that have registered themselves, and those whose id is the address of a document."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from mcp.server.auth.provider import RegistrationError
from mcp.shared.auth import DEFAULT_GRANT_TYPES
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nexus_hub.access.turns import Turns
from nexus_hub.address import is_loopback, read_origin
from nexus_hub.authorization import redirects
from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.errors import ExchangeFailed, InvalidRequest, TooMany
from nexus_hub.telemetry.text import printable
from nexus_hub.upstream.documents import fetch

OAUTH = load("oauth")
FRESH_SECONDS = 3600
"""A document that was read so long ago is read again before a person is asked."""
READ_SECONDS = 5.0
MOST_CLIENTS = 5000
MOST_OF_ADDRESS = 50
"""Clients of one address that nobody has used yet."""
SPARED_SECONDS = 900
"""The time for which an unused client stays, however many there are: as long as a person may take to consent."""
LONGEST_ID = 1000
LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """A program that may ask people to let it act for them; without a secret it is a public one."""

    id: str
    name: str
    redirect_uris: list[str]
    grant_types: list[str]
    secret_hash: str | None = field(default=None, repr=False)
    is_document: bool = False
    is_used: bool = False
    """Somebody has let it act for them."""
    is_stale: bool = False

    @property
    def host(self) -> str | None:
        """The host that vouches for its name; None if nobody does."""
        return host_of(self.id) if self.is_document else None


def host_of(client_id: str) -> str:
    """Give the host, and a port that is not the usual one, of a client's document."""
    return urlsplit(client_id).netloc


class _Metadata(BaseModel):
    """The members of a client's document that matter here."""

    model_config = ConfigDict(strict=True)

    client_id: str
    client_name: str | None = None
    redirect_uris: list[str] = Field(min_length=1, max_length=redirects.MOST)
    grant_types: list[str] = Field(default=list(DEFAULT_GRANT_TYPES), max_length=20)
    token_endpoint_auth_method: str = "none"  # noqa: S105 - the name of a method
    token_endpoint_auth_methods_supported: list[str] = Field(default=[], max_length=20)
    client_secret: Any = None

    @property
    def is_public(self) -> bool:
        """True if the client can do without a secret or a key."""
        methods = {self.token_endpoint_auth_method, *self.token_endpoint_auth_methods_supported}
        return "none" in methods and self.client_secret is None


class Clients:
    """Finds and keeps clients, of which there is room for so many: those that nobody uses go first."""

    def __init__(self, database: Database, *, allow_private: bool) -> None:
        self._database = database
        self._allow_private = allow_private
        self._reading = Turns("documents of OAuth clients", per_user=2, in_all=8, user="address")

    async def find(self, client_id: str) -> OAuthClient | None:
        """Find a client that is known."""
        if not client_id.isprintable():
            return None
        async with self._database.transaction() as transaction:
            return await transaction.one(
                OAUTH["find_client"], OAuthClient, client_id=client_id, fresh_seconds=FRESH_SECONDS
            )

    async def find_or_read(self, client_id: str, address: str) -> OAuthClient:
        """Find a client, reading its document where that is its id.

        Raises:
            InvalidRequest: it is not known, or its document can't be used.
            TooMany: too many unused clients came from that address, or too many documents are being read.
        """
        known = await self.find(client_id)
        if known is not None and not (known.is_document and known.is_stale):
            return known
        if fault := find_fault_of_id(client_id, allow_private=self._allow_private):
            raise InvalidRequest(f"The client_id is not known here, and {fault}.")
        try:
            async with self._reading.turn_of(address):
                client = await self._read(client_id)
        except TooMany:
            if known is None:
                raise
            return known
        except ExchangeFailed as error:
            if known is not None and error.may_pass:
                return known
            raise InvalidRequest(f"The client's document can't be read: {error.reason}.") from None
        await self._keep(client, address, is_new=known is None)
        return client

    async def register(self, client: OAuthClient, address: str) -> None:
        """Keep a client that registers itself.

        Raises:
            RegistrationError: its redirect addresses can't be used.
            TooMany: there are too many clients.
        """
        faults = find_faults(client.redirect_uris)
        if faults or not 0 < len(client.redirect_uris) <= redirects.MOST:
            told = "; ".join(faults[:5]) or f"there must be 1 to {redirects.MOST} of them"
            raise RegistrationError("invalid_redirect_uri", f"redirect_uris: {told}")
        await self._keep(client, address, is_new=True)

    async def _read(self, client_id: str) -> OAuthClient:
        document = await fetch(client_id, allow_private=self._allow_private, seconds=READ_SECONDS)
        if document.status != 200:
            raise ExchangeFailed(
                document.host, f"it answers with the status {document.status}", may_pass=document.status >= 500
            )
        return _read_metadata(client_id, document.json_object())

    async def _keep(self, client: OAuthClient, address: str, *, is_new: bool) -> None:
        async with self._database.transaction() as transaction:
            if is_new:
                room = await transaction.only(
                    OAUTH["make_room"],
                    address=address,
                    most=MOST_CLIENTS,
                    most_of_address=MOST_OF_ADDRESS,
                    spared_seconds=SPARED_SECONDS,
                )
                if room["of_address"] >= MOST_OF_ADDRESS or room["in_all"] >= MOST_CLIENTS:
                    bound = f"{MOST_OF_ADDRESS} of an address that nobody has used, and {MOST_CLIENTS} in all"
                    raise TooMany("OAuth clients", f"Too many clients: {bound}; try later.", retry_after=SPARED_SECONDS)
            await transaction.run(
                OAUTH["keep_client"],
                id=client.id,
                name=client.name,
                redirect_uris=client.redirect_uris,
                grant_types=client.grant_types,
                secret_hash=client.secret_hash,
                is_document=client.is_document,
                address=address,
            )


def find_fault_of_id(client_id: str, *, allow_private: bool) -> str | None:
    """Say why a client's id can't be the address of its document: it must be https with a path."""
    try:
        parts = urlsplit(client_id)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return "is no URL"
    if len(client_id) > LONGEST_ID or not client_id.isascii() or not client_id.isprintable() or " " in client_id:
        return "is no URL"
    is_safe = parts.scheme == "https" or (allow_private and parts.scheme == "http" and is_loopback(client_id))
    if not is_safe or not host or "@" in parts.netloc:
        return "is no https:// address of a document"
    if read_origin(f"{parts.scheme}://{parts.netloc}") is None:
        return "does not write its host plainly"
    if parts.path in {"", "/"} or "#" in client_id or redirects.has_dots(parts.path):
        return "must have a path without . or .., and no fragment"
    return None


def find_faults(redirect_uris: list[str]) -> list[str]:
    """Say which redirect addresses can't be used, by their places."""
    faults = [(place, redirects.find_fault(uri)) for place, uri in enumerate(redirect_uris)]
    return [f"{place}: {fault}" for place, fault in faults if fault]


def keep_grant_types(given: list[str]) -> list[str]:
    """Keep those that the hub knows."""
    return [grant_type for grant_type in DEFAULT_GRANT_TYPES if grant_type in given]


def name_client(given: str | None, otherwise: str) -> str:
    """Make a client's name safe to show: one line, in plain sight, and not long."""
    return printable(" ".join((given or "").split()), longest=LONGEST_NAME) or otherwise


def _read_metadata(client_id: str, content: dict[str, Any]) -> OAuthClient:
    """Read a client's document; redirect addresses that can't be used are as good as not there."""
    host = host_of(client_id)
    try:
        metadata = _Metadata.model_validate(content)
    except ValidationError as error:
        places = ", ".join(sorted({str(fault["loc"][0]) for fault in error.errors(include_input=False)}))
        raise ExchangeFailed(host, f"its {places} can't be used") from None
    if metadata.client_id != client_id:
        raise ExchangeFailed(host, "its client_id is not the address at which it lies")
    if not metadata.is_public:
        raise ExchangeFailed(host, "its client must know the token_endpoint_auth_method none, and have no secret")
    usable = [uri for uri in metadata.redirect_uris if redirects.find_fault(uri) is None]
    if not usable or "authorization_code" not in metadata.grant_types:
        raise ExchangeFailed(host, "it has no redirect address that can be used, or not the grant authorization_code")
    name = name_client(metadata.client_name, host)
    return OAuthClient(client_id, name, usable, keep_grant_types(metadata.grant_types), is_document=True)
