"""The environments of the parts: no secret that a part does not need, and no proxy between them."""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nexus_hub.address import goes_direct, is_loopback
from nexus_hub.client import HubClient
from nexus_hub.errors import ApiProblem, PrefectUnavailable
from nexus_hub.home.layout import Home
from nexus_hub.orchestration.prefect_client import PrefectClient
from nexus_hub.settings import Settings
from nexus_hub.stack.environments import keep_for, without_proxies
from nexus_hub.stack.parts import whole_stack
from nexus_hub.stack.process import Command, output
from nexus_hub.stack.secrets import create_secrets
from nexus_hub.stack.services import Service
from nexus_hub.upstream.config import StdioConfig
from nexus_hub.upstream.stdio import stdio_streams
from tests.integration.stack.plans import free_port

PROXIES = [name for word in ("http_proxy", "https_proxy", "all_proxy") for name in (word, word.upper())]
VAULT = ("VAULT_ENCRYPTION_KEY", "VAULT_OLD_KEY", "VAULT_NEW_KEY")
CANARY = "canary-in-a-coal-mine"
TRACES = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
NEEDED = {
    "api": {"NEXUS_SERVICE_KEY", *VAULT, *TRACES},
    "worker": {*VAULT, *TRACES},
    "prefect": set(),
    "deploy": set(),
}
SECRETS = (*VAULT, *TRACES, "NEXUS_SERVICE_KEY", "NEXUS_TOKEN", "NEXUS_MIGRATION_DATABASE_URL")


@pytest.fixture
def knocks() -> Iterator[tuple[str, list[str]]]:
    """A proxy that refuses everything, and what it was told."""
    told: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def answer(self) -> None:
            told.append(f"{self.requestline} {self.headers}")
            self.send_error(502)

        do_GET = do_POST = do_CONNECT = answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", told
    server.shutdown()
    server.server_close()


def commands(settings: Settings, home: Home) -> dict[str, Command]:
    """The programs that `up` starts, with the environments that it gives them."""
    home.create()
    create_secrets(home, settings)
    plan = whole_stack(settings, home)
    return {item.name: item.command for item in plan if isinstance(item, Service)}


async def environment_of(command: Command) -> dict[str, str]:
    """The environment that a program really has which is started like that."""
    tell = (sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))")
    seen: dict[str, str] = json.loads(await output(replace(command, arguments=tell)))
    return seen


@pytest.mark.parametrize("form", [str.upper, str.lower, str.title], ids=["upper", "lower", "title"])
async def test_a_part_has_no_secret_that_it_does_not_need(
    settings: Settings, home: Home, monkeypatch: pytest.MonkeyPatch, form: Callable[[str], str]
) -> None:
    for name in (*SECRETS, "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(form(name), CANARY)
    for part, command in commands(settings, home).items():
        if part == "postgres":
            assert CANARY not in command.env.values()
            continue
        seen = {name.upper() for name, value in (await environment_of(command)).items() if value == CANARY}
        assert seen - {"AWS_SECRET_ACCESS_KEY"} == NEEDED[part]
        assert part != "prefect" or not seen


def test_the_deployment_of_the_flows_has_none_either() -> None:
    kept = keep_for("deploy", dict.fromkeys(SECRETS, CANARY) | {"PATH": "x"})
    assert kept == {"PATH": "x"}


@pytest.mark.parametrize("variable", PROXIES)
async def test_keys_go_past_the_proxies_of_the_environment(
    knocks: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    proxy, told = knocks
    for name in (*PROXIES, "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, proxy)
    for url in (f"http://127.0.0.1:{free_port()}", f"http://localhost:{free_port()}", "http://hub.invalid"):
        async with HubClient(url, CANARY, timeout=5) as client:
            with suppress(ApiProblem):
                await client.request("GET", "/v1/jobs")
        async with PrefectClient(f"{url}/api", f"admin:{CANARY}", timeout=5) as prefect:
            with suppress(PrefectUnavailable):
                await prefect.request("GET", "/health")
    assert told == []


async def test_a_hub_behind_tls_is_reached_through_the_proxy(
    knocks: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy is told the host alone."""
    proxy, told = knocks
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    async with HubClient("https://hub.invalid", CANARY, timeout=5) as client:
        with pytest.raises(ApiProblem):
            await client.request("GET", "/v1/jobs")
    assert len(told) == 1
    assert "CONNECT hub.invalid:443" in told[0]
    assert CANARY not in told[0]


@pytest.mark.parametrize("variable", PROXIES)
async def test_prefects_own_client_in_our_parts_goes_past_them(
    settings: Settings, home: Home, knocks: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """By the rule that httpx and urllib share, which Prefect's clients and its events stand on."""
    proxy, told = knocks
    monkeypatch.setenv(variable, proxy)
    monkeypatch.setenv("no_proxy", "other.example")
    ask = (
        "import httpx, os, urllib.request\n"
        "client = httpx.Client(base_url=os.environ['PREFECT_API_URL'], auth=('admin', 'canary'), timeout=5)\n"
        "try: client.get('/health')\n"
        "except httpx.HTTPError: pass\n"
        "print(*(bool(urllib.request.proxy_bypass(host)) for host in ('127.0.0.1:4200', 'other.example')))\n"
    )
    for part in ("worker", "prefect"):
        command = replace(commands(settings, home)[part], arguments=(sys.executable, "-c", ask))
        assert (await output(command)).split() == ["True", "True"]
    assert told == []


def test_own_parts_join_those_that_go_past_the_proxies_already() -> None:
    made = without_proxies({"NO_PROXY": "a.example, b.example", "x": "y"}, "http://prefect.lan:4200/api", "https://far")
    assert made["no_proxy"] == made["NO_PROXY"]
    assert made["no_proxy"].split(",") == [
        *("a.example", "b.example", "127.0.0.1", "localhost", "::1", "0.0.0.0", "prefect.lan"),
    ]
    assert made["x"] == "y"


@pytest.mark.parametrize(
    ("url", "loopback", "direct"),
    [
        ("http://127.0.0.1:1/x", True, True),
        ("http://127.9.9.9", True, True),
        ("http://LOCALHOST.:1", True, True),
        ("https://a.localhost", True, True),
        ("http://[::1]:1", True, True),
        ("https://[::1]:1", True, True),
        ("http://hub.lan", False, True),
        ("HTTPS://hub.example", False, False),
        ("https://127.0.0.1.example", False, False),
        ("http://[", False, True),
    ],
)
def test_what_goes_direct(url: str, loopback: bool, direct: bool) -> None:
    assert (is_loopback(url), goes_direct(url)) == (loopback, direct)


async def test_a_stdio_server_gets_nothing_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SECRETS, *PROXIES, "PREFECT_API_AUTH_STRING", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, CANARY)
    seen = tmp_path / "seen.json"
    tell = f"import json, os; open({str(seen)!r}, 'w').write(json.dumps(dict(os.environ)))"
    config = StdioConfig(command=sys.executable, args=("-c", tell))
    async with asyncio.timeout(60), stdio_streams(config, None, 1024):
        while not seen.exists() or not seen.read_text():
            await asyncio.sleep(0.02)
    environment = json.loads(seen.read_text())
    assert CANARY not in environment.values()
    assert {"HOME", "PATH"} & os.environ.keys() <= environment.keys()
