"""The same parts against a PostgreSQL and a Prefect of somebody else, each started by itself, by environment alone."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from nexus_hub.vault.keys import VaultKey
from tests.fixtures.hub import TIME_SERVER, Hub, answers, outside_postgres, process, until
from tests.fixtures.upstreams import free_port

pytestmark = pytest.mark.stack
SERVICE_KEY = "a-service-key-of-the-tests"
PREFECT_AUTH = "admin:of-the-tests"


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory, postgres_admin_url: str, postgres_roles: None) -> Iterator[Hub]:
    """Prefect's own server, our API and our worker as three processes that `up` knows nothing of."""
    directory = tmp_path_factory.mktemp("apart")
    hub = Hub(directory / "home", free_port(), free_port())
    with ExitStack() as stack:
        variables = dict(stack.enter_context(outside_postgres(postgres_admin_url)))
        prefect_database = variables.pop("PREFECT_SERVER_DATABASE_CONNECTION_URL")
        hub.extra |= variables | {
            "PREFECT_API_URL": hub.prefect_url,
            "PREFECT_API_AUTH_STRING": PREFECT_AUTH,
            "PREFECT_HOME": str(directory / "prefect"),
            "NEXUS_SERVICE_KEY": SERVICE_KEY,
            "NEXUS_TOKEN": SERVICE_KEY,
            "VAULT_ENCRYPTION_KEY": VaultKey.generate().reveal(),
        }
        server = hub.environment | {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": prefect_database,
            "PREFECT_SERVER_API_AUTH_STRING": PREFECT_AUTH,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }
        command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui", "--port", str(hub.prefect_port)]
        stack.enter_context(process(directory, "prefect", command, server))
        user, _, password = PREFECT_AUTH.partition(":")
        until(lambda: answers(f"{hub.prefect_url}/health", (user, password)), 180, "Prefect")
        for step in ("migrate", "deploy"):
            done = hub.run(step)
            assert done.code == 0, (step, done.err)
        for part in ("api", "worker"):
            stack.enter_context(process(directory, part, [sys.executable, "-m", "nexus_hub", part], hub.environment))
        until(lambda: answers(f"{hub.url}/readyz"), 60, "the API")
        yield hub


def test_a_job_runs_with_nothing_of_the_embedded_stack(apart: Hub) -> None:
    assert apart.run("server", "add", "time", "--command", *TIME_SERVER).code == 0
    called = apart.run("call", "time__get_current_time", '{"timezone": "UTC"}', "--json")
    assert called.code == 0, called.err
    assert called.json()["status"] == "completed"
    assert not apart.home.exists(), "the embedded default's home is not even made"


def test_migrating_and_deploying_again_changes_nothing(apart: Hub) -> None:
    again = apart.run("migrate")
    assert (again.code, "applied" in again.out) == (0, False)
    assert apart.run("deploy").code == 0
    assert apart.run("call", "time__get_current_time", '{"timezone": "UTC"}').code == 0
