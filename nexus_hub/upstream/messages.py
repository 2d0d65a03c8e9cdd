"""JSON-RPC messages as servers write them: read leniently, or the reason why they can't be read.

A message that is plain JSON-RPC takes the SDK's fast way. One that is not is read once more: bytes that are no UTF-8
become U+FFFD, lone surrogates and raw control characters stay, words before or after the JSON are passed over, an
error may be a text. No reason holds anything of the bytes.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mcp_types import (
    INTERNAL_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

from nexus_hub.json_text import read, write
from nexus_hub.upstream import cut_results

MOST_BRACKETS = 200_000
"""Objects and arrays of one message, but for the result of a call: a bound on what reading it costs."""
MOST_VALUES = 1000
"""Messages that one body or line may hold."""
MAX_STARTS = 8
"""The places in a text at which JSON is looked for: a bound on the work that noise can make."""
LONGEST_TOKEN = 6
"""The characters of the longest token that is no string: JSON may be cut off in the middle of one."""
EDGE_BYTES = 2048
"""The ends of bytes that can't be read are searched this far for what they were to be."""
NOT_JSON = "it is not JSON"
CUT_OFF = "its JSON is not complete"
TOO_DEEP = "it is nested too deep"
TOO_MANY = "it holds too many values"
LONG_NUMBER = "it holds a number of too many digits"
NOT_AN_OBJECT = "result: must be an object"
NO_OUTCOME = "it holds neither a result nor an error"
NO_ID = "its id is that of no request"

_LISTINGS = {"tools", "resources", "resourceTemplates", "prompts"}
_ODD_NUMBER = re.compile(rb"[0-9][.eE]|-0(?![0-9])")
_DECODER = json.JSONDecoder(strict=False)
_START = re.compile(r'\{\s*(?:"|\Z)|\[\s*(?:\{|\Z)')
_ENVELOPE = re.compile(rb"""["']jsonrpc["']""")
_METHOD = re.compile(rb"""["']method["']\s*:""")
_OUTCOME = re.compile(rb"""["'](?:result|error)["']\s*:""")
_ID = re.compile(rb"""["']id["']\s*:\s*["']?(\d{1,18})""")
_ID_AT_ITS_PLACE = re.compile(rb"""["']jsonrpc["']\s*:\s*["']2\.0["']\s*,\s*["']id["']\s*:\s*["']?(\d{1,18})""")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Bytes, or JSON, that are no message; `ids` are those of the requests that they may be meant to answer.

    `is_answer` tells what was meant as an answer from mere noise; `answer` is what came instead of a result, if that
    is JSON.
    """

    reason: str
    ids: frozenset[RequestId] = frozenset()
    is_answer: bool = True
    answer: Any = None


Item = JSONRPCMessage | Unreadable


def read_messages(raw: bytes) -> list[Item]:
    """Read all messages of some bytes; of bytes without any, an `Unreadable`, or nothing if they are empty."""
    rest, result = cut_results.cut(raw)
    if rest.count(b"[") + rest.count(b"{") > MOST_BRACKETS:
        return [_describe(raw, TOO_MANY)]
    try:
        message = jsonrpc_message_adapter.validate_json(rest, by_name=False)
    except ValidationError:
        return _read_leniently(raw)
    if isinstance(message, JSONRPCRequest | JSONRPCNotification) and b'"result"' in raw:
        return _read_leniently(raw)  # may be an answer that repeats the method
    if isinstance(message, JSONRPCResponse):
        if result is not None:
            message.result[cut_results.MEMBER] = result
        elif _LISTINGS.intersection(message.result) and _ODD_NUMBER.search(rest):
            message.result = read(rest)["result"]
    return [message]


def to_plain(message: JSONRPCMessage) -> dict[str, Any]:
    """Give the members of a message; the parameters of a request are untouched, since the SDK would rewrite them."""
    if not isinstance(message, JSONRPCRequest):
        return message.model_dump(by_alias=True, mode="json", exclude_unset=True)
    return {name: getattr(message, name) for name in JSONRPCRequest.model_fields if name in message.model_fields_set}


def encode(message: dict[str, Any]) -> bytes:
    """Write a message; one with lone surrogates, which are no UTF-8, spells out all that is not ASCII."""
    try:
        return write(message, ensure_ascii=False)
    except UnicodeEncodeError:
        return write(message)


def is_cut_off(items: list[Item]) -> bool:
    """Tell if bytes are the beginning of JSON, of which more may come."""
    return [item.reason for item in items if isinstance(item, Unreadable)] == [CUT_OFF]


def _read_leniently(raw: bytes) -> list[Item]:
    text = raw.decode("utf-8", "replace")
    reason = NOT_JSON
    for attempt in (text, text.replace("\0", "")) if "\0" in text else (text,):
        items: list[Item] = []
        try:
            items += (item for value in _find_values(attempt) if (item := _to_item(value)) is not None)
        except RecursionError:
            reason = TOO_DEEP
        except _CutOffError:
            reason = CUT_OFF
        except ValueError:
            reason = LONG_NUMBER
        if items:
            return items
    return [_describe(raw, reason)] if raw.strip() else []


class _CutOffError(Exception):
    """The end of a text in the middle of JSON."""


def _find_values(text: str) -> Iterator[Any]:
    """Find the objects and arrays in a text, one behind the other, and read each element of an array by itself."""
    position = starts = found = 0
    while starts < MAX_STARTS and found < MOST_VALUES and (match := _START.search(text, position)):
        try:
            value, position = _DECODER.raw_decode(text, match.start())
        except json.JSONDecodeError as error:
            if error.pos >= len(text.rstrip()) - LONGEST_TOKEN or error.msg.startswith("Unterminated string"):
                raise _CutOffError from None
            starts += 1
            position = match.start() + 1
        else:
            values = value[:MOST_VALUES] if isinstance(value, list) else [value]
            found += len(values)
            yield from values


def _to_item(value: Any) -> Item | None:  # noqa: PLR0911
    """Make a message of a JSON value; None if it does not look like one at all."""
    if not isinstance(value, dict):
        return None
    ident = _read_id(value.get("id"))
    result, error = value.get("result"), value.get("error")
    if isinstance(result, dict):
        if ident is None:
            return Unreadable(NO_ID, answer=result)
        return JSONRPCResponse.model_construct(jsonrpc="2.0", id=ident, result=result)
    if error:
        return JSONRPCError(jsonrpc="2.0", id=ident, error=_read_error(error))
    if isinstance(method := value.get("method"), str) and "result" not in value:
        return _to_request(method, ident, value.get("params"))
    ids = frozenset() if ident is None else frozenset({ident})
    if "result" in value:
        return Unreadable(NOT_AN_OBJECT, ids, answer=result)
    if "error" in value or ("jsonrpc" in value and ids):
        return Unreadable(NO_OUTCOME, ids)
    return None


def _to_request(method: str, ident: RequestId | None, params: Any) -> Item:
    given = params if isinstance(params, dict) else None
    if ident is None:
        return JSONRPCNotification.model_construct(jsonrpc="2.0", method=method, params=given)
    return JSONRPCRequest.model_construct(jsonrpc="2.0", id=ident, method=method, params=given)


def _read_id(value: Any) -> RequestId | None:
    """Read an id as the one that was sent: some servers make a text or a float of it."""
    match value:
        case bool():
            return None
        case int():
            return value
        case float() if value.is_integer():
            return int(value)
        case str():
            return int(value) if re.fullmatch(r"\s*[0-9]{1,18}\s*", value, re.ASCII) else value
        case _:
            return None


def _read_error(error: Any) -> ErrorData:
    """Read an error, also one that is a text or whose code is one."""
    if not isinstance(error, dict):
        return ErrorData(code=INTERNAL_ERROR, message=_as_text(error))
    code, message = error.get("code"), _as_text(error.get("message"))
    number = _read_id(code)
    if isinstance(number, int):
        return ErrorData(code=number, message=message, data=error.get("data"))
    words = ": ".join(word for word in (_as_text(code), message) if word)
    return ErrorData(code=INTERNAL_ERROR, message=words, data=error.get("data"))


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _describe(raw: bytes, reason: str) -> Unreadable:
    """Say what bytes without a message seem to be: an answer, and to which requests, or noise."""
    edges = (raw[:EDGE_BYTES] + b" " + raw[-EDGE_BYTES:]).replace(b"\0", b"")
    ids = frozenset(int(found) for found in _ID.findall(edges))
    if own := _ID_AT_ITS_PLACE.search(edges):
        ids = frozenset({int(own[1])})
    has_outcome = _OUTCOME.search(edges) is not None
    is_message = _ENVELOPE.search(edges) is not None
    is_answer = (has_outcome and (is_message or bool(ids))) or (is_message and not _METHOD.search(edges))
    return Unreadable(reason, ids if is_answer else frozenset(), is_answer)
