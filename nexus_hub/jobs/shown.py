"""Rows of jobs as their users may see them: who called by a bundle's name is not shown the server behind it."""

from typing import Any

from nexus_hub.json_object import JsonObject
from nexus_hub.models import BundleCall, Principal


def show_to(principal: Principal, row: dict[str, Any]) -> dict[str, Any]:
    """Give a row as a principal sees it; an operator sees both the bundle's names and the server's."""
    if principal.is_operator or row.get("called_as") is None:
        return row
    call = BundleCall(row["bundle_entry_id"], row["called_as"])
    shown = {"server_id": None, "server_type": None, "server_ref_id": None, "server": call.bundle}
    shown |= {"tool_name": None if row["tool_name"] is None else call.name}
    row = row | {name: value for name, value in shown.items() if name in row}
    if row["job_type"] == "prompt_execute" and isinstance(row.get("params"), JsonObject):
        row["params"] = JsonObject.of({**row["params"], "name": call.name})
    return row
