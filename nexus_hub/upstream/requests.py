"""Requests to an upstream server: call a tool, read a resource, get a prompt, complete an argument.

The `meta` of a request are its caller's own words: see nexus_hub.upstream.meta for those that are passed on.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

OnProgress = Callable[[float, float | None, str | None], Awaitable[None]]
"""Receives progress, total and message of every progress notification of one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRound:
    """Answers to what a server of 2026-07-28 asked for before it answers this request, and the state it gave along."""

    input_responses: dict[str, Any] | None = field(default=None, repr=False)
    request_state: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ToolCall(InputRound):
    """`tools/call` of the tool that the server itself calls `name`.

    `as_task`: the tool can only be called as a core task, where its server's version has those.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict, repr=False)
    meta: dict[str, Any] | None = field(default=None, repr=False)
    as_task: bool = False


@dataclass(frozen=True, slots=True)
class ResourceRead(InputRound):
    """`resources/read` of one URI."""

    uri: str
    meta: dict[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PromptGet(InputRound):
    """`prompts/get` of the prompt that the server itself calls `name`."""

    name: str
    arguments: dict[str, str] = field(default_factory=dict, repr=False)
    meta: dict[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Completion(InputRound):
    """`completion/complete` of an argument of a prompt or a resource template, by the server's own names for them."""

    ref: dict[str, Any]
    argument: dict[str, Any] = field(repr=False)
    context: dict[str, Any] | None = field(default=None, repr=False)
    meta: dict[str, Any] | None = field(default=None, repr=False)


UpstreamRequest = ToolCall | ResourceRead | PromptGet | Completion
