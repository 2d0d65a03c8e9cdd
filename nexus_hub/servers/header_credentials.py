"""Headers that people set for servers: one for all, or each user's own."""

import re

from nexus_hub.errors import Conflict, InvalidRequest
from nexus_hub.models import Principal, ServerRef
from nexus_hub.servers.login_requests import LoginRequests
from nexus_hub.servers.login_rows import HeaderCredential
from nexus_hub.servers.logins import Logins
from nexus_hub.upstream.config import HeaderLogin

LONGEST_VALUE = 8192
_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?")


async def set_header(requests: LoginRequests, logins: Logins, principal: Principal, ref: ServerRef, value: str) -> None:
    """Store the value of a server's header, in place of what was there.

    Raises:
        InvalidRequest: it can't be sent.
        NotFound: there is no such server.
        NotAllowed: its login is not this principal's.
        Conflict: it takes no header.
    """
    site = await requests.open_own(principal, ref)
    login = site.config.login
    if not isinstance(login, HeaderLogin):
        name = site.reach.server
        way = f"logs in by OAuth: nexus-hub server login {name}" if login else "wants no login"
        raise Conflict(f"The server {name!r} takes no header; it {way}.")
    if len(value) > LONGEST_VALUE or not _VALUE.fullmatch(value):
        raise InvalidRequest(
            f"The value can't be sent over HTTP: use at most {LONGEST_VALUE} printable ASCII characters, without white "
            "space at its ends."
        )
    await logins.store(site.key, HeaderCredential(login.header, login.prefix + value))
