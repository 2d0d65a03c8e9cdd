"""Generated requests on a running API, with and without what its OpenAPI document allows, by both kinds of token.

Every answer must be one that the document names: its status, its type, its form; a 405 says `Allow`; none is a 5xx but
those of what is away here, which are Prefect and every upstream server.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import hypothesis
import hypothesis.errors
import pytest
import requests
import schemathesis
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks, not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from nexus_hub.errors import UpstreamUnavailable
from nexus_hub.servers import registry
from nexus_hub.upstream.connections import Connections
from nexus_hub.upstream.snapshot import Snapshot
from tests.fixtures.served import SERVICE_KEY, Served
from tests.fixtures.upstreams import own_server

ENDLESS = "/v1/jobs/events"
AWAY = {502, 503}
EXAMPLES = 6
LEFT_OUT = (not_a_server_error, positive_data_acceptance)
"""The first is asked below. A document can't say all that a 400 does: that a cursor is one of ours, for example."""


def cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no network, and run no program: what is generated may be an address or a command of somebody's."""

    async def fail(*_: object) -> Snapshot:
        raise UpstreamUnavailable("away", "The server can't be reached.")

    monkeypatch.setattr(Connections, "inspect", fail)
    monkeypatch.setattr(registry, "check_url", lambda *_, **__: asyncio.sleep(0))


def operations(served: Served) -> list[APIOperation[Any, Any, Any, Any]]:
    schema = schemathesis.openapi.from_dict(served.app.openapi())
    found = [one.ok() for one in schema.exclude(path=ENDLESS).get_all_operations() if isinstance(one, Ok)]
    assert len(found) > 20
    return found


def build(
    operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode, ask: Callable[[Case[Any]], None]
) -> Callable[[], None]:
    """A test of one operation with the same generated requests in each run."""

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def test(case: Case[Any]) -> None:
        ask(case)

    return test


def run(served: Served, token: str) -> tuple[int, set[int]]:
    """Send the requests of all operations; how many, and what statuses came."""
    load_all_checks()
    checks: list[Any] = [check for check in CHECKS.get_all() if check not in LEFT_OUT]
    statuses: list[int] = []
    with requests.Session() as session:

        def ask(case: Case[Any]) -> None:
            headers = {"Authorization": f"Bearer {token}"}
            answer = case.call_and_validate(served.url, session, headers, checks, timeout=60)
            assert answer.status_code < 500 or answer.status_code in AWAY, answer.text
            statuses.append(answer.status_code)

        for operation in operations(served):
            build(operation, GenerationMode.POSITIVE, ask)()
            with suppress(hypothesis.errors.Unsatisfiable):  # nothing of it can be wrong
                build(operation, GenerationMode.NEGATIVE, ask)()
    return len(statuses), set(statuses)


@pytest.mark.parametrize("kind", ["operator", "user"])
async def test_every_answer_to_a_generated_request_is_a_documented_one(
    served: Served, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.runtime.servers.register("habits", own_server("habits"))
    cut_off(monkeypatch)
    token = SERVICE_KEY if kind == "operator" else (await served.user("ann"))[1]
    requests_sent, statuses = await asyncio.to_thread(run, served, token)
    assert requests_sent > 200
    assert statuses >= ({200, 201, 400, 404, 422} if kind == "operator" else {200, 400, 403, 404, 422})
