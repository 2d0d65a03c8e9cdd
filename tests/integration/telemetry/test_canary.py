"""Secrets stay out of the log lines of a call, in both formats, at the most talkative level, and out of its metrics."""

import logging
import sys
from collections.abc import Callable, Iterator

import pytest
from pydantic import SecretStr

from nexus_hub.errors import HubError
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.telemetry.bus import subscribe
from nexus_hub.telemetry.exposition import write_page
from nexus_hub.telemetry.logs import OWN_LOGGERS, LogFormat, configure_logging
from nexus_hub.telemetry.metrics import Metrics
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from tests.acceptance.test_secrets import UPSTREAM, shows
from tests.fixtures.canary_logins import CANARY
from tests.fixtures.library import Library


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[LogFormat], Callable[[], str]]]:
    """Configures the log as a process does; gives what was written since. All is put back afterwards."""
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions

    def configure(style: LogFormat) -> Callable[[], str]:
        configure_logging(style, "debug")
        return lambda: capsys.readouterr().err

    yield configure
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    metrics = Metrics()
    with subscribe(metrics):
        yield metrics


@pytest.mark.parametrize("style", ["plain", "json"])
async def test_nothing_of_a_call_and_of_its_server_is_logged(
    library: Library, written: Callable[[LogFormat], Callable[[], str]], style: LogFormat, metrics: Metrics
) -> None:
    output = written(style)
    command = (str(UPSTREAM), f"--token={CANARY}")
    config = StdioConfig(command=sys.executable, args=command, env={"TOKEN": SecretStr(CANARY)})
    away = HttpConfig(url=f"http://127.0.0.1:9/{CANARY}?key={CANARY}", headers={"Authorization": SecretStr(CANARY)})
    server = await library.servers.register("srv", config)
    with pytest.raises(HubError):
        await library.servers.register("away", away)
    for tool in ("say", "fail", "raise", "die"):
        job_id = await library.submitted(JobRequest("tool_invoke", f"srv__{tool}", {"text": CANARY}))
        try:
            await library.ran(job_id)
        except HubError as error:
            logging.getLogger("nexus_hub.tests").warning("it failed: %s", error.code, exc_info=error)
    with pytest.raises(HubError):
        await library.submitted(JobRequest("tool_invoke", "srv__say", {CANARY: CANARY}))
    lines = output()
    assert str(server.id) in lines
    assert "upstream" in lines
    assert not shows(lines.encode())
    page, _ = write_page(metrics.collect())
    assert b'server="srv"' in page
    assert not shows(page)
