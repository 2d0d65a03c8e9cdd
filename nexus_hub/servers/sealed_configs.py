"""Sealed configurations of servers, opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_hub.errors import InvalidConfig, NotFound
from nexus_hub.models import ServerRef
from nexus_hub.upstream.config import CONFIG, HttpConfig, StdioConfig
from nexus_hub.vault.sealing import SealContext, Vault

if TYPE_CHECKING:
    from nexus_hub.servers.registry import SealedServer


def open_sealed(vault: Vault, row: SealedServer) -> HttpConfig | StdioConfig:
    """Open a server's configuration.

    Raises:
        NotFound: it has none.
        CannotOpen: no key opens it.
        UnboundValue: it is not bound to its row and its owner, though a rotation has bound all values.
        InvalidConfig: it is none of ours.
    """
    ref = ServerRef(row.server_type, row.id)
    if row.config_encrypted is None:
        raise NotFound("server", ref)
    context = SealContext.for_server(ref, row.user_id)
    opened = vault.open_config(context, row.config_encrypted, row.key_id, unbound=row.opens_unbound)
    try:
        return CONFIG.validate_python({"transport": "http"} | opened)
    except ValueError:
        raise InvalidConfig(f"The stored configuration of server {row.name!r} is not one of ours.") from None
