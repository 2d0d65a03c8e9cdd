"""Each route answers of what a user does not see as of what is not there."""

import json
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi.routing import iter_route_contexts

from nexus_hub.access import access_grants
from nexus_hub.access.access_grants import GrantWish
from tests.fixtures.allowed import add_user, close_hub, grant, store_server
from tests.fixtures.bundles import entry
from tests.fixtures.served import Served

NAMED = {
    "/v1/tools": {"server": "{ref}"},
    "/v1/resources": {"server": "{name}"},
    "/v1/prompts": {"query": "{name}"},
    "/v1/servers": {},
    "/v1/jobs": {"search": "{name}"},
    "/v1/health": {},
    "/v1/queue": {},
    "/v1/changes": {"server": "{name}"},
    "/v1/approvals": {},
    "/v1/bundles": {},
    "/v1/audit": {"server": "{name}"},
    "/v1/users/me/permissions": {},
}
"""Lists, with what is asked of them."""
BODIES: dict[str, Any] = {
    "POST /v1/jobs": {"name": "{name}__add"},
    "POST /v1/jobs:batch": [{"name": "{name}__add"}],
    "PATCH /v1/servers/{server_type}/{server_ref_id}": {"tags": ["x"]},
    "POST /v1/servers/{server_type}/{server_ref_id}/tools:approve": {"tools": [{"name": "add", "hash": "0" * 64}]},
    "PUT /v1/servers/{server_type}/{server_ref_id}/credential": {"headers": {"X-Key": "k"}},
    "PUT /v1/bundles/{bundle}": {"name": "x"},
}
Answer = tuple[str, int, str, str]


async def ask_all(served: Served, token: str | None, ref: UUID, name: str) -> list[Answer]:
    """What every route that names a server, tool or bundle answers, with that in place of which it was asked for."""
    found = []
    of_path = {"server_type": "system", "server_ref_id": ref, "bundle": name, "server": name, "name": f"{name}__add"}

    def fill(value: Any) -> Any:
        return json.loads(json.dumps(value).replace("{name}", name).replace("{ref}", str(ref)))

    routes = [
        (str(route.path), method) for route in iter_route_contexts(served.app.routes) for method in route.methods or ()
    ]
    asked = [(path, method) for path, method in routes if any("{" + one + "}" in path for one in of_path)]
    asked += [("/v1/jobs", "POST"), ("/v1/jobs:batch", "POST"), *((path, "GET") for path in NAMED)]
    asked += [(f"/mcp/{name}", "POST"), (f"/v1/bundles/{ref}", "GET")]
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=served.url, headers=headers) as http:
        for path, method in sorted(set(asked)):
            place = path.format(**of_path) if "{" in path else path
            body = BODIES.get(f"{method} {path}", {})
            kept = None if method in {"GET", "DELETE", "HEAD"} else fill(body)
            answer = await http.request(method, place, params=fill(NAMED.get(path, {})), json=kept)
            text = answer.text.replace(str(ref), "<ref>").replace(name, "<name>")
            kinds = {key: value for key, value in answer.headers.items() if key in {"www-authenticate", "ratelimit"}}
            said = f"{kinds}".replace(name, "<name>")
            found.append(
                (f"{method} {path}".replace(name, "<name>").replace(str(ref), "<ref>"), answer.status_code, said, text)
            )
    return found


@pytest.mark.parametrize("is_user", [True, False])
async def test_every_route_answers_of_what_is_hidden_as_of_what_is_not_there(served: Served, is_user: bool) -> None:
    _, token = await served.user("ann")
    bob = await add_user(served.database, "bob")
    ref = await store_server(served.runtime.servers, "secret")
    async with served.client() as operator:
        await operator.request("POST", "/v1/bundles", {"name": "cryptic", "entries": [entry("secret", "*")]})
    await close_hub(served.database)
    await grant(served.database, bob, "call", server="secret")
    await access_grants.grant(served.database, f"of-{bob.user_id}", GrantWish("call", bundle="cryptic"))
    served.runtime.notice_permissions()
    asking = token if is_user else None
    absent = await ask_all(served, asking, uuid4(), "nobody")
    assert len(absent) > 25
    assert await ask_all(served, asking, ref.server_ref_id, "secret") == absent
    assert await ask_all(served, asking, uuid4(), "cryptic") == absent
    async with served.client(token) as ann, served.client() as operator:
        own = await ann.request("GET", "/v1/audit", action="server.remove")
        assert [(one["code"], one["server"]) for one in own["items"]] == [("not-found", None)] * 3 * is_user
        all_of_it = await operator.request("GET", "/v1/audit", action="server.remove", server="secret")
        assert len(all_of_it["items"]) == is_user
