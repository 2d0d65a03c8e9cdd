"""Parameters of paths and queries: read as they are written, and no others than a route has."""

import re
from collections import Counter
from typing import Annotated, Any

from fastapi import Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from nexus_hub.api.problems import is_plain
from nexus_hub.paging import LARGEST

_WHOLE = re.compile(r"-?[0-9]{1,40}")


def _read_whole(value: Any) -> Any:
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise PydanticCustomError("int_parsing", "Input should be a whole number")
    return value


def _read_truth(value: Any) -> Any:
    if isinstance(value, str) and value not in {"true", "false"}:
        raise PydanticCustomError("bool_parsing", "Input should be true or false")
    return value


Limit = Annotated[int, BeforeValidator(_read_whole), Query(json_schema_extra={"minimum": 1, "maximum": LARGEST})]
Truth = Annotated[bool, BeforeValidator(_read_truth)]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]
JobId = Annotated[str, Path(json_schema_extra={"format": "uuid"})]


def described(default: Any, **schema: Any) -> Any:
    """Give a member of a body its default, and say in the OpenAPI document what the library holds it against."""
    return Field(default=default, json_schema_extra=schema)


async def refuse_unknown(request: Request) -> None:
    """Refuse parameters that the route does not have, such as a misspelled one, and those that are given twice.

    Raises:
        RequestValidationError: there are some; their names are shown if they are plain words.
    """
    given = Counter(name for name, _ in request.query_params.multi_items())
    if not given:
        return
    known = _find_names(request.scope["route"])
    errors = [
        _refusal(name, "extra_forbidden", "Extra inputs are not permitted") for name in given if name not in known
    ]
    errors += [_refusal(name, "repeated", "Is given twice") for name in known if given[name] > 1]
    if errors:
        raise RequestValidationError(errors)


def _find_names(route: APIRoute) -> set[str]:
    """Find the names of a route's query parameters, and of those of its dependencies."""
    names: set[str] = set()
    pending = [route.dependant]
    while pending:
        one = pending.pop()
        names |= {field.alias for field in one.query_params}
        pending += one.dependencies
    return names


def _refusal(name: str, kind: str, message: str) -> dict[str, Any]:
    return {"type": kind, "loc": ("query", name if is_plain(name) else "*"), "msg": message, "input": None}
