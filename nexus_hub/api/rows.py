"""Rows of jobs as answers: the result goes into them as the text that is stored, and nobody reads it on the way."""

import secrets
from typing import Any

from fastapi import Response
from pydantic import TypeAdapter

from nexus_hub.api.problems import Json
from nexus_hub.json_object import JsonObject

_AS_JSON: TypeAdapter[Any] = TypeAdapter(Any)


class JobAnswer(Response):
    """A job's row as an answer."""

    media_type = "application/json"

    def __init__(self, row: dict[str, Any], *, status_code: int = 200, headers: dict[str, str] | None = None) -> None:
        super().__init__(write_row(row), status_code=status_code, headers=headers)


def write_row(row: dict[str, Any]) -> bytes:
    """Write a row in the order of its columns."""
    result = row.get("result")
    if not isinstance(result, JsonObject):
        return _write(row)
    place = secrets.token_hex(16)
    before, after = _write(row | {"result": place}).split(f'"{place}"'.encode())
    return b"".join((before, result.text, after))


def _write(row: dict[str, Any]) -> bytes:
    return bytes(Json(_AS_JSON.dump_python(row, mode="json")).body)
