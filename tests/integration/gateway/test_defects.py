"""Errors that nobody expected: the client is told that there was one, and the log says where."""

from typing import Any

import pytest

from nexus_hub.telemetry.bus import subscribe
from nexus_hub.telemetry.events import DefectFound, TelemetryEvent
from tests.fixtures.mcp_wire import wire
from tests.fixtures.served import SERVICE_KEY, Served


@pytest.mark.parametrize("era", ["2026-07-28", "2025-11-25"])
async def test_a_defect_is_told_of(served: Served, monkeypatch: pytest.MonkeyPatch, era: str) -> None:
    async def fail(_asked: Any) -> dict[str, Any]:
        raise ZeroDivisionError("a secret")

    monkeypatch.setitem(served.app.state.gateway._answers, "prompts/list", fail)
    seen: list[TelemetryEvent] = []
    with subscribe(seen.append):
        async with wire(served.url, SERVICE_KEY) as caller:
            failed = await caller.ask(era, "prompts/list")
            assert (failed.code, b"a secret" in failed.content) == (-32603, False)
            assert (await caller.ask(era, "tools/call", {"name": "no-such-tool"})).code == -32602
            assert (await caller.ask(era, "completion/complete", {"ref": 5})).code == -32602
    (defect,) = [event for event in seen if isinstance(event, DefectFound)]
    assert (defect.kind, "test_defects.py" in defect.place) == ("ZeroDivisionError", True)
    assert "a secret" not in str(defect)
