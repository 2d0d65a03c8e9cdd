"""Text of servers and users on Prefect's surfaces: artifacts, run names, log lines, forms."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from markdown_it import MarkdownIt

from flows import run_log, this_run
from flows.artifacts import attempt_page, facts_table, shared_run_page, table
from flows.refresh_catalog import CatalogReport
from flows.rotate_vault_key import RotationPage
from nexus_hub.execution.attempt import Attempt
from nexus_hub.execution.run_report import EndedJobs, RunReport
from nexus_hub.orchestration.tool_choices import offer_tools, offered_tools
from nexus_hub.servers.refresh import RefreshReport
from nexus_hub.vault.rotation import RotationReport
from tests.fixtures.hostile import HOSTILE, is_harmless

ROOT = Path(__file__).parents[2]


def shapes(page: str) -> list[str]:
    """The blocks and inline parts of a page, the texts left out; a text never holds what would become a link."""
    tokens = MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(page)
    inline = [child for token in tokens for child in token.children or []]
    words = " ".join(child.content for child in inline if child.type == "text")
    assert "www." not in words
    assert not any(sign in words for sign in "@/<>&[]|~\\")
    kinds = {child.type for child in inline}
    assert kinds <= {"text", "code_inline", "softbreak"}, page
    return [token.type for token in tokens if token.type != "inline"]


def attempt_of(name: str) -> str:
    job = SimpleNamespace(tool_name=name, job_type="tool_invoke", max_attempts=3, server_ref_id=uuid4())
    attempt = SimpleNamespace(id=uuid4(), number=1, seconds=0.1, job=job, target=SimpleNamespace(name=name))
    return attempt_page(cast("Attempt", attempt), "failed", "tool-error")


def shared_run_of(name: str) -> str:
    return shared_run_page(RunReport(ended=[EndedJobs(name, "failed", name, 1, 0.5, 0.5)], seconds=1))


def catalog_of(name: str) -> str:
    return CatalogReport([RefreshReport(name, 0.1), RefreshReport(name, 0.1, error_code=name)], 1).as_markdown()


def rotation_of(name: str) -> str:
    report = SimpleNamespace(
        old_key_id=name, new_key_id="0123abcd", updated=1, errors=[name, name], seconds=1.0, advice=None
    )
    return RotationPage(cast("RotationReport", report)).as_markdown()


def tables_of(name: str) -> str:
    return f"{facts_table({'server': name})}\n\n{table([{'a': name, 'b': name}], {'a': 'a', 'b': 'b'})}\n"


@pytest.mark.parametrize("page", [attempt_of, shared_run_of, catalog_of, rotation_of, tables_of])
def test_a_page_has_the_same_shape_whatever_the_names_are(page: Any) -> None:
    plain = shapes(page("name"))
    for name in HOSTILE:
        written = page(name)
        assert shapes(written) == plain, name
        assert is_harmless(written, lines=True)


def test_names_of_runs_are_harmless_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in HOSTILE:
        run = SimpleNamespace(parameters={"server": name}, id=str(uuid4()))
        monkeypatch.setattr(this_run, "flow_run", run)
        shown = this_run.run_name("{server}", otherwise="due")
        assert is_harmless(shown)
        assert len(shown) <= 85


def test_log_lines_of_runs_are_harmless_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run_log, "_logger", lambda: logging.getLogger("a run's log"))
    caplog.set_level(logging.INFO)
    for name in HOSTILE:
        run_log.write_line("ended: %s", name)
        run_log.write_line(f"100% {name}")
    assert len(caplog.messages) == 2 * len(HOSTILE)
    assert all(is_harmless(message) and len(message) <= 500 for message in caplog.messages)


def test_a_form_offers_no_name_that_may_look_like_another_one() -> None:
    form: dict[str, Any] = {"properties": {"tool": {"type": "string"}}}
    plain = ["srv__echo", "__init__", "1"]
    odd = [name for name in HOSTILE if name not in plain]
    assert offered_tools(offer_tools(form, [*plain, *odd])) == [*plain, *(name for name in odd if name == "---")]


def test_artifacts_and_log_lines_are_written_in_one_place() -> None:
    """New ones have to pass by the functions that keep data data."""
    places = {
        sign: {
            path.name for room in ("flows", "tasks") for path in (ROOT / room).rglob("*.py") if sign in path.read_text()
        }
        for sign in ("_artifact(", "get_run_logger", "flow_run_name=", "log_prints=True", "update_flow_run(")
    }
    assert places["_artifact("] == {"artifacts.py"}
    assert places["get_run_logger"] == places["log_prints=True"] == set()
    assert places["update_flow_run("] == {"this_run.py"}
