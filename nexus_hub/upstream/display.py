"""Display form of a server's configuration, without its secrets."""

import re
from pathlib import PurePath
from typing import assert_never
from urllib.parse import urlsplit

from nexus_hub.telemetry.text import LONGEST_LINE, printable
from nexus_hub.upstream.config import HttpConfig, StdioConfig

MASK = "***"
TOKEN_LIKE = re.compile(r"(?=.*[0-9])[^/]{16,}|[^/]{32,}")
"""A segment of a path that looks like a key: some services put theirs into the URL's path."""


def describe_endpoint(config: HttpConfig | StdioConfig) -> str:
    """Describe where a server is, without anything that may be a secret.

    An HTTP server's URL loses userinfo, query and fragment, and segments of its path that look like a key are
    masked; of a command only its base name and the number of its arguments are left.
    """
    match config:
        case HttpConfig():
            return _describe_url(config.url)
        case StdioConfig():
            return _describe_command(config)
    assert_never(config)


def _describe_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return MASK
    host = parts.hostname or MASK
    host = f"[{host}]" if ":" in host else host
    path = "/".join(MASK if TOKEN_LIKE.fullmatch(segment) else segment for segment in parts.path.split("/"))
    return printable(f"{parts.scheme}://{host}{f':{port}' if port else ''}{path}", longest=LONGEST_LINE)


def _describe_command(config: StdioConfig) -> str:
    name = PurePath(config.command).name or MASK
    count = len(config.args)
    return f"{printable(name)} ({count} argument{'' if count == 1 else 's'})"
