"""The `mcp.json` file of MCP clients: {"mcpServers": {name: {command, args, env} | {url, headers}}}."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NoReturn

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from nexus_hub.errors import InvalidConfig
from nexus_hub.upstream.addresses import split_url
from nexus_hub.upstream.config import HttpConfig, StdioConfig

_HTTP_TYPES = ("http", "streamable-http", "streamableHttp")
_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_ANY_VARIABLE = re.compile(r"\$\{([^}]*)\}")


def parse(text: str, environment: Mapping[str, str]) -> list[tuple[str, HttpConfig | StdioConfig]]:
    """Read the servers of an mcp.json file in its order, without those that are disabled.

    `${VAR}`, `${env:VAR}` and `${VAR:-default}` in values are replaced from `environment`.

    Raises:
        InvalidConfig: it names the entry and the key, and never a value.
    """
    servers = _parse_object(text).get("mcpServers")
    if not isinstance(servers, dict):
        raise InvalidConfig('The file has no object "mcpServers"; write {"mcpServers": {"name": {...}}}.')
    return [(name, _read(name, entry, environment)) for name, entry in servers.items() if not _is_disabled(entry)]


def _parse_object(text: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_refuse_repeats)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidConfig(f"The file is not JSON: {error.msg} at {place}.") from None
    except RecursionError:
        raise InvalidConfig("The file is nested too deeply.") from None
    if not isinstance(parsed, dict):
        raise InvalidConfig('The file is not a JSON object; write {"mcpServers": {"name": {...}}}.')
    return parsed


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidConfig(f"The file has the key {name[:80]!r} twice in one object; keep one of them.")
        found[name] = value
    return found


def _is_disabled(entry: object) -> bool:
    return isinstance(entry, dict) and (entry.get("disabled") is True or entry.get("enabled") is False)


def _read(name: str, entry: object, environment: Mapping[str, str]) -> HttpConfig | StdioConfig:
    if not isinstance(entry, dict):
        raise InvalidConfig(f"The entry {name[:80]!r} is not a JSON object.")
    if ("command" in entry) == ("url" in entry):
        raise _wrong(name, "command", "give either 'command' or 'url'")
    model = _HttpEntry if "url" in entry else _StdioEntry
    try:
        return model.model_validate(entry, context=environment).config()
    except ValidationError as invalid:
        error = invalid.errors(include_input=False, include_url=False)[0]
    raise _wrong(name, _name_key(error), _ADVICE.get(error["type"], error["msg"]))


def _wrong(name: str, key: str, advice: str) -> InvalidConfig:
    return InvalidConfig(f"The key {key!r} of the server {name[:80]!r} can't be used: {advice.rstrip('.')}.")


_ADVICE = {
    "string_type": "it must be a string",
    "too_short": "it is empty",
    "list_type": "it must be a list of strings",
    "dict_type": "it must be an object of strings",
}
"""Advice by pydantic's kind of error; the kinds of our own bring theirs."""


def _name_key(error: ErrorDetails) -> str:
    """Write the place of an error as `headers.Authorization` or `args[1]`."""
    key, *rest = error["loc"]
    return str(key) + "".join(f"[{part}]" if isinstance(part, int) else f".{part[:80]}" for part in rest)


def _expand(text: str, info: ValidationInfo) -> str:
    if "\0" in text:
        _refuse("it holds a NUL character")
    return _ANY_VARIABLE.sub(lambda found: _look_up(found.group(), info.context), text)


def _look_up(reference: str, environment: Any) -> str:
    known = _VARIABLE.fullmatch(reference)
    if known is None:
        _refuse("it refers to something in ${...} that is no environment variable")
    name, default = known.groups()
    value: str | None = environment.get(name, default)
    return _refuse(f"the environment variable {name} is not set") if value is None else value


def _check_url(url: str) -> str:
    try:
        split_url(url)
    except InvalidConfig as error:
        _refuse(error.message)
    return url


def _refuse(advice: str) -> NoReturn:
    raise PydanticCustomError("refused", "{advice}", {"advice": advice})


def _refuse_key(advice: str) -> BeforeValidator:
    """Refuse a key whatever its value is."""

    def refuse(_value: object) -> NoReturn:
        _refuse(advice)

    return BeforeValidator(refuse)


_Text = Annotated[str, AfterValidator(_expand)]


class _Entry(BaseModel):
    """A server of the file. Its refused keys are those without which it would be another server; others are ignored."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)
    types: ClassVar[tuple[str, ...]]
    key: ClassVar[str]

    cwd: Annotated[
        None,
        _refuse_key("the hub has no working directory for servers; use absolute paths in 'command' and 'args'"),
    ] = None
    env_file: Annotated[None, _refuse_key("the hub reads no env files; put the variables into 'env'")] = Field(
        default=None, alias="envFile"
    )
    oauth: Annotated[None, _refuse_key("the hub does not log in by OAuth; put a token into 'headers'")] = None
    type: str | None = None

    @field_validator("type", mode="before")
    @classmethod
    def _fit(cls, value: object) -> object:
        if value == "sse":
            _refuse("'sse' is not supported; use the server's streamable HTTP URL and type 'http'")
        if value is not None and value not in (*_HTTP_TYPES, "stdio"):
            _refuse("it must be 'http', 'streamable-http' or 'stdio'")
        if value is not None and value not in cls.types:
            _refuse(f"it does not fit the key {cls.key!r}")
        return value


class _HttpEntry(_Entry):
    types, key = _HTTP_TYPES, "url"

    url: Annotated[_Text, AfterValidator(_check_url)]
    headers: dict[str, _Text] = Field(default_factory=dict)

    def config(self) -> HttpConfig:
        return HttpConfig.model_validate({"url": self.url, "headers": self.headers})


class _StdioEntry(_Entry):
    types, key = ("stdio",), "command"

    command: Annotated[_Text, Field(min_length=1)]
    args: list[_Text] = Field(default_factory=list)
    env: dict[str, _Text] = Field(default_factory=dict)

    def config(self) -> StdioConfig:
        return StdioConfig.model_validate({"command": self.command, "args": self.args, "env": self.env})
