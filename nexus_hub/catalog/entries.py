"""Entries of the catalog, as they are read from the database."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from nexus_hub.models import ServerRef, ServerType


@dataclass(frozen=True, slots=True)
class DueServer:
    """A server that is to be read anew."""

    server_type: ServerType
    server_ref_id: UUID
    name: str

    @property
    def ref(self) -> ServerRef:
        """The server's reference."""
        return ServerRef(self.server_type, self.server_ref_id)


@dataclass(frozen=True, slots=True)
class NamedEntry:
    """A tool or prompt behind its namespaced name; `name` is the server's own, `definition` is as on the wire."""

    server_type: ServerType
    server_ref_id: UUID
    name: str
    namespaced_name: str
    definition: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """A tool; `name` is the namespaced one."""

    id: UUID
    name: str
    title: str | None
    description: str | None
    server_type: ServerType
    server_ref_id: UUID
    tool_name: str
    definition: dict[str, Any]
    expires_at: datetime
    stale: bool


@dataclass(frozen=True, slots=True)
class ResourceEntry:
    """A resource or resource template; `name` is its URI."""

    id: UUID
    name: str
    resource_name: str | None
    title: str | None
    description: str | None
    mime_type: str | None
    is_template: bool
    server: str
    server_type: ServerType
    server_ref_id: UUID
    definition: dict[str, Any]
    expires_at: datetime
    stale: bool


@dataclass(frozen=True, slots=True)
class PromptEntry:
    """A prompt; `name` is the namespaced one."""

    id: UUID
    name: str
    title: str | None
    description: str | None
    server_type: ServerType
    server_ref_id: UUID
    prompt_name: str
    definition: dict[str, Any]
    expires_at: datetime
    stale: bool
