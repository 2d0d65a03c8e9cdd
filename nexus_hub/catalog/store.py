"""Writing the catalog: what a server offers, as it was last seen."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from nexus_hub.db.pool import Transaction, json_parameter
from nexus_hub.db.queries import load
from nexus_hub.escape import escape
from nexus_hub.models import ServerRef
from nexus_hub.servers.names import namespaced
from nexus_hub.upstream.snapshot import Snapshot

CATALOG = load("catalog")
LONGEST_KEY_BYTES = 2000


async def store(transaction: Transaction, ref: ServerRef, name: str, owner: UUID | None, seen: Snapshot) -> None:
    """Put what was seen in place of what is stored, and set the server's state to ready.

    Of entries with the same name or URI the first is kept; one over 2,000 bytes, too long to be indexed, is left out.
    """
    where = {"server_type": ref.server_type, "server_ref_id": ref.server_ref_id}
    entries = {
        "tools": _distinct(_named(name, tool) for tool in seen.tools),
        "resources": _distinct(_resources(seen)),
        "prompts": _distinct(_named(name, prompt) for prompt in seen.prompts),
    }
    for kind, rows in entries.items():
        keys = [row["key"] for row in rows]
        await transaction.run(CATALOG[f"drop_{kind}"], keys=keys, **where)
        await transaction.run(CATALOG[f"put_{kind}"], entries=json_parameter(rows), user_id=owner, **where)
    await transaction.run(
        CATALOG["server_ready"],
        protocol_version=seen.protocol_version,
        server_info=json_parameter(escape(seen.server_info)),
        instructions=escape(seen.instructions),
        **where,
    )


async def mark_failing(transaction: Transaction, ref: ServerRef, error_code: str) -> None:
    """Note that a server could not be read; what was stored of it stays."""
    await transaction.run(
        CATALOG["server_failing"],
        server_type=ref.server_type,
        server_ref_id=ref.server_ref_id,
        error_code=error_code,
    )


def _distinct(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if len(entry["key"].encode()) <= LONGEST_KEY_BYTES:
            found.setdefault(entry["key"], entry)
    return list(found.values())


def _named(server: str, definition: dict[str, Any]) -> dict[str, Any]:
    name = definition["name"]
    return {"key": escape(name), "namespaced_name": namespaced(server, name), **_described(definition)}


def _resources(seen: Snapshot) -> Iterable[dict[str, Any]]:
    templates = ((template, template["uriTemplate"], True) for template in seen.resource_templates)
    resources = ((resource, resource["uri"], False) for resource in seen.resources)
    for definition, uri, is_template in (*resources, *templates):
        yield {
            "key": escape(uri),
            "name": escape(definition.get("name")),
            "mime_type": escape(definition.get("mimeType")),
            "is_template": is_template,
            **_described(definition),
        }


def _described(definition: dict[str, Any]) -> dict[str, Any]:
    title = definition.get("title") or (definition.get("annotations") or {}).get("title")
    return {
        "title": escape(title),
        "description": escape(definition.get("description")),
        "definition": escape(definition),
    }
