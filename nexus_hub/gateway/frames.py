"""Messages of JSON-RPC as the bridge sees them: their kind, id and era, and the headers that HTTP wants beside them.

The SDK is imported only for what is rare: it takes longer to import than all else of a bridge together.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from nexus_hub.json_text import read, write

VERSION, SESSION = "mcp-protocol-version", "mcp-session-id"
PARSE_ERROR, INVALID_REQUEST, CONNECTION_CLOSED = -32700, -32600, -32000
_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
_NAMED = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""The parameter of a method that the header Mcp-Name repeats."""
_REPEATABLE = frozenset(
    {"initialize", "server/discover", "ping", "resources/read", "prompts/get", "completion/complete", "tasks/get"}
    | {"logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/result"}
)
_PLAIN = re.compile(r"(?!=\?)[!-~](?:[ -~]*[!-~])?")


@dataclass(frozen=True, slots=True)
class Frame:
    """A message and the bytes that it came as: a request with method and id, a notice without id, or an answer."""

    body: bytes
    content: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, content: dict[str, Any]) -> Self:
        """Write a message of the bridge's own."""
        return cls(write(content), content)

    @property
    def method(self) -> str | None:
        """The method; None for an answer."""
        method = self.content.get("method")
        return method if isinstance(method, str) else None

    @property
    def is_request(self) -> bool:
        """True if it wants an answer."""
        return self.method is not None and "id" in self.content

    @property
    def is_answer(self) -> bool:
        """True for a result or an error."""
        return self.method is None and ("result" in self.content or "error" in self.content)

    @property
    def key(self) -> tuple[str, str]:
        """The id, in a form that tells 1 from "1"."""
        return name_id(self.content.get("id"))

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters by name; none where it has none."""
        params = self.content.get("params")
        return params if isinstance(params, dict) else {}

    @property
    def version(self) -> str | None:
        """The protocol that the message itself names, as those since 2026-07-28 do."""
        meta = self.params.get("_meta")
        version = meta.get(_VERSION_KEY) if isinstance(meta, dict) else None
        return version if isinstance(version, str) else None

    @property
    def is_repeatable(self) -> bool:
        """True if it may be sent again though the hub may have had it already."""
        return self.method in _REPEATABLE or (self.method or "").endswith("/list")


def read_frame(data: bytes) -> Frame | list[Any]:
    """Read a message, or a batch of them.

    Raises:
        ValueError: it is no JSON, or neither of these.
    """
    try:
        content = read(data)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if isinstance(content, dict):
        return Frame(data, content)
    if isinstance(content, list):
        return content
    raise ValueError("it is neither an object nor a list")


def name_id(ident: object) -> tuple[str, str]:
    """Write an id with its type: JSON-RPC tells 1 from "1"."""
    return type(ident).__name__, str(ident)


def one_line(data: bytes) -> bytes:
    """Write JSON in one line; raw line ends stand only between its tokens."""
    return data.replace(b"\r", b" ").replace(b"\n", b" ") if b"\n" in data or b"\r" in data else data


class Marks:
    """Arguments that tools want repeated in headers (`x-mcp-header`), learned from the lists that pass."""

    def __init__(self) -> None:
        self._by_tool: dict[str, dict[tuple[str, ...], str]] = {}

    def learn(self, answer: Frame) -> None:
        """Learn from the answer to `tools/list`."""
        if not self._by_tool and b"x-mcp-header" not in answer.body:
            return
        from mcp.shared.inbound import find_invalid_x_mcp_header, x_mcp_header_map

        result = answer.content.get("result")
        tools = result.get("tools") if isinstance(result, dict) else None
        for tool in tools if isinstance(tools, list) else []:
            if isinstance(tool, dict) and isinstance(name := tool.get("name"), str):
                schema = tool.get("inputSchema")
                self._by_tool[name] = {} if find_invalid_x_mcp_header(schema) else x_mcp_header_map(schema)

    def headers(self, call: Frame) -> dict[str, str]:
        """Give the headers of a call."""
        name, arguments = call.params.get("name"), call.params.get("arguments")
        found = self._by_tool.get(name) if isinstance(name, str) else None
        if not found or not isinstance(arguments, dict):
            return {}
        from mcp.shared.inbound import mcp_param_headers

        return mcp_param_headers(found, arguments)


def split_batch(batch: list[Any]) -> list[Frame]:
    """Take the messages of a batch one by one, as the hub does."""
    return [Frame.of(one) if isinstance(one, dict) else Frame(b"", {}) for one in batch]


def read_detail(content: bytes) -> str | None:
    """Find the sentence of one of the API's problems; None if it is none."""
    try:
        problem = json.loads(content)
    except ValueError:
        return None
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return detail if isinstance(detail, str) else None


def routing_headers(frame: Frame, version: str, marks: Marks) -> dict[str, str]:
    """Give the headers of a message that names its protocol itself."""
    method = frame.method or ""
    named = {VERSION: version, "mcp-method": method}
    if isinstance(name := frame.params.get(_NAMED.get(method, "")), str):
        named["mcp-name"] = name
    headers = {key: encoded for key, value in named.items() if (encoded := _encode(value)) is not None}
    return headers | (marks.headers(frame) if method == "tools/call" else {})


def _encode(value: str) -> str | None:
    """Write the value of a header; None if it can't be: the hub then says so."""
    if _PLAIN.fullmatch(value):
        return value
    from mcp.shared.inbound import encode_header_value

    try:
        return encode_header_value(value)
    except UnicodeEncodeError:
        return None
