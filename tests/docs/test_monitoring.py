"""Dashboard, rules and documentation speak of metrics that are exported, with labels that these have."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml  # type: ignore[import-untyped]

from nexus_hub.orchestration.metrics_report import ALL_SPECS
from tests.docs.test_tables import rows
from tests.fixtures.upstreams import ROOT

PLACE = ROOT / "deployments" / "monitoring"
SPECS = {spec.name: spec for spec in ALL_SPECS}
OF_SCRAPE = {"job", "instance"}
FOREIGN = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
"""Of the client library."""
VARIABLES = {"$__rate_interval": "5m", "$datasource": "x", "$job": ".+", "$instance": ".+", "$server": ".+"}


def find_spec(name: str) -> Any:
    """The metric that a series belongs to."""
    for suffix in ("", "_bucket", "_count", "_sum"):
        if name.endswith(suffix) and (spec := SPECS.get(name.removesuffix(suffix))):
            assert (suffix != "") == (spec.kind == "histogram"), name
            return spec
    raise AssertionError(f"{name} is not exported")


def selectors(part: Any, grouped: frozenset[str] = frozenset()) -> Iterator[tuple[str, set[str]]]:
    """The series that an expression reads, with the labels that it expects of them."""
    if isinstance(part, promql_parser.AggregateExpr):
        assert part.modifier is None or part.modifier.type == promql_parser.AggModifierType.By
        yield from selectors(part.expr, frozenset(part.modifier.labels if part.modifier else ()))
    elif isinstance(part, promql_parser.VectorSelector | promql_parser.MatrixSelector):
        vector = part.vector_selector if isinstance(part, promql_parser.MatrixSelector) else part
        yield vector.name or "", {matcher.name for matcher in vector.matchers.matchers} | grouped
    elif isinstance(part, promql_parser.BinaryExpr):
        yield from selectors(part.lhs, grouped)
        yield from selectors(part.rhs, grouped)
    elif isinstance(part, promql_parser.ParenExpr | promql_parser.UnaryExpr | promql_parser.SubqueryExpr):
        yield from selectors(part.expr, grouped)
    elif isinstance(part, promql_parser.Call):
        for argument in part.args:
            yield from selectors(argument, grouped)


def check(expression: str) -> None:
    """Refuse an expression that is none, or reads what nobody exports."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    found = list(selectors(promql_parser.parse(expression)))
    for name, labels in found:
        if name not in FOREIGN:
            spec = find_spec(name)
            known = {*spec.labels, *OF_SCRAPE} | ({"le"} if name.endswith("_bucket") else set())
            assert labels <= known, f"{name} has no label {labels - known}"


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    text = (PLACE / "prometheus-rules.yaml").read_text()
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((PLACE / "grafana.json").read_text())
    return found


def test_every_rule_reads_what_is_exported_and_says_what_to_do(rules: list[dict[str, Any]]) -> None:
    for rule in rules:
        check(rule["expr"])
        assert re.fullmatch(r"\d+[mh]", rule["for"])
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description"}
    assert len({rule["alert"] for rule in rules}) == len(rules)


@pytest.mark.parametrize(
    "expression",
    [
        "nexus_nothing > 1",
        "sum by (user) (nexus_jobs_ended_total)",
        'nexus_up{server="x"}',
        "nexus_up ==",
        "nexus_up_sum",
    ],
)
def test_an_expression_about_what_is_not_there_is_found(expression: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        check(expression)


def test_the_page_lists_every_metric_and_every_alert(rules: list[dict[str, Any]]) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    listed = {
        name.strip("`"): (kind, tuple(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels, _ in rows(page, "| metric | kind | labels | what it says |")
    }
    assert listed == {spec.name: (spec.kind, spec.labels) for spec in ALL_SPECS}
    alerts = {name.strip("`") for name, *_ in rows(page, "| alert | fires when | what to do |")}
    assert alerts == {rule["alert"] for rule in rules}


def test_names_are_as_prometheus_has_them() -> None:
    for spec in ALL_SPECS:
        assert re.fullmatch(r"nexus_[a-z_]+", spec.name)
        assert spec.name.endswith("_total") == (spec.kind == "counter")
        assert spec.kind != "histogram" or spec.name.endswith("_seconds")
        assert {"user", "tool", "user_id", "job_id", "address"}.isdisjoint(spec.labels)


def test_every_panel_reads_what_is_exported(dashboard: dict[str, Any]) -> None:
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    for panel in panels:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["title"]
        for target in panel["targets"]:
            check(target["expr"])
    for variable in dashboard["templating"]["list"][1:]:
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
        assert label in {*find_spec(metric).labels, *OF_SCRAPE}
    variables = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert variables[0] == "datasource"
    used = set(re.findall(r"\$(\w+)", json.dumps(panels))) - {"__rate_interval"}
    assert used <= {*variables}


def test_the_panels_lie_side_by_side(dashboard: dict[str, Any]) -> None:
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(places)
    assert all(place["x"] + place["w"] <= 24 and place["h"] > 0 for place in places)
    for one, other in combinations(places, 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y


def test_prometheus_own_tool_takes_the_files(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing; on Debian: apt-get install prometheus")
    token = tmp_path / "token"
    token.write_text("x")
    config = (PLACE / "prometheus.yaml").read_text().replace("/etc/prometheus/nexus-metrics-token", str(token))
    (tmp_path / "prometheus.yaml").write_text(config)
    shutil.copy(PLACE / "prometheus-rules.yaml", tmp_path)
    for words in (["rules", "prometheus-rules.yaml"], ["config", "prometheus.yaml"]):
        done = subprocess.run([promtool, "check", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
