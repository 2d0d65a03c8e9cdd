"""TLS of the connections to upstream servers: one context for all of a process."""

import os
import ssl
import time
from functools import lru_cache

import httpx2

RENEW_SECONDS = 3600.0
"""Certificates of authorities that were changed on the disk count after so long at most."""


def shared_context() -> ssl.SSLContext:
    """Give the context that all connections share.

    Making one reads all certificates that the machine trusts, for which the event loop stands still: some 20 ms at each
    try to reach a server that is away would be felt by the callers of all others.
    """
    files = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    return _make_context(files, time.monotonic() // RENEW_SECONDS)


@lru_cache(maxsize=1)
def _make_context(files: tuple[str | None, str | None], hour: float) -> ssl.SSLContext:
    del files, hour
    return httpx2.create_ssl_context()
