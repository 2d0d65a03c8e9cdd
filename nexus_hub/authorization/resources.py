"""Scopes that a person can grant, and the resources of the hub for which tokens are made (RFC 8707)."""

import re
from urllib.parse import urlsplit

from nexus_hub.access.scopes import OFFERED, SCOPES
from nexus_hub.address import read_origin
from nexus_hub.models import Principal, Scope

DEFAULT_RESOURCE = "/mcp"
_PATH = re.compile(r"(/mcp(/[A-Za-z0-9_-]+)?)?")


def read_scopes(asked: str | None) -> list[Scope]:
    """Read what a client asks for; names that the hub does not know, such as offline_access, are left out."""
    if asked is None or not asked.strip():
        return list(OFFERED)
    names = set(asked.split())
    return [scope for scope in SCOPES if scope in names]


def offer_scopes(asked: list[Scope], principal: Principal) -> list[Scope]:
    """Leave out what a person can't grant: only the operator's client operates the hub."""
    held = SCOPES if principal.scopes is None else principal.scopes
    return [scope for scope in asked if scope in held and (scope != "admin" or principal.is_operator)]


def read_resource(resource: str | None, base: str) -> str | None:
    """Read the resource that a client names, as the path under which its tokens are good; "" is all of the hub.

    None: it is no resource of the hub at that base URL.
    """
    if resource is None:
        return DEFAULT_RESOURCE
    try:
        parts = urlsplit(resource)
    except ValueError:
        return None
    path = parts.path.rstrip("/")
    if parts.query or parts.fragment or not _PATH.fullmatch(path):
        return None
    return path if read_origin(f"{parts.scheme}://{parts.netloc}") == base else None
