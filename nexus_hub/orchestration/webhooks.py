"""Webhooks: a JSON body, signed if there is a secret, sent again where that may help; their URLs are shown nowhere."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential

from nexus_hub import __version__
from nexus_hub.address import goes_direct
from nexus_hub.errors import HubError

TIMEOUT_SECONDS = 10.0
ATTEMPTS = 3
SIGNATURE = "X-Nexus-Signature"


class AlertUndelivered(HubError):
    """A webhook does not take what it is told; the next round tries again."""

    code = "alert-undelivered"
    status = 502

    def __init__(self, setting: str, what: str, why: str) -> None:
        super().__init__(f"{setting} could not be told of {what}: {why}.")


@dataclass(frozen=True, slots=True)
class Webhook:
    """The webhook of a setting. A redirect is not followed: what is signed is for this address."""

    setting: str
    url: SecretStr
    secret: SecretStr | None = None
    first_pause: float = 1.0

    async def send(self, what: str, payload: Mapping[str, Any]) -> None:
        """Send a payload, again after a pause where that may help.

        Raises:
            AlertUndelivered: the webhook does not take it.
        """
        url, body = self.url.get_secret_value(), json.dumps(payload).encode()
        headers = {"Content-Type": "application/json", "User-Agent": f"nexus-hub/{__version__}"}
        if self.secret is not None:
            headers[SIGNATURE] = sign(body, self.secret.get_secret_value())
        transport = httpx.AsyncHTTPTransport() if goes_direct(url) else None  # past all proxies
        retrying = AsyncRetrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(self.first_pause),
            reraise=True,
        )
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, transport=transport, headers=headers) as client:
                await retrying(_post, client, url, body)
        except httpx.HTTPStatusError as error:
            raise AlertUndelivered(self.setting, what, f"it answers {error.response.status_code}") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise AlertUndelivered(self.setting, what, type(error).__name__) from None


def sign(body: bytes, secret: str) -> str:
    """Sign a body: `sha256=` and the HMAC in hexadecimal digits, as the receiver computes it of the bytes it got."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


async def _post(client: httpx.AsyncClient, url: str, body: bytes) -> None:
    answer = await client.post(url, content=body)
    if not answer.is_success:
        raise httpx.HTTPStatusError("refused", request=answer.request, response=answer)


def _may_pass(error: BaseException) -> bool:
    """Tell if another try may help: after what the network did, or a server that can't at the moment."""
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return status >= 500 or status == httpx.codes.TOO_MANY_REQUESTS
    return isinstance(error, httpx.TransportError)
