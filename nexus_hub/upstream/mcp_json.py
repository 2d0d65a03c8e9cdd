"""Reader of the `mcp.json` file of MCP clients: {"mcpServers": {name: {command, args, env} | {url, headers}}}."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import SecretStr

from nexus_hub.errors import InvalidConfig
from nexus_hub.upstream.addresses import split_url
from nexus_hub.upstream.config import HttpConfig, StdioConfig

_HTTP_TYPES = ("http", "streamable-http", "streamableHttp")
_REFUSED_KEYS = {
    "cwd": "the hub has no working directory for servers; use absolute paths in 'command' and 'args'",
    "envFile": "the hub reads no env files; put the variables into 'env'",
    "oauth": "the hub does not log in by OAuth; put a token into 'headers'",
}
"""Keys of some clients without which the server would be another one. All other unknown keys are passed over."""
_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_ANY_VARIABLE = re.compile(r"\$\{([^}]*)\}")


def parse(text: str, environment: Mapping[str, str]) -> list[tuple[str, HttpConfig | StdioConfig]]:
    """Read the servers of an mcp.json file in its order, without those that are disabled.

    `${VAR}`, `${env:VAR}` and `${VAR:-default}` in values are replaced from `environment`. Raises InvalidConfig, which
    names the entry and the key and never a value.
    """
    servers = _parse_object(text).get("mcpServers")
    if not isinstance(servers, dict):
        raise InvalidConfig('The file has no object "mcpServers"; write {"mcpServers": {"name": {...}}}.')
    entries = [_Entry(name, value, environment) for name, value in servers.items()]
    return [(entry.name, entry.config()) for entry in entries if not entry.disabled]


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


class _Entry:
    """A server of the file."""

    def __init__(self, name: str, value: Any, environment: Mapping[str, str]) -> None:
        self.name = name
        self._environment = environment
        if not isinstance(value, dict):
            raise InvalidConfig(f"The entry {name[:80]!r} is not a JSON object.")
        self._value: dict[str, Any] = value

    @property
    def disabled(self) -> bool:
        """True if the file says that this server is not to be used."""
        return self._value.get("disabled") is True or self._value.get("enabled") is False

    def config(self) -> HttpConfig | StdioConfig:
        for key, advice in _REFUSED_KEYS.items():
            if key in self._value:
                raise self._wrong(key, advice)
        return self._choose_reader()()

    def _choose_reader(self) -> Callable[[], HttpConfig | StdioConfig]:
        kind = self._value.get("type")
        if kind == "sse":
            raise self._wrong("type", "'sse' is not supported; use the server's streamable HTTP URL and type 'http'")
        if kind is not None and kind not in (*_HTTP_TYPES, "stdio"):
            raise self._wrong("type", "it must be 'http', 'streamable-http' or 'stdio'")
        if ("command" in self._value) == ("url" in self._value):
            raise self._wrong("command", "give either 'command' or 'url'")
        is_http = "url" in self._value
        if kind is not None and (kind in _HTTP_TYPES) != is_http:
            raise self._wrong("type", f"it does not fit the key {'url' if is_http else 'command'!r}")
        return self._read_http if is_http else self._read_stdio

    def _read_http(self) -> HttpConfig:
        url = self._read_text("url", self._value["url"])
        try:
            split_url(url)
        except InvalidConfig as error:
            raise self._wrong("url", error.message) from None
        return HttpConfig(url=url, headers=self._read_secrets("headers"))

    def _read_stdio(self) -> StdioConfig:
        args = self._value.get("args", [])
        if not isinstance(args, list):
            raise self._wrong("args", "it must be a list of strings")
        command = self._read_text("command", self._value["command"])
        if not command:
            raise self._wrong("command", "it is empty")
        return StdioConfig(
            command=command,
            args=tuple(self._read_text(f"args[{index}]", arg) for index, arg in enumerate(args)),
            env=self._read_secrets("env"),
        )

    def _read_secrets(self, key: str) -> dict[str, SecretStr]:
        values = self._value.get(key, {})
        if not isinstance(values, dict):
            raise self._wrong(key, "it must be an object of strings")
        return {name: SecretStr(self._read_text(f"{key}.{name[:80]}", value)) for name, value in values.items()}

    def _read_text(self, key: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self._wrong(key, "it must be a string")
        if "\0" in value:
            raise self._wrong(key, "it holds a NUL character")
        return _ANY_VARIABLE.sub(lambda found: self._expand(key, found.group()), value)

    def _expand(self, key: str, reference: str) -> str:
        known = _VARIABLE.fullmatch(reference)
        if known is None:
            raise self._wrong(key, "it refers to something in ${...} that is no environment variable")
        name, default = known.groups()
        value = self._environment.get(name, default)
        if value is None:
            raise self._wrong(key, f"the environment variable {name} is not set")
        return value

    def _wrong(self, key: str, advice: str) -> InvalidConfig:
        return InvalidConfig(f"The key {key!r} of the server {self.name[:80]!r} can't be used: {advice.rstrip('.')}.")
