"""`up`, `down` and `status`, on small stacks."""

import json
import signal
import socket
from typing import Any

import pytest

from nexus_hub.cli import stack
from nexus_hub.errors import NotConfigured
from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.stack import prefect_server
from nexus_hub.stack.secrets import create_secrets
from tests.integration.stack.conftest import Running, StartStack, still_alive


def shown(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def said(running: Running) -> tuple[int, str, str]:
    out, err = running.process.communicate(timeout=60)
    return running.process.returncode, out, err


def test_status_of_a_stopped_hub_names_its_parts_and_fails(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stack.status(settings, as_json=True) == 1
    document = shown(capsys)
    assert [part["name"] for part in document["parts"]] == ["postgres", "prefect", "api", "worker"]
    assert not any(part["healthy"] or part["pid"] for part in document["parts"])
    assert document["phase"] == "stopped"
    assert not settings.home.exists()
    assert stack.status(settings) == 1
    assert "is not running; start it with: nexus-hub up" in capsys.readouterr().out


def test_down_of_a_stopped_hub_says_so(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert stack.down(settings) == 0
    assert "is not running" in capsys.readouterr().out


def test_status_and_down_of_a_running_hub(
    settings: Settings, start: StartStack, capsys: pytest.CaptureFixture[str]
) -> None:
    running = start("two_webs")
    running.ready()
    family = running.processes()
    assert stack.status(settings, as_json=True) == 0
    document = shown(capsys)
    assert [(part["name"], part["port"], part["healthy"]) for part in document["parts"]] == [
        ("prefect", settings.prefect_port, True),
        ("api", settings.port, True),
    ]
    assert document["pid"] == running.process.pid
    assert stack.down(settings) == 0
    code, out, err = said(running)
    assert (code, err) == (0, "")
    assert "prefect: up port" in out
    assert "Stop it with Ctrl-C" in out
    assert still_alive(family) == []
    assert stack.status(settings) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_way_to_end_the_supervisor_ends_its_parts(start: StartStack, number: signal.Signals) -> None:
    running = start("two_webs")
    running.ready()
    family = running.processes()
    running.process.send_signal(number)
    assert said(running)[0] == 0
    assert still_alive(family) == []


def test_ctrl_c_while_it_starts_leaves_nothing(start: StartStack) -> None:
    running = start("two_webs")
    running.wait_until(lambda state: bool(state.parts) and state.parts[0].pid is not None)
    family = running.processes()
    running.process.send_signal(signal.SIGINT)
    assert said(running)[0] == 0
    assert still_alive(family) == []


def test_a_second_up_says_so_and_succeeds(
    settings: Settings, start: StartStack, capsys: pytest.CaptureFixture[str]
) -> None:
    first = start("two_webs")
    state = first.ready()
    code, out, _ = said(start("two_webs"))
    assert code == 0
    assert f"already running as process {first.process.pid}" in out
    assert stack.up(settings, detach=True) == 0
    assert "already running" in capsys.readouterr().out
    assert [part.pid for part in first.ready().parts] == [part.pid for part in state.parts]


def test_up_with_a_taken_port_starts_nothing(settings: Settings, start: StartStack) -> None:
    with socket.create_server(("127.0.0.1", settings.prefect_port)):
        code, _, err = said(start("two_webs"))
    assert code == 1
    assert str(settings.prefect_port) in err
    assert "NEXUS_PREFECT_PORT" in err
    assert not list(Home(settings.home).logs.iterdir())


def test_up_that_fails_shows_the_log_of_the_part_and_ends_the_others(settings: Settings, start: StartStack) -> None:
    code, out, err = said(start("one_broken"))
    assert code == 1
    assert "no paper" in err
    assert "The part api did not come up" in err
    assert "prefect: up" in out
    assert stack.status(settings) == 1


def test_secrets_are_never_shown(settings: Settings, start: StartStack) -> None:
    running = start("two_webs")
    running.ready()
    home = Home(settings.home)
    running.process.terminate()
    _, out, err = said(running)
    assert home.service_key() not in out + err
    assert home.prefect_auth() not in out + err
    assert home.prefect_auth() not in home.state_file.read_text()


def test_prefect_is_never_open(settings: Settings, home: Home) -> None:
    home.create()
    create_secrets(home, settings)
    environment = prefect_server.server_environment(settings, home)
    assert environment["PREFECT_SERVER_API_AUTH_STRING"].startswith("admin:")
    assert len(environment["PREFECT_SERVER_API_AUTH_STRING"]) > 20
    assert environment["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == (
        f"http://127.0.0.1:{settings.prefect_port},http://localhost:{settings.prefect_port}"
    )


def test_prefect_beside_an_outside_database_needs_one_of_its_own(home: Home) -> None:
    outside = Settings.model_validate({"home": home.path, "database_url": "postgresql://db.example/hub"})
    home.create()
    create_secrets(home, outside)
    with pytest.raises(NotConfigured, match="PREFECT_SERVER_DATABASE_CONNECTION_URL"):
        prefect_server.server_environment(outside, home)
