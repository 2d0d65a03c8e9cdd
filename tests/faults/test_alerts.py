"""Each alert fires once for real: a Prometheus reads a hub in which what it warns of is made to happen.

Of the rules only `for` is shortened. What takes days is brought about by dates in the database.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
import yaml  # type: ignore[import-untyped]

from nexus_hub.home.layout import Home
from tests.fixtures import run
from tests.fixtures.hub import HABITS, IMPATIENT, Hub, copy_prepared_home, kept_up, until
from tests.fixtures.upstreams import ROOT, UPSTREAMS, free_port

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(1500)]
PLACE = ROOT / "deployments" / "monitoring"
TOKEN = "a-token-for-metrics"
PATIENCE = 150.0
SCRAPE = "6s"
"""Longer than a page takes while the database gives no answer."""
EXTRA = IMPATIENT | {"NEXUS_METRICS_TOKEN": TOKEN, "NEXUS_LEASE_SECONDS": "6", "NEXUS_HEARTBEAT_SECONDS": "2"}
NO_SCHEDULER = {"PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false"}


class Watch:
    """A Prometheus that reads a hub, and the seconds after which its alerts fired."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.fired: dict[str, float] = {}

    def firing(self) -> set[str]:
        """The alerts that fire now."""
        alerts = httpx.get(f"{self._url}/api/v1/alerts").json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def until_fires(self, name: str, act: Callable[[], object] = lambda: None) -> None:
        """Do something over and over until an alert fires."""
        began = time.monotonic()
        while name not in self.firing():
            assert time.monotonic() - began < PATIENCE, f"{name} has not fired; {self.firing()} do"
            act()
            time.sleep(0.3)
        self.fired[name] = time.monotonic() - began

    def until_quiet(self, *names: str) -> None:
        """Wait until alerts have ended."""
        until(lambda: not self.firing() & set(names), PATIENCE, f"the end of {names}")

    def has_read(self, job: str) -> bool:
        """Tell if a page could be read lately."""
        query = {"query": f'min_over_time(up{{job="{job}"}}[15s])'}
        found = httpx.get(f"{self._url}/api/v1/query", params=query).json()["data"]["result"]
        return bool(found) and found[0]["value"][1] == "1"


@contextmanager
def prometheus(directory: Path, port: int) -> Iterator[Watch]:
    """Prometheus with the shipped files, but quicker, reading the hub on that port."""
    program = shutil.which("prometheus")
    assert program is not None
    (directory / "token").write_text(TOKEN)
    config = yaml.safe_load((PLACE / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE, "evaluation_interval": "1s"}
    for job in config["scrape_configs"]:
        job["authorization"]["credentials_file"] = str(directory / "token")
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
    rules = re.sub(r"for: \d+[mh]", "for: 1s", (PLACE / "prometheus-rules.yaml").read_text())
    (directory / "prometheus-rules.yaml").write_text(rules)
    own = free_port()
    words = ["--config.file=prometheus.yaml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{own}"]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([program, *words], cwd=directory, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{own}"
        until(lambda: _is_up(f"{url}/-/ready"), 30, "Prometheus")
        yield Watch(url)
    finally:
        process.terminate()
        process.wait(30)


def _is_up(url: str) -> bool:
    """Tell if something answers there."""
    try:
        return httpx.get(url).status_code < 500
    except httpx.HTTPError:
        return False


@contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    """Stop a process and its descendants, which go on after the block."""
    family = [process, *process.children(recursive=True)]
    for one in family:
        one.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGCONT)


def kill(hub: Hub, name: str) -> None:
    """Kill a part, whatever state it is in."""
    with suppress(StopIteration, psutil.NoSuchProcess):
        hub.kill(name)


def change(url: str, *statements: str) -> None:
    """Change rows by the service's right."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT set_config('nexus.scope', 'service', false)")
        for statement in statements:
            connection.execute(statement.encode())


@contextmanager
def upstream(port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A server over HTTP that can be killed."""
    command = [sys.executable, str(UPSTREAMS / "patient.py"), f"--port={port}"]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        until(lambda: _is_up(f"http://127.0.0.1:{port}/"), 60, "the server")
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub(run.new_directory("alerts") / "home", free_port(), free_port(), dict(EXTRA))
    copy_prepared_home(hub.home)
    with kept_up(hub):
        yield hub


@pytest.mark.skipif(not shutil.which("prometheus"), reason="on Debian: apt-get install prometheus")
def test_every_alert_fires_when_it_happens(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = yaml.safe_load((PLACE / "prometheus-rules.yaml").read_text())["groups"][0]["rules"]
    port = free_port()
    with prometheus(tmp_path, hub.port) as watch, upstream(port) as server:
        assert hub.run("server", "add", "patient", "--url", f"http://127.0.0.1:{port}/mcp").code == 0
        assert hub.run("server", "add", "habits", "--command", *HABITS).code == 0
        until(lambda: watch.has_read("nexus-api") and watch.has_read("nexus-worker"), PATIENCE, "both pages")
        watch.until_quiet(*(rule["alert"] for rule in rules))
        by_dates(hub, watch)
        server.kill()
        watch.until_fires("NexusServerDown", lambda: call_in_vain(hub))
        by_a_dead_worker(hub, watch)
        by_silent_services(hub, watch)
        by_a_dead_scheduler(hub, watch)
        assert hub.run("down").code == 0
        watch.until_fires("NexusMetricsGone")
        assert hub.run("up", "--detach").code == 0
        watch.until_quiet("NexusMetricsGone")
    assert watch.fired.keys() == {rule["alert"] for rule in rules}
    with capsys.disabled():
        rows = [f"| `{name}` | {seconds:.0f} s |" for name, seconds in watch.fired.items()]
        sys.stdout.write("\n".join(["", "| alert | fired after |", "|---|---|", *rows, ""]))


def by_dates(hub: Hub, watch: Watch) -> None:
    """Age a catalog and a key, and have the planner take the table for a large one."""
    url, superuser = hub.app_url, Home(hub.home).role_url("postgres", "hub")
    change(url, "UPDATE server_state SET last_refresh_at = now() - interval '3 d' WHERE name = 'habits'")
    watch.until_fires("NexusCatalogStale")
    change(url, "UPDATE server_state SET last_refresh_at = now() WHERE name = 'habits'")
    change(url, "UPDATE system_servers SET created_at = now() - interval '101 d'")
    watch.until_fires("NexusVaultKeyOld")
    change(url, "UPDATE system_servers SET created_at = now()")
    hub.called({"name": "habits__wait", "arguments": {"seconds": 0}})
    pages = "pg_relation_size('job_results') / current_setting('block_size')::integer"
    of_table = "WHERE oid = 'job_results'::regclass"
    change(superuser, "ANALYZE job_results")
    change(superuser, f"UPDATE pg_class SET reltuples = 1000001, relpages = {pages} {of_table}")
    watch.until_fires("NexusJobResultsLarge")
    change(superuser, "ANALYZE job_results")
    watch.until_quiet("NexusCatalogStale", "NexusVaultKeyOld", "NexusJobResultsLarge")


def call_in_vain(hub: Hub) -> None:
    """Call the dead server, now and then."""
    hub.submit({"name": "patient__wait", "arguments": {"seconds": 0}, "max_attempts": 1})
    time.sleep(1)


def by_a_dead_worker(hub: Hub, watch: Watch) -> None:
    """Kill the worker amid a call, again and again, while a job waits."""
    job_id = hub.submit({"name": "habits__wait", "arguments": {"seconds": 300}})["id"]

    def is_under_way() -> bool:
        with hub.api() as api:
            return bool(api.get(f"/v1/jobs/{job_id}").json()["status"] == "running")

    until(is_under_way, 60, "the call")
    time.sleep(2)
    watch.until_fires("NexusWorkerGone", lambda: kill(hub, "worker"))
    waiting = hub.submit({"name": "habits__wait", "arguments": {"seconds": 0}})["id"]
    due = "UPDATE job_results SET available_at = now() - interval '10 min' WHERE status = 'pending'"

    def keep_waiting() -> None:
        kill(hub, "worker")
        change(hub.app_url, f"{due} AND id = '{waiting}'")

    watch.until_fires("NexusQueueStuck", keep_waiting)
    watch.until_fires("NexusOutcomesUnknown", lambda: kill(hub, "worker"))
    assert hub.ended(job_id, seconds=PATIENCE)["error_code"] == "outcome-unknown"
    hub.ended(waiting, seconds=PATIENCE)  # a worker may have been killed amid its call
    watch.until_quiet("NexusWorkerGone", "NexusQueueStuck")


def by_silent_services(hub: Hub, watch: Watch) -> None:
    """Freeze Prefect, then the database."""
    with frozen(psutil.Process(hub.pid("prefect"))):
        watch.until_fires("NexusPrefectDown")
    watch.until_quiet("NexusPrefectDown")
    with frozen(psutil.Process(hub.pid("postgres"))):
        watch.until_fires("NexusDatabaseDown")
    watch.until_quiet("NexusDatabaseDown")


def by_a_dead_scheduler(hub: Hub, watch: Watch) -> None:
    """Start Prefect without its scheduler, when the runs that it had made are used up."""
    assert hub.run("down").code == 0
    hub.extra |= NO_SCHEDULER
    assert hub.run("up", "--detach").code == 0
    with psycopg.connect(hub.prefect_database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM flow_run WHERE auto_scheduled AND state_type = 'SCHEDULED'")
    watch.until_fires("NexusSchedulerDead")
