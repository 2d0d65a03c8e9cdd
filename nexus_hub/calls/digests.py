"""Digest of a call: what a person's yes is bound to."""

import hashlib
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any

from nexus_hub.json_text import Number, write
from nexus_hub.models import ServerRef
from nexus_hub.upstream.requests import Completion, PromptGet, ResourceRead, ToolCall, UpstreamRequest


def digest_call(ref: ServerRef, request: UpstreamRequest) -> bytes:
    """Make the SHA-256 over the server, the kind and name of what is called, and the exact arguments that are sent.

    Numbers count by their value: what PostgreSQL keeps of one may be written in another form.
    """
    match request:
        case ToolCall():
            said: list[object] = ["tool", request.name, request.arguments]
        case PromptGet():
            said = ["prompt", request.name, request.arguments]
        case ResourceRead():
            said = ["resource", request.uri]
        case Completion():
            said = ["completion", request.ref, request.argument]
    text = write([str(ref), *map(_by_value, said)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text).digest()


def _by_value(value: Any) -> Any:
    match value:
        case dict():
            return {key: _by_value(item) for key, item in value.items()}
        case list():
            return [_by_value(item) for item in value]
        case bool():
            return value
        case int() | float() | Number():
            return _write_number(value)
        case _:
            return value


def _write_number(number: float | Number) -> float | Number:
    """Write a number in the one form that its value has: all its digits, and an exponent."""
    text = number.text if isinstance(number, Number) else repr(number)
    with suppress(InvalidOperation):  # of an exponent that nobody can read: as it was sent
        sign, digits, exponent = Decimal(text).as_tuple()
        if isinstance(exponent, int):
            kept = "".join(map(str, digits)).lstrip("0")
            plain = kept.rstrip("0")
            if not plain:
                return 0
            return Number(f"{'-' if sign else ''}{plain}e{exponent + len(kept) - len(plain)}")
    return number
