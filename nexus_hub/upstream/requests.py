"""Requests to an upstream server: call a tool, read a resource, get a prompt."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

OnProgress = Callable[[float, float | None, str | None], Awaitable[None]]
"""Receives progress, total and message of every progress notification of one request."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`tools/call` of the tool that the server itself calls `name`."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ResourceRead:
    """`resources/read` of one URI."""

    uri: str


@dataclass(frozen=True, slots=True)
class PromptGet:
    """`prompts/get` of the prompt that the server itself calls `name`."""

    name: str
    arguments: dict[str, str] = field(default_factory=dict, repr=False)


UpstreamRequest = ToolCall | ResourceRead | PromptGet
