"""Bad input gets one clear error, and nothing is half stored."""

import json
from pathlib import Path

import pytest

from tests.fixtures.hub import TIME_SERVER, Hub
from tests.fixtures.upstreams import free_port

pytestmark = pytest.mark.stack
TOOL = "time__get_current_time"


def counts(hub: Hub) -> tuple[int, int]:
    """How many jobs and servers there are."""
    with hub.api() as api:
        jobs = api.get("/v1/jobs", params={"limit": 1000}).json()["items"]
        return len(jobs), len(api.get("/v1/servers").json()["items"])


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        ({"name": "time__nothing"}, 404, "not-found", "There is no tool 'time__nothing'."),
        ({"name": TOOL}, 422, "invalid-arguments", "'timezone' is required"),
        ({"name": TOOL, "arguments": {"timezone": 1}}, 422, "invalid-arguments", "timezone: must be of type string"),
        ({"name": TOOL, "arguments": []}, 422, "invalid-request", "arguments"),
        ({"name": {"server": "time", "uri": "x://y"}}, 400, "invalid-request", "name must be {server, uri}"),
        ({"job_type": "resource_fetch", "name": TOOL}, 400, "invalid-request", "name must be {server, uri}"),
        ({"job_type": "cache_refresh", "name": TOOL}, 422, "invalid-request", "job_type"),
        ({"name": TOOL, "arguments": {"timezone": "UTC"}, "timeout_seconds": 0}, 400, "invalid-request", "timeout"),
        ({"name": TOOL, "arguments": {"timezone": "UTC"}, "max_attempts": 99}, 400, "invalid-request", "max_attempts"),
        ({"name": TOOL, "arguments": {"timezone": "U" * 1024 * 1024}}, 413, "too-large", "limit of 1048576"),
        ({"name": TOOL, "arguments": {"timezone": "U" * 5 * 1024 * 1024}}, 413, "too-large", "A body of"),
    ],
)
def test_a_bad_job_is_refused_and_not_stored(
    hub: Hub, body: dict[str, object], status: int, code: str, says: str
) -> None:
    before = counts(hub)
    with hub.api() as api:
        answer = api.post("/v1/jobs", json=body)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert says in problem["detail"]
    assert problem["error"] == problem["detail"]
    assert counts(hub) == before


@pytest.mark.parametrize("authorization", [None, "Bearer undefined", "Bearer", "Bearer nxh_guess", "Basic YTpi"])
def test_a_wrong_token_is_a_401(hub: Hub, authorization: str | None) -> None:
    with hub.api() as api:
        api.headers.pop("Authorization")
        answer = api.get("/v1/jobs", headers={"Authorization": authorization} if authorization is not None else {})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer resource_metadata=")
    assert answer.json()["code"] == "not-authenticated"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("time", "--command", *TIME_SERVER), 1, "The server 'time' is registered already"),
        (("no spaces", "--command", *TIME_SERVER), 2, "can't be the name of a server"),
        (("two__bars", "--command", *TIME_SERVER), 2, "can't be the name of a server"),
        (("nobody", "--command", "no-such-command-anywhere"), 1, "was not found; check its spelling"),
        (("quits", "--command", "false"), 1, "quits"),
        (("both", "--url", "http://127.0.0.1:1/mcp", "--command", *TIME_SERVER), 2, "either a url"),
        (("neither",), 2, "either a url"),
        (("odd", "--url", "ftp://127.0.0.1/mcp"), 2, "must be http:// or https://"),
        (("zero", "--limit-per-minute", "0", "--command", *TIME_SERVER), 2, "limit_per_minute"),
        (("headed", "--header", "novalue", "--url", "http://127.0.0.1:1/mcp"), 2, "--header number 1"),
        (("whose", "--owner", "nobody-here", "--url", "http://127.0.0.1:1/mcp"), 1, "There is no user 'nobody-here'"),
    ],
)
def test_a_bad_server_is_refused_in_one_line(hub: Hub, arguments: tuple[str, ...], code: int, says: str) -> None:
    before = counts(hub)
    added = hub.run("server", "add", *arguments)
    assert added.code == code, added.err
    assert says in added.err
    assert added.err.count("\n") == 1, added.err
    assert counts(hub) == before


def test_a_server_that_does_not_answer_is_not_registered(hub: Hub) -> None:
    before = counts(hub)
    added = hub.run("server", "add", "silent", "--url", f"http://127.0.0.1:{free_port()}/mcp")
    assert added.code == 1
    assert "silent" in added.err
    assert counts(hub) == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"theme": "dark"}', "mcpServers"),
    ],
)
def test_a_malformed_mcp_json_registers_nothing(hub: Hub, tmp_path: Path, text: str, says: str) -> None:
    before = counts(hub)
    (tmp_path / "mcp.json").write_text(text)
    imported = hub.run("server", "import", str(tmp_path / "mcp.json"))
    assert imported.code == 2
    assert says in imported.err
    assert counts(hub) == before


def test_an_mcp_json_is_imported_server_by_server(hub: Hub, tmp_path: Path) -> None:
    command, *arguments = TIME_SERVER
    entries = {
        "imported": {"command": command, "args": arguments},
        "time": {"command": "true"},
        "a": {"type": "sse", "url": "http://x/"},
        "b": {"url": "http://x/${NEXUS_TEST_UNSET}"},
    }
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": entries}))
    imported = hub.run("server", "import", str(tmp_path / "mcp.json"))
    assert imported.code == 1
    assert "imported is registered: 2 tools" in imported.out
    assert "The name 'time' is taken" in imported.err
    assert "'sse'" in imported.err
    assert "NEXUS_TEST_UNSET" in imported.err
    assert hub.run("server", "remove", "imported").code == 0


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("VAULT_ENCRYPTION_KEY", "too short", "VAULT_ENCRYPTION_KEY must be exactly 64 hexadecimal digits"),
        ("VAULT_ENCRYPTION_KEY", "0" * 64, "is all zero"),
        ("VAULT_ENCRYPTION_KEY", "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=", "exactly 64 hexadecimal digits"),
        ("NEXUS_SERVICE_KEY", "short", "NEXUS_SERVICE_KEY"),
        ("NEXUS_PORT", "70000", "NEXUS_PORT"),
    ],
)
def test_the_api_does_not_start_with_a_bad_setting(hub: Hub, setting: str, value: str, says: str) -> None:
    broken = Hub(hub.home, hub.port, hub.prefect_port, hub.extra | {setting: value})
    started = broken.run("api") if setting != "NEXUS_PORT" else Hub(hub.home, 70000, 1, {}).run("api")
    assert started.code != 0
    assert says in started.err
    assert "Traceback" not in started.err
    assert value not in started.err


def test_an_ended_job_can_not_be_cancelled(hub: Hub) -> None:
    job = hub.called({"name": TOOL, "arguments": {"timezone": "UTC"}})
    with hub.api() as api:
        answer = api.delete(f"/v1/jobs/{job['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "job-ended")
    assert hub.run("job", "cancel", job["id"]).code == 1


def test_wrong_use_exits_with_2_and_a_hub_that_is_away_with_1(hub: Hub) -> None:
    assert hub.run("call").code == 2
    assert hub.run("call", TOOL, "not json").code == 2
    away = Hub(hub.home, free_port(), hub.prefect_port)
    gone = away.run("tools")
    assert gone.code == 1
    assert "nexus-hub up" in gone.err


def test_waiting_ends_with_3_when_the_time_is_over(hub: Hub) -> None:
    called = hub.run("call", TOOL, '{"timezone": "UTC"}', "--timeout", "0", "--json")
    assert called.code == 3
    assert called.json()["status"] in {"pending", "running"}
    assert hub.ended(called.json()["id"])["status"] == "completed"
