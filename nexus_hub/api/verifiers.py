"""The kinds of bearer tokens that the API takes, besides the hub's own API tokens."""

from nexus_hub.access.tokens import Authenticator, TokenVerifier, service_key
from nexus_hub.authorization.built_in import BuiltInTokens
from nexus_hub.authorization.issuer import make_issuer_tokens
from nexus_hub.authorization.server import AuthorizationServer
from nexus_hub.db.pool import Database
from nexus_hub.runtime import Runtime


def make_verifiers(runtime: Runtime, tokens: Database) -> list[TokenVerifier]:
    """Make the verifiers of a process, on connections that only look up tokens; the first that takes one says whose."""
    settings = runtime.settings
    issuer = make_issuer_tokens(settings, tokens, runtime.database.clock)
    if issuer is not None:
        return [issuer]
    return [BuiltInTokens(tokens, service_key(settings))] if settings.has_built_in_login else []


def make_authorization_server(runtime: Runtime, authenticator: Authenticator) -> AuthorizationServer:
    """Make the authorization server of a process; its endpoints are there only where settings say so."""
    settings = runtime.settings
    key, allow_private = service_key(settings), settings.allow_private_upstreams
    return AuthorizationServer(runtime.database, key, authenticator.forget, allow_private=allow_private)
