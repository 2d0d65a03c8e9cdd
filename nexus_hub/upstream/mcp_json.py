"""Servers in the files of MCP clients: {"mcpServers": {name: {command, args, env} | {url, headers}}}, and its kin.

Entries are read one by one: one that can't be had comes with the reason, and holds up no other.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, NoReturn, cast

from pydantic import (
    AfterValidator,
    AliasChoices,
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
from nexus_hub.upstream.client_files import LOCATIONS, find_inputs, find_repeat, find_servers, read_document
from nexus_hub.upstream.config import SCOPE, HttpConfig, StdioConfig
from nexus_hub.upstream.file_lines import FileLines, Path
from nexus_hub.upstream.server_json import UnusableDescription, describe_servers, is_server_json, read_description
from nexus_hub.upstream.variables import Variables

_HTTP_TYPES = frozenset({"http", "streamablehttp", "remote"})
_STDIO_TYPES = frozenset({"stdio", "local"})
_URLS = ("httpUrl", "serverUrl", "url")
"""Gemini's, Windsurf's and everybody's name for it; the first one counts."""
_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0", ""})


@dataclass(frozen=True, slots=True)
class FileEntry:
    """An entry of a file: a server, or the reason why it can't be had; neither if the file disables it.

    The reason names the entry and the key, and never a value; `line` is where that key or the entry stands. An entry
    that is not `enabled` comes from a registry: it arrives disabled, until somebody has looked at it.
    """

    name: str
    config: HttpConfig | StdioConfig | None = None
    problem: str | None = None
    line: int | None = None
    enabled: bool = True
    shown: str | None = None
    """The command of a package of a registry, with variables in place of values, for whoever is to enable it."""


class _UnusableKey(InvalidConfig):
    """A key of an entry that can't be used; `path` leads to it from the entry."""

    def __init__(self, message: str, path: tuple[str | int, ...]) -> None:
        self.path = path
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Context in which an entry is read; `own` are the names of its environment variables."""

    variables: Variables
    own: frozenset[str] = frozenset()


def parse(text: str, environment: Mapping[str, str], *, toml: bool = False, most: int | None = None) -> list[FileEntry]:
    """Read the servers of a file in its order; references in values are replaced from `environment`.

    Raises:
        InvalidConfig: the file as a whole can't be read, or it has more than `most` servers.
    """
    document = read_document(text, toml=toml)
    lines = FileLines(text, toml=toml)
    if is_server_json(document):
        described = describe_servers(document)
        _check_count(len(described), most)
        return [_read_described(name, one, environment, place, lines) for place, name, one in described]
    reading = _Reading(Variables(environment, find_inputs(document)))
    found = find_servers(document)
    _check_count(len(found), most)
    return [_read_entry(name, entry, reading, place, lines) for place, name, entry in found]


def _check_count(count: int, most: int | None) -> None:
    if most is not None and count > most:
        raise InvalidConfig(f"The file has {count} servers; import {most} at a time.")


def _read_described(
    name: str, described: object, environment: Mapping[str, str], place: Path, lines: FileLines
) -> FileEntry:
    try:
        config = read_description(described, environment)
        return FileEntry(name, config, enabled=False, shown=_show_command(described, environment))
    except UnusableDescription as error:
        where = ".".join(map(str, error.path))
        return FileEntry(
            name, problem=f"{f'{where}: ' if where else ''}{error.message}", line=lines.find(place + error.path)
        )


def _show_command(described: object, environment: Mapping[str, str]) -> str | None:
    """Write the command of a description; what the environment gives is shown by its name, since it may be secret."""
    try:
        config = read_description(described, {name: f"${{{name}}}" for name in environment})
    except UnusableDescription:
        return None
    return shlex.join([config.command, *config.args]) if isinstance(config, StdioConfig) else None


def _read_entry(name: str, entry: object, reading: _Reading, place: Path, lines: FileLines) -> FileEntry:
    try:
        return FileEntry(name, _read(name, entry, reading))
    except _UnusableKey as error:
        return FileEntry(name, problem=error.message, line=lines.find(place + error.path))
    except InvalidConfig as error:
        return FileEntry(name, problem=error.message, line=lines.find(place))
    except RecursionError:
        return FileEntry(name, problem=f"The entry {name[:80]!r} is nested too deeply.")


def _read(name: str, entry: object, reading: _Reading) -> HttpConfig | StdioConfig | None:
    if repeat := find_repeat(entry):
        raise InvalidConfig(str(repeat))
    if not isinstance(entry, dict):
        raise InvalidConfig(f"The entry {name[:80]!r} is not a JSON object.")
    if _is_disabled(name, entry):
        return None
    entry = _flatten({key: value for key, value in entry.items() if value is not None})
    urls = [key for key in _URLS if entry.get(key)]
    if entry.get("source") == "extension":
        raise _wrong(name, "source", "an extension of the editor starts it; give its command or url")
    if not LOCATIONS & entry.keys() or (urls and entry.get("command")):
        raise _wrong(name, "command", "give either 'command' or 'url'")
    model = _HttpEntry if urls or "command" not in entry else _StdioEntry
    own = frozenset(key for place in ("env", "environment") for key in _keys(entry.get(place)))
    try:
        return model.model_validate(entry, context=replace(reading, own=own)).config()
    except ValidationError as invalid:
        error = invalid.errors(include_input=False, include_url=False)[0]
    raise _wrong(name, _name_key(error), _ADVICE.get(error["type"], error["msg"]), error["loc"])


def _keys(value: object) -> list[str]:
    return [*value] if isinstance(value, dict) else []


def _is_disabled(name: str, entry: dict[str, Any]) -> bool:
    off = _read_switch(name, entry, "disabled", otherwise=False)
    return off or not all(_read_switch(name, entry, key, otherwise=True) for key in ("enabled", "isActive"))


def _read_switch(name: str, entry: dict[str, Any], key: str, *, otherwise: bool) -> bool:
    if (value := entry.get(key)) is None:
        return otherwise
    word = str(value).strip().lower()
    if word not in _YES | _NO:
        raise _wrong(name, key, "it must be true or false")
    return word in _YES


def _flatten(entry: dict[str, Any]) -> dict[str, Any]:
    """Write the command of older Zed ({path, args, env}) and of opencode (a list) as that of everybody."""
    match entry.get("command"):
        case {"path": path, **rest}:
            inner = {key: value for key, value in rest.items() if key in {"args", "env"} and value is not None}
            return entry | inner | {"command": path}
        case [command, *arguments] if isinstance(more := entry.get("args", []), list):
            return entry | {"command": command, "args": [*arguments, *more]}
    return entry


def _wrong(name: str, key: str, advice: str, path: tuple[str | int, ...] = ()) -> InvalidConfig:
    words = f"The key {key!r} of the server {name[:80]!r} can't be used: {advice.rstrip('.')}."
    return _UnusableKey(words, path or (key,))


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


def _refuse(advice: str) -> NoReturn:
    raise PydanticCustomError("refused", "{advice}", {"advice": advice})


def _write_scalar(value: object) -> object:
    """Write numbers and booleans, which people don't quote, as JavaScript would."""
    match value:
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < 1e21:
            return str(int(value))
        case int() | float():
            return str(value)
    return value


def _expand(text: str, info: ValidationInfo, *, home: bool = False, keeps_own: bool = False) -> str:
    if "\0" in text:
        _refuse("it holds a NUL character")
    reading = cast("_Reading", info.context)
    try:
        return reading.variables.expand(text, home=home, kept=reading.own if keeps_own else frozenset())
    except InvalidConfig as error:
        _refuse(error.message)
    except RecursionError:
        _refuse("it is nested too deeply")


def _expand_word(text: str, info: ValidationInfo) -> str:
    return _expand(text, info, home=True, keeps_own=True)


def _expand_variable(text: str, info: ValidationInfo) -> str:
    return _expand(text, info, home=True)


def _look_up(name: str, info: ValidationInfo) -> str:
    reading = cast("_Reading", info.context)
    try:
        return reading.variables.look_up(name)
    except InvalidConfig as error:
        _refuse(error.message)


def _check_url(url: str) -> str:
    try:
        split_url(url)
    except InvalidConfig as error:
        _refuse(error.message)
    return url


def _refuse_key(advice: str) -> BeforeValidator:
    """Refuse a key that says anything at all."""

    def refuse(value: object) -> None:
        if value and value != {"enabled": False}:
            _refuse(advice)

    return BeforeValidator(refuse)


_Text = Annotated[str, BeforeValidator(_write_scalar), AfterValidator(_expand)]
_Word = Annotated[str, BeforeValidator(_write_scalar), AfterValidator(_expand_word)]
_Variable = Annotated[str, BeforeValidator(_write_scalar), AfterValidator(_expand_variable)]
_NameOfVariable = Annotated[str, AfterValidator(_look_up)]
_NO_DIRECTORY = "the hub has no working directory for servers; use absolute paths in 'command' and 'args'"
_NO_SUCH_LOGIN = "the hub has no such way to log in; put a token into 'headers'"
_NO_LOGIN_OF_COMMAND = "a command is not logged in at; put its credentials into 'env'"
_DISCOVERED = frozenset({"oauth", "dynamic_discovery"})
"""Words by which FastMCP and Gemini say that a login is to be found out."""


class _Entry(BaseModel):
    """A server of the file. Its refused keys are those without which it would be another server; others are ignored."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)
    types: ClassVar[frozenset[str]]
    key: ClassVar[str]

    cwd: Annotated[None, _refuse_key(_NO_DIRECTORY)] = None
    env_file: Annotated[None, _refuse_key("the hub reads no env files; put the variables into 'env'")] = Field(
        default=None, alias="envFile"
    )
    headers_helper: Annotated[None, _refuse_key("the hub runs no helpers; put the headers into 'headers'")] = Field(
        default=None, alias="headersHelper"
    )
    type: str | None = Field(default=None, validation_alias=AliasChoices("type", "transport", "transportType"))

    @field_validator("type", mode="before")
    @classmethod
    def _fit(cls, value: object) -> object:
        kind = re.sub(r"[-_ ]", "", value).lower() if isinstance(value, str) else ""
        if kind == "sse":
            _refuse("'sse' is not supported; use the server's streamable HTTP URL and type 'http'")
        if kind not in _HTTP_TYPES | _STDIO_TYPES:
            _refuse("it must be 'http', 'streamable-http' or 'stdio'")
        if kind not in cls.types:
            _refuse(f"it does not fit the key {cls.key!r}")
        return value


class _Login(BaseModel):
    """A login of the file: what is not said is found out, as are addresses, which an authorization server names."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)

    client_id: _Text | None = Field(
        default=None, validation_alias=AliasChoices("clientId", "client_id", "CLIENT_ID"), max_length=2048
    )
    client_secret: _Text | None = Field(
        default=None, validation_alias=AliasChoices("clientSecret", "client_secret", "CLIENT_SECRET"), max_length=4096
    )
    scopes: str | list[str] | None = Field(default=None, validation_alias=AliasChoices("scopes", "scope"))
    issuer: _Text | None = None

    @field_validator("scopes", mode="after")
    @classmethod
    def _join(cls, scopes: str | list[str] | None) -> str | None:
        words = " ".join([scopes] if isinstance(scopes, str) else scopes or []).split()
        if not re.fullmatch(SCOPE, " ".join(words)) and words:
            _refuse("they must be names with spaces between")
        return " ".join(words) or None

    def to_login(self) -> dict[str, Any]:
        """Give the login as the hub has it."""
        said = {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "scope": self.scopes,
            "issuer": self.issuer,
        }
        return {"kind": "oauth", **{name: value for name, value in said.items() if value}}


class _HttpEntry(_Entry):
    types, key = _HTTP_TYPES, "url"

    url: Annotated[_Text, AfterValidator(_check_url)] = Field(validation_alias=AliasChoices(*_URLS))
    headers: dict[str, _Text] = Field(default={}, validation_alias=AliasChoices("headers", "http_headers"))
    env_http_headers: dict[str, _NameOfVariable] = {}
    bearer_token_env_var: _NameOfVariable | None = None
    oauth: _Login | None = None
    auth: _Login | None = None
    auth_provider: _Login | None = Field(default=None, alias="authProviderType")

    @field_validator("oauth", "auth", "auth_provider", mode="before")
    @classmethod
    def _fit_login(cls, value: object) -> object:
        """Write a switch, or a word for what is found out, as a login of which nothing is said."""
        match value:
            case False | {"enabled": False}:
                return None
            case True:
                return {}
            case str() if value in _DISCOVERED:
                return {}
            case dict():
                return value
        _refuse(_NO_SUCH_LOGIN)

    def config(self) -> HttpConfig:
        headers = self.headers | self.env_http_headers
        if self.bearer_token_env_var is not None:
            headers["Authorization"] = f"Bearer {self.bearer_token_env_var}"
        said = [login for login in (self.oauth, self.auth, self.auth_provider) if login is not None]
        login = said[0].to_login() if said else None
        return HttpConfig.model_validate({"url": self.url, "headers": headers, "login": login})


class _StdioEntry(_Entry):
    types, key = _STDIO_TYPES, "command"

    oauth: Annotated[None, _refuse_key(_NO_LOGIN_OF_COMMAND)] = None
    auth: Annotated[None, _refuse_key(_NO_LOGIN_OF_COMMAND)] = None
    auth_provider: Annotated[None, _refuse_key(_NO_LOGIN_OF_COMMAND)] = Field(default=None, alias="authProviderType")
    command: Annotated[_Word, Field(min_length=1)]
    args: list[_Word] = []
    env: dict[str, _Variable] = Field(default={}, validation_alias=AliasChoices("env", "environment"))
    env_vars: dict[str, str] = {}

    @field_validator("env_vars", mode="before")
    @classmethod
    def _pass_on(cls, names: object, info: ValidationInfo) -> dict[str, str]:
        """Take the variables that Codex passes on by name, where they are set."""
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            _refuse("it must be a list of strings")
        reading = cast("_Reading", info.context)
        environment = reading.variables.environment
        return {name: environment[name] for name in names if name in environment}

    def config(self) -> StdioConfig:
        env = self.env_vars | self.env
        return StdioConfig.model_validate({"command": self.command, "args": self.args, "env": env})
