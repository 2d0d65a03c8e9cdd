"""A part of the stack that is a program of another package: it takes the place of this process."""

import os
import sys
from typing import NoReturn

from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.stack.environments import environment, keep_for, without_proxies


def become(settings: Settings, part: str, module: str) -> NoReturn:
    """Become `python -m module`, in the environment that the stack's own parts have.

    The library does not import flows and deployments; a local directory `flows/` must not stand in for ours.
    """
    home = Home(settings.home)
    variables = without_proxies(keep_for(part, os.environ), settings.prefect_url)
    if settings.embeds_prefect:
        variables = environment(settings, home, part)
    os.execve(sys.executable, [sys.executable, "-m", module], variables | {"PYTHONSAFEPATH": "1"})  # noqa: S606
