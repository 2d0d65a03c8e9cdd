"""A fleet for the matrix: its proxy writes down which process each call at `/mcp` was passed to."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from unittest.mock import patch

from deployments.fleet import Fleet, services
from deployments.fleet.proxy import CONFIG
from tests.faults.fleet.callers import TAG
from tests.faults.fleet.place import Place, prepared
from tests.faults.fleet.sent import Passed
from tests.fixtures import run

SETTLED_SECONDS = 120
CALM_SECONDS = 5
LOGGED = f"""    http-request capture req.hdr({TAG}) len 64
    log-format "passed %[capture.req.hdr(0)] to %b/%s %ST %tsc %Tt"
"""
PASSED = re.compile(r"passed (\S+) to [^/]+/(\S+) (\S+) (\S+) (\S+)$", re.MULTILINE)


@contextmanager
def started(*, isolated: bool) -> Iterator[tuple[Fleet, Path]]:
    """Start a fleet, and make a directory for the evidence; both are gone at the end."""
    run.begin()
    try:
        directory = run.new_directory("matrix")
        config = directory / "haproxy.cfg"
        config.write_text(with_log(CONFIG.read_text()))
        extra = {"NEXUS_ALLOW_PRIVATE_UPSTREAMS": "true"}
        with patch.object(services, "CONFIG", config), Fleet(isolated=isolated, extra_env=extra) as fleet:
            yield fleet, directory
    finally:
        run.end()


def with_log(config: str) -> str:
    """Let the configuration that ships log each request at the hub, and keep no connection of a client open."""
    logged = config.replace("local0 notice", "local0 info")
    return re.sub(r"(frontend hub\n +bind .*\n)", rf"\g<1>{LOGGED}", logged)


@asynccontextmanager
async def placed(fleet: Fleet, directory: Path) -> AsyncIterator[Place]:
    """The fleet as the place of the load."""
    async with prepared(
        fleet.url,
        fleet.prefect_url,
        fleet.prefect_auth,
        fleet.service_key,
        fleet.database_url,
        directory,
        host=fleet.host,
    ) as place:
        yield place


def passed(fleet: Fleet) -> Mapping[str, Passed]:
    """Read from the proxy's log how each call was passed on, by the call's tag."""
    text = fleet.part("proxy").log.read_text(errors="replace")
    return {tag: Passed(*rest) for tag, *rest in PASSED.findall(text)}


async def settled(fleet: Fleet) -> None:
    """Wait until all parts are healthy, and a moment more."""
    async with asyncio.timeout(SETTLED_SECONDS):
        while not all(part.is_healthy for part in fleet.parts):
            await asyncio.sleep(0.5)
    await asyncio.sleep(CALM_SECONDS)
