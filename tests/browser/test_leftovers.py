"""Nothing of the browser of these tests stays behind, however they ended."""

import psutil
import pytest
from playwright.async_api import Browser

from tests.fixtures import run

pytestmark = pytest.mark.asyncio(loop_scope="session")
PROFILE = "--user-data-dir="


async def test_what_the_browser_keeps_is_in_the_directory_of_the_run(chromium: Browser) -> None:
    profiles = {part for one in psutil.Process().children(recursive=True) for part in cmdline(one) if PROFILE in part}
    assert profiles
    assert all(one.startswith(f"{PROFILE}{run.directory()}/") for one in profiles), profiles
    assert list(run.directory().glob("org.chromium.Chromium.*/SingletonSocket"))


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # one that has ended
        return []
