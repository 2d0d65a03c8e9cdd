"""The image's steps run in a bare Debian root, and all parts on what they make: as its user, on a read-only root."""

import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.fixtures.hub import answers, until
from tests.fixtures.postgres import embedded_server, wheel_binaries
from tests.fixtures.upstreams import ROOT, UPSTREAMS, free_port
from tests.installing.bare_root import PROGRAMS, BareRoot, Container, build, container, make_debian, run_to_end
from tests.installing.containerfile import Stage, read
from tests.installing.places import COMPOSE, from_kubernetes

DEBIAN = "NEXUS_TEST_DEBIAN"
"""Names a Debian root that an earlier run made, or a place where one is to be kept."""
START_SECONDS = 600
STAGES = read()
SUITE = STAGES[-1].base.rpartition("-")[2]
missing = [program for program in (*PROGRAMS, "redis-server") if shutil.which(program) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a root"),
    pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: apt-get install debootstrap redis-server"),
]


@dataclass
class Fleet:
    """The parts of a small fleet that run as containers, on services of the machine."""

    root: BareRoot
    stage: Stage
    logs: Path
    values: dict[str, str]
    ports: dict[str, int]
    running: dict[str, Container] = field(default_factory=dict)

    def variables(self, part: str) -> dict[str, str]:
        """The variables that the manifests give the part, with the values of this fleet."""
        (installed,) = (one for one in from_kubernetes() if one.part == part)
        return {name: self.values.get(name, value) for name, value in installed.variables.items()} | {
            name: str(self.ports[part]) for name in PORTS if part in self.ports and PORTS[name] == part
        }

    def once(self, part: str, *words: str, **more: str) -> str:
        """Run a part that ends, or another command with its variables; what it wrote."""
        log = self.logs / f"once-{secrets.token_hex(3)}.log"
        code, wrote = run_to_end(self.root, self.stage, list(words or [part]), self.variables(part) | more, log)
        assert code == 0, f"{words or part}: {code}\n{wrote[-4000:]}"
        return wrote

    @contextmanager
    def part(self, part: str, page: str | None = None) -> Iterator[Container]:
        """Run a part; it has to come up, to be called healthy, and to end well when it is told to."""
        log = self.logs / f"{part}.log"
        variables = self.variables(part)
        with container(self.root, self.stage, [part], variables, log) as started:
            self.running[part] = started
            if page is not None:
                url = f"http://127.0.0.1:{self.ports[part]}{page}"
                until(lambda: answers(url) or started.process.poll() is not None, START_SECONDS, f"{part}: {log}")
            assert started.process.poll() is None, log.read_text()[-4000:]
            yield started
            checked = started.healthy(variables)
            assert checked.returncode == 0, checked.stderr + log.read_text()[-4000:]
            started.first.send_signal(signal.SIGTERM)
            code = started.process.wait(60)
            assert code in (0, 128 + signal.SIGTERM, -signal.SIGTERM), (part, code, log.read_text()[-3000:])


PORTS = {
    "NEXUS_PORT": "api",
    "NEXUS_WORKER_METRICS_PORT": "worker",
    "PREFECT_SERVER_API_PORT": "prefect-server",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> BareRoot:
    """The image's root, made by its own steps."""
    directory = tmp_path_factory.mktemp("image")
    debian = Path(os.environ.get(DEBIAN) or directory / "debian")
    found = BareRoot(debian) if debian.exists() else make_debian(debian, SUITE)
    root = build(STAGES, found, directory)
    shutil.copy(UPSTREAMS / "habits.py", root.inside("/opt/habits.py"))
    return root


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis with the settings of the compose file; its URL without a database."""
    directory, port, password = tmp_path_factory.mktemp("redis"), free_port(), secrets.token_hex(16)
    text = f"bind 127.0.0.1\nport {port}\ndir {directory}\nappendonly yes\nmaxmemory-policy noeviction\n"
    (directory / "redis.conf").write_text(f"{text}requirepass {password}\n")
    process = psutil.Popen(["redis-server", directory / "redis.conf"], stdout=subprocess.DEVNULL)
    try:
        yield f"redis://:{password}@127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def databases() -> Iterator[dict[str, str]]:
    """A PostgreSQL on the loopback with what the compose file makes in it; the passwords and the address."""
    port = free_port()
    made = {name: secrets.token_hex(16) for name in ("OWNER_PASSWORD", "HUB_PASSWORD", "PREFECT_PASSWORD")}
    with embedded_server(port=port) as url:
        subprocess.run(
            [
                wheel_binaries() / "psql",
                "--quiet",
                "--set",
                "ON_ERROR_STOP=1",
                url,
                "--file",
                COMPOSE / "databases.psql",
            ],
            env=os.environ | made,
            check=True,
        )
        yield made | {"address": f"127.0.0.1:{port}"}


@pytest.fixture(scope="module")
def fleet(built: BareRoot, redis: str, databases: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """A fleet whose parts are not started yet."""
    ports = {part: free_port() for part in PORTS.values()}
    address, auth = databases["address"], f"admin:{secrets.token_hex(16)}"
    values = {
        "NEXUS_DATABASE_URL": f"postgresql://nexus_hub:{databases['HUB_PASSWORD']}@{address}/hub",
        "NEXUS_MIGRATION_DATABASE_URL": f"postgresql://nexus_owner:{databases['OWNER_PASSWORD']}@{address}/hub",
        "NEXUS_SERVICE_KEY": secrets.token_hex(16),
        "VAULT_ENCRYPTION_KEY": secrets.token_hex(32),
        "NEXUS_METRICS_PORT": str(free_port()),
        "NEXUS_DRAIN_SECONDS": "1",
        "PREFECT_API_URL": f"http://127.0.0.1:{ports['prefect-server']}/api",
        "PREFECT_API_AUTH_STRING": auth,
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": (
            f"postgresql+asyncpg://prefect:{databases['PREFECT_PASSWORD']}@{address}/prefect"
        ),
        "PREFECT_SERVER_DOCKET_URL": f"{redis}/1",
        "PREFECT_REDIS_MESSAGING_URL": f"{redis}/0",
    }
    return Fleet(built, STAGES[-1], tmp_path_factory.mktemp("logs"), values, ports)


def test_the_steps_leave_what_the_image_runs(built: BareRoot, fleet: Fleet) -> None:
    project = (ROOT / "pyproject.toml").read_text()
    version = fleet.once("deploy", "nexus-hub", "version").strip()
    assert f'version = "{version}"' in project
    for program in ("part", "healthy"):
        assert os.access(built.inside(f"/usr/local/bin/{program}"), os.X_OK)
    assert not built.inside("/opt/nexus-hub/bin/pytest").exists()


def test_nothing_but_two_places_can_be_written(fleet: Fleet) -> None:
    script = "touch /opt/x /usr/x /x 2>&1; touch /tmp/x /var/lib/nexus-hub/x && id -u"
    wrote = fleet.once("deploy", "sh", "-c", script)
    assert wrote.count("Read-only file system") == 3
    assert wrote.split()[-1] == STAGES[-1].last("USER").text.partition(":")[0]


def test_all_parts_run_and_a_job_passes_through_them(fleet: Fleet) -> None:
    fleet.once("prefect-migrate")
    fleet.once("migrate")
    assert "up to date" in fleet.once("migrate"), "twice does no harm"
    with ExitStack() as stack:
        stack.enter_context(fleet.part("prefect-server", "/api/ready"))
        stack.enter_context(fleet.part("prefect-services"))
        fleet.once("deploy")
        stack.enter_context(fleet.part("api", "/readyz"))
        stack.enter_context(fleet.part("worker", "/readyz"))
        operator = {
            "NEXUS_URL": f"http://127.0.0.1:{fleet.ports['api']}",
            "NEXUS_TOKEN": fleet.values["NEXUS_SERVICE_KEY"],
        }

        def command(*words: str) -> str:
            return fleet.once("api", "nexus-hub", *words, **operator)

        command("server", "add", "habits", "--command", "/opt/nexus-hub/bin/python", "/opt/habits.py")
        called = json.loads(command("call", "habits__echo", "{}", "--json"))
        assert called["status"] == "completed"
        checks = json.loads(command("doctor", "--json"))["checks"]
        assert not [check for check in checks if not check["ok"]]
        resident = {part: memory(one) for part, one in fleet.running.items()}
        assert all(resident.values())
        (fleet.logs / "resident.json").write_text(json.dumps(resident))


def memory(one: Container) -> int:
    """The memory of a container's processes, in MiB."""
    return sum(process.memory_info().rss for process in [one.first, *one.first.children(recursive=True)]) >> 20
