"""Views of users who may do only a part: what is not seen is not there."""

import time
from uuid import UUID, uuid4

import pytest

from nexus_hub.access.permissions import EVERYTHING, Permission, Permissions
from nexus_hub.calls.cache import TtlCache
from nexus_hub.errors import NotAllowed, NotFound
from nexus_hub.gateway.entries import KINDS, Catalog, Entry, Kind, OfferingServer, Offers
from nexus_hub.gateway.search import NoSuchServer, NoSuchTool
from nexus_hub.gateway.views import View, Views
from nexus_hub.models import OPERATOR, Principal, ServerRef
from tests.fixtures.bundles import NO_BUNDLES

GIT, NOTES, HIDDEN = (ServerRef("system", uuid4()) for _ in range(3))
NAMES = {GIT: "git", NOTES: "notes", HIDDEN: "secret"}
USER = Principal(uuid4())
LISTED = Permission("list")
SOME = Permissions({GIT.server_ref_id: EVERYTHING}, {(NOTES.server_ref_id, "add"): LISTED})


class OneCatalog:
    """A catalog of the system's three servers, each with two tools, a prompt, a resource and a template."""

    def __init__(self) -> None:
        entries: dict[Kind, tuple[Entry, ...]] = dict.fromkeys(KINDS, ())
        for ref, server in NAMES.items():
            for kind in KINDS:
                for name in ("add", "drop") if kind == "tool" else ("one",):
                    entries[kind] = (*entries[kind], _make_entry(ref, server, kind, name))
        servers = {name: OfferingServer("system", ref.server_ref_id, name, "Use drop.") for ref, name in NAMES.items()}
        self.system, self.own = Offers(servers, entries), Offers()

    async def offers(self, owner: UUID | None) -> Offers:
        return self.system if owner is None else self.own


def _make_entry(ref: ServerRef, server: str, kind: Kind, name: str) -> Entry:
    fresh_until = time.monotonic() + 3600
    if kind in {"tool", "prompt"}:
        return Entry(ref, server, name, f"{server}__{name}", b"{}", fresh_until, named=True)
    uri = f"{server}://{name}" + ("/{part}" if kind == "template" else "")
    return Entry(ref, server, uri, uri, b"{}", fresh_until, named=False)


class Allowed:
    """What the user may do, as a test has it at the moment."""

    def __init__(self, permissions: Permissions = SOME) -> None:
        self.permissions = permissions
        self.cache = TtlCache(self.read, 60)
        catalog: Catalog = OneCatalog()  # type: ignore[assignment]
        self.views = Views(catalog, self.cache, NO_BUNDLES)

    async def read(self, user_id: UUID | None) -> Permissions:
        return Permissions(is_all=True) if user_id is None else self.permissions

    async def view(self, server: str | None = None) -> View:
        return await self.views.view(USER, server)


async def test_what_is_hidden_is_in_no_list_and_found_by_no_name() -> None:
    seen = await Allowed().view()
    assert list(seen.entries("tool")) == ["git__add", "git__drop", "notes__add"]
    assert {kind: list(seen.entries(kind)) for kind in KINDS if kind != "tool"} == {
        "prompt": ["git__one"],
        "resource": ["git://one"],
        "template": ["git://one/{part}"],
    }
    for name in ("notes__drop", "secret__add", "secret__no"):
        assert seen.find("tool", name) is None
    assert [entry.public for entry in seen.all_of("prompt")] == ["git__one"]
    for uri in ("secret://one", "notes://one", "secret://no"):
        with pytest.raises(NotFound, match=uri):
            seen.locate(uri)


async def test_errors_speak_only_of_what_is_seen() -> None:
    seen = await Allowed().view()
    assert "secret" not in NoSuchTool("secrets__add", seen).message.replace("secrets__add", "")
    assert NoSuchServer("x", seen).message.endswith("The servers are: git, notes.")


async def test_an_address_of_a_hidden_server_answers_as_that_of_none() -> None:
    allowed = Allowed()
    with pytest.raises(NotFound) as hidden:
        await allowed.view("secret")
    with pytest.raises(NotFound) as absent:
        await allowed.view("absent")
    assert hidden.value.message.replace("secret", "absent") == absent.value.message


async def test_who_sees_a_tool_alone_is_not_told_of_the_rest_at_its_servers_address() -> None:
    seen = await Allowed().view("notes")
    assert list(seen.entries("tool")) == ["add"]
    assert seen.server is not None
    assert seen.server.instructions is None
    with pytest.raises(NotFound):
        seen.locate("notes://unlisted")
    full = await Allowed().view("git")
    assert full.locate("git://unlisted").uri == "git://unlisted"


async def test_what_is_seen_alone_can_not_be_called() -> None:
    seen = await Allowed().view()
    assert seen.require("tool", seen.entries("tool")["git__add"], "git__add") is EVERYTHING
    with pytest.raises(NotAllowed, match="You may see the tool notes__add and not call it"):
        seen.require("tool", seen.entries("tool")["notes__add"], "notes__add")


async def test_a_view_is_made_anew_when_permissions_change() -> None:
    allowed = Allowed()
    before = await allowed.view()
    assert await allowed.view() is before
    allowed.permissions = Permissions()
    allowed.cache.forget_all()
    assert list((await allowed.view()).entries("tool")) == []
    assert len((await allowed.views.view(OPERATOR)).entries("tool")) == 6
