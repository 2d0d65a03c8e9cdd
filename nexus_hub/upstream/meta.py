"""Metadata of a request: the members of its caller's `_meta` that are passed on to the server.

Those of the protocol say what the caller's own client speaks and offers. The hub sends its own in their place.
"""

from typing import Any

_RESERVED = {"modelcontextprotocol", "mcp"}
_OF_THE_PROTOCOL = {"progressToken"}


def select_forwarded(meta: dict[str, Any] | None) -> dict[str, Any]:
    """Give what is not the protocol's own: trace context, and the keys of vendors."""
    return {key: value for key, value in (meta or {}).items() if not _is_reserved(key)}


def _is_reserved(key: str) -> bool:
    """Tell the keys that only the protocol defines: by the first two labels of their prefix.

    Source: MCP 2025-06-18 and 2025-11-25, basic, General fields, `_meta`.
    """
    prefix, slash, _ = key.partition("/")
    labels = prefix.lower().split(".")[:2]
    return key in _OF_THE_PROTOCOL or bool(slash and len(labels) == 2 and _RESERVED.intersection(labels))
