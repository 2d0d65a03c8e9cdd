"""Views: what one caller may list and call, decided in one place."""

import time
from uuid import UUID, uuid4

import pytest

from nexus_hub.access.permissions import OPERATORS, Permissions
from nexus_hub.calls.cache import TtlCache
from nexus_hub.errors import NotFound
from nexus_hub.gateway.entries import KINDS, Entry, Kind, OfferingServer, Offers
from nexus_hub.gateway.views import View, Views
from nexus_hub.models import OPERATOR, Principal, ServerRef
from tests.fixtures.bundles import NO_BUNDLES


async def _read_all(_user_id: UUID | None) -> Permissions:
    return OPERATORS


EVERYBODY = TtlCache(_read_all, 60)
ANN, BOB = Principal(uuid4()), Principal(uuid4())


class Shelf:
    """A catalog that holds what a test puts on it."""

    def __init__(self, **offers: Offers) -> None:
        self.by_owner: dict[UUID | None, Offers] = {
            None: offers.get("system", Offers()),
            ANN.user_id: offers.get("ann", Offers()),
            BOB.user_id: offers.get("bob", Offers()),
        }

    async def offers(self, owner: UUID | None) -> Offers:
        return self.by_owner[owner]


def offers(server: str, *names: str, owned: bool = False, kind: Kind = "tool") -> Offers:
    ref = ServerRef("user" if owned else "system", uuid4())
    named = kind in {"tool", "prompt"}
    entries = tuple(
        Entry(ref, server, name, f"{server}__{name}" if named else name, b"{}", time.monotonic(), named)
        for name in names
    )
    shelves: dict[Kind, tuple[Entry, ...]] = {one: entries if one == kind else () for one in KINDS}
    return Offers({server: OfferingServer(ref.server_type, ref.server_ref_id, server, None)}, shelves)


async def view(shelf: Shelf, principal: Principal, server: str | None = None) -> View:
    return await Views(shelf, EVERYBODY, NO_BUNDLES).view(principal, server)  # type: ignore[arg-type]


async def test_a_user_sees_the_systems_and_the_own_and_nobody_elses() -> None:
    shelf = Shelf(
        system=offers("git", "log"), ann=offers("mine", "read", owned=True), bob=offers("his", "x", owned=True)
    )
    assert list((await view(shelf, ANN)).entries("tool")) == ["git__log", "mine__read"]
    assert list((await view(shelf, OPERATOR)).entries("tool")) == ["git__log"]
    assert (await view(shelf, ANN)).find("tool", "his__x") is None
    assert (await view(shelf, OPERATOR)).find("tool", "his__x") is None


async def test_all_that_is_listed_can_be_found_and_nothing_else() -> None:
    shelf = Shelf(system=offers("git", "log", "diff"), ann=offers("git", "log", owned=True))
    seen = await view(shelf, ANN)
    for name, entry in seen.entries("tool").items():
        assert seen.find("tool", name) is entry
    assert seen.find("tool", "git__log").ref.server_type == "user"  # type: ignore[union-attr]
    for wrong in ("git__nothing", "log", "GIT__log", ""):
        assert seen.find("tool", wrong) is None


@pytest.mark.parametrize("name", ["hub__job_wait", "hub__anything"])
async def test_no_server_takes_a_name_of_the_hubs_own(name: str) -> None:
    shelf = Shelf(system=offers("x", name))
    own = await view(shelf, OPERATOR, "x")
    assert list(own.entries("tool")) == []
    assert own.find("tool", name) is None
    named_hub = Shelf(system=offers("hub", "job_wait"))
    assert list((await view(named_hub, OPERATOR)).entries("tool")) == []
    assert list((await view(named_hub, OPERATOR, "hub")).entries("tool")) == ["job_wait"]


async def test_one_servers_view_has_its_own_names_and_no_other_servers() -> None:
    shelf = Shelf(system=offers("git", "log"), ann=offers("mine", "read", owned=True))
    assert list((await view(shelf, ANN, "git")).entries("tool")) == ["log"]
    assert (await view(shelf, ANN, "git")).find("tool", "read") is None
    with pytest.raises(NotFound):
        await view(shelf, BOB, "mine")
    with pytest.raises(NotFound):
        await view(shelf, OPERATOR, "mine")


async def test_a_users_own_server_hides_the_systems_of_the_same_name() -> None:
    shelf = Shelf(system=offers("git", "log"), ann=offers("git", "mine", owned=True))
    assert list((await view(shelf, ANN, "git")).entries("tool")) == ["mine"]
    assert list((await view(shelf, BOB, "git")).entries("tool")) == ["log"]


async def test_a_view_is_made_anew_when_the_catalog_is_read_anew() -> None:
    shelf = Shelf(system=offers("git", "log"))
    views = Views(shelf, EVERYBODY, NO_BUNDLES)  # type: ignore[arg-type]
    first = await views.view(ANN)
    assert await views.view(ANN) is first
    shelf.by_owner[None] = offers("git", "log", "diff")
    assert list((await views.view(ANN)).entries("tool")) == ["git__diff", "git__log"]
