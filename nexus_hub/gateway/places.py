"""Places: addresses of `/mcp`, by the jobs that are seen there."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from nexus_hub.errors import NotFound
from nexus_hub.models import ServerRef


@dataclass(frozen=True, slots=True)
class CallPlace:
    """The address of all servers, of one, or of a bundle: a token for one is good for nothing of the others.

    A job is of the address by whose names it was asked for, and so one by a bundle's name of no server's.
    """

    server: ServerRef | None = None
    bundle: str | None = None

    @property
    def filters(self) -> dict[str, Any]:
        """The jobs that are seen here, as a list of calls is asked for them."""
        return {"server_ref_id": None if self.server is None else self.server.server_ref_id, "bundle": self.bundle}

    def require(self, kind: str, job_id: object, server_ref_id: UUID | None, called_as: str | None) -> None:
        """Let a job be seen here, by its server and the name of a bundle by which it was asked for.

        Raises:
            NotFound: it is of another address.
        """
        is_of_server = self.server is None or (self.server.server_ref_id == server_ref_id and called_as is None)
        is_of_bundle = self.bundle is None or (called_as or "").partition("__")[0] == self.bundle
        if not (is_of_server and is_of_bundle):
            raise NotFound(kind, job_id)


EVERYWHERE = CallPlace()
