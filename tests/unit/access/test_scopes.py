"""Scopes: the table of routes, and names of scopes."""

import pytest

from nexus_hub.access.scopes import LABELS, OFFERED, ROUTES, SCOPES, find_route_need, parse_scopes, require
from nexus_hub.errors import InsufficientScope, InvalidRequest
from nexus_hub.models import OPERATOR, Principal


def test_every_scope_has_a_label_and_all_but_that_for_managing_are_offered() -> None:
    assert set(LABELS) == set(SCOPES) == {*OFFERED, "admin"}


def test_a_route_is_found_whatever_its_parameters_are_called() -> None:
    assert find_route_need("GET", "/v1/jobs/{job_id}") == ROUTES["GET /v1/jobs/{}"] == {"jobs"}
    assert find_route_need("GET", "/v1/tools/{name:path}") == {"tools:list"}


def test_a_route_that_nobody_has_thought_of_needs_to_manage() -> None:
    assert find_route_need("GET", "/v1/new") == {"admin"}


def test_who_lacks_a_scope_is_told_all_that_are_needed() -> None:
    with pytest.raises(InsufficientScope) as refused:
        require(Principal(scopes=frozenset({"jobs"})), find_route_need("POST", "/v1/jobs"))
    assert refused.value.scopes == ["jobs", "tools:call"]
    require(Principal(scopes=frozenset({"jobs", "tools:call"})), find_route_need("POST", "/v1/jobs"))
    require(OPERATOR, find_route_need("POST", "/v1/users"))


@pytest.mark.parametrize("names", [[], ["tools"], ["jobs", "tools"], [""]])
def test_what_is_no_scope_is_refused(names: list[str]) -> None:
    with pytest.raises(InvalidRequest):
        parse_scopes(names)


def test_scopes_are_read_and_none_given_means_all() -> None:
    assert parse_scopes(["jobs", "jobs", "tools:list"]) == frozenset({"jobs", "tools:list"})
    assert parse_scopes(None) is None
