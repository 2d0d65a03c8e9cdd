"""Servers as a registry describes them (`server.json`): a remote one by its URL, else a package by the command of it.

Values that are left to whoever installs the server come from the environment, by the names that the description gives.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from nexus_hub.errors import InvalidConfig
from nexus_hub.upstream.addresses import split_url
from nexus_hub.upstream.config import HttpConfig, StdioConfig

_NAME = re.compile(r"[A-Za-z0-9.\-]+/(?P<own>[A-Za-z0-9._\-]+)")
_VARIABLE = re.compile(r"\{([A-Za-z0-9_\-]+)\}")
_NO_WORD = re.compile(r"[^A-Za-z0-9]+")
_SWITCHES = frozenset({"true", "false"})
LONGEST_VALUE = 64 * 1024
MOST_WAYS = 100
"""Remotes, and packages, of one description."""


class _Described(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True)


class _Input(_Described):
    """A value: given, chosen by default, or left to whoever installs the server."""

    value: str | None = None
    default: str | None = None
    is_required: bool = False
    format: str = "string"
    choices: list[str] | None = None
    variables: dict[str, "_Input"] = {}


class _NamedValue(_Input):
    name: str


class _Argument(_Input):
    type: Literal["positional", "named"]
    name: str | None = None
    value_hint: str | None = None


class _Transport(_Described):
    type: str
    url: str | None = None
    headers: list[_NamedValue] = []
    variables: dict[str, _Input] = {}


class _Package(_Described):
    registry_type: str
    identifier: str
    version: str | None = None
    runtime_hint: str | None = None
    transport: _Transport = Field(default_factory=lambda: _Transport(type="stdio"))
    runtime_arguments: list[_Argument] = []
    package_arguments: list[_Argument] = []
    environment_variables: list[_NamedValue] = []


class _Description(_Described):
    name: str
    packages: list[_Package] = Field(default=[], max_length=MOST_WAYS)
    remotes: list[_Transport] = Field(default=[], max_length=MOST_WAYS)


_Input.model_rebuild()


def is_server_json(document: Mapping[str, Any]) -> bool:
    """Tell if a document is a registry's: the description of a server, or an answer with one or several."""
    return bool(_descriptions(document))


def describe_servers(document: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str, Any]]:
    """Give the descriptions of a document: the place of each, the server's own name, and what is said of it."""
    return [(place, _own_name(one.get("name")), one) for place, one in _descriptions(document)]


def _descriptions(document: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], dict[str, Any]]]:
    if _is_description(document):
        return [((), dict(document))]
    if _is_description(document.get("server")):
        return [(("server",), document["server"])]
    listed = document.get("servers")
    if not isinstance(listed, list) or not listed:
        return []
    found: list[tuple[tuple[str | int, ...], dict[str, Any]]] = []
    for position, one in enumerate(listed):
        inner = one.get("server", one) if isinstance(one, dict) else None
        if not isinstance(inner, dict) or not _is_description(inner):
            return []
        found.append((("servers", position) if inner is one else ("servers", position, "server"), inner))
    return found


def _is_description(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return False
    is_said = "server.schema.json" in str(value.get("$schema", ""))
    return is_said or ("/" in value["name"] and bool({"packages", "remotes"} & value.keys()))


def _own_name(name: object) -> str:
    found = _NAME.fullmatch(name) if isinstance(name, str) else None
    return found["own"] if found else str(name)


class UnusableDescription(InvalidConfig):
    """A description that makes no server here; `path` leads to the part that can't be used."""

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        self.path = path
        super().__init__(message)


def read_description(described: Any, environment: Mapping[str, str]) -> HttpConfig | StdioConfig:
    """Choose how a described server is reached: at a streamable HTTP remote, else by a package's command.

    Raises:
        UnusableDescription: no remote and no package can be had; of several the reason of the first is given.
    """
    try:
        server = _Description.model_validate(described)
    except ValidationError as invalid:
        error = invalid.errors(include_input=False, include_url=False)[0]
        raise UnusableDescription(f"{error['msg']}.", error["loc"]) from None
    problems: list[UnusableDescription] = []
    for path, make in _ways(server, environment):
        try:
            return make()
        except UnusableDescription as problem:
            problem.path = path + problem.path
            problems.append(problem)
        except ValidationError as invalid:
            error = invalid.errors(include_input=False, include_url=False)[0]
            problems.append(UnusableDescription(f"{error['msg']}.", path))
    raise problems[0] if problems else UnusableDescription("It names neither a remote nor a package.")


def _ways(
    server: _Description, environment: Mapping[str, str]
) -> Iterator[tuple[tuple[str | int, ...], Callable[[], HttpConfig | StdioConfig]]]:
    values = _Values(environment)
    for position, remote in enumerate(server.remotes):
        yield ("remotes", position), partial(_make_http, remote, values)
    for position, package in enumerate(server.packages):
        yield ("packages", position), partial(_make_stdio, package, values)


@dataclass(frozen=True, slots=True)
class _Values:
    """Values for inputs: those of the description first, then those of the environment, then defaults."""

    environment: Mapping[str, str]

    def of(self, one: _Input, name: str, path: tuple[str | int, ...]) -> str | None:
        """Give a value; None if there is none and none is needed.

        Raises:
            UnusableDescription: it is needed and not there, or none of its choices.
        """
        if one.value is not None:
            return self.fill(one.value, one.variables, path)
        variable = _variable_of(name)
        value = self.environment.get(name, self.environment.get(variable, one.default))
        if value is None and one.is_required:
            raise UnusableDescription(f"It needs {name[:80]!r}; set the environment variable {variable[:80]}.", path)
        if value is not None and one.choices and value not in one.choices:
            raise UnusableDescription(f"{name[:80]!r} must be one of: {', '.join(one.choices)[:200]}.", path)
        return value

    def fill(self, text: str, variables: Mapping[str, _Input], path: tuple[str | int, ...]) -> str:
        """Fill in the {variables} of a text; braces that name none of them stay.

        Each is looked up once, and what comes out has a bound: variables in variables make much of little.
        """
        filled: dict[str, str] = {}
        length = len(text)

        def replace(found: re.Match[str]) -> str:
            nonlocal length
            name, known = found[1], variables.get(found[1])
            if known is None:
                return found[0]
            if name not in filled:
                filled[name] = self.of(known.model_copy(update={"is_required": True}), name, path) or ""
            length += len(filled[name])
            if length > LONGEST_VALUE:
                raise UnusableDescription(f"With its variables it has more than {LONGEST_VALUE} characters.", path)
            return filled[name]

        return _VARIABLE.sub(replace, text)


def _variable_of(name: str) -> str:
    """Name the environment variable that gives a value: `--api-key` is API_KEY."""
    return _NO_WORD.sub("_", name).strip("_").upper()


def _make_http(remote: _Transport, values: _Values) -> HttpConfig:
    if remote.type != "streamable-http":
        raise UnusableDescription(f"The hub has no transport {remote.type[:40]!r}, only streamable-http.", ("type",))
    if not remote.url:
        raise UnusableDescription("It has no url.")
    url = values.fill(remote.url, remote.variables, ("url",))
    try:
        split_url(url)
    except InvalidConfig as error:
        raise UnusableDescription(error.message, ("url",)) from None
    headers = _collect(remote.headers, values, "headers")
    return HttpConfig.model_validate({"url": url, "headers": headers})


def _make_stdio(package: _Package, values: _Values) -> StdioConfig:
    if package.transport.type != "stdio":
        words = "The package speaks HTTP once it runs; the hub starts packages that speak on stdio."
        raise UnusableDescription(words, ("transport", "type"))
    runner = _RUNNERS.get(package.registry_type)
    if runner is None:
        known = ", ".join(_RUNNERS)
        raise UnusableDescription(
            f"Packages of type {package.registry_type[:40]!r} can't be started here, only: {known}.", ("registryType",)
        )
    if package.runtime_hint not in (None, runner.command):
        raise UnusableDescription(
            f"It wants to be run by {package.runtime_hint[:40]!r}; the hub runs {package.registry_type} packages by "
            f"{runner.command}.",
            ("runtimeHint",),
        )
    if not runner.names.fullmatch(package.identifier):
        raise UnusableDescription(f"This is no name of a package of type {package.registry_type}.", ("identifier",))
    if package.version and not _VERSION.fullmatch(package.version):
        raise UnusableDescription("This is no version of a package.", ("version",))
    env = _collect(package.environment_variables, values, "environmentVariables")
    before = list(_words(package.runtime_arguments, values, "runtimeArguments"))
    after = list(_words(package.package_arguments, values, "packageArguments"))
    args = [*runner.begin(before, env), runner.name(package), *after]
    return StdioConfig.model_validate({"command": runner.command, "args": args, "env": env})


def _collect(said: list[_NamedValue], values: _Values, member: str) -> dict[str, str]:
    found = ((one.name, values.of(one, one.name, (member, position))) for position, one in enumerate(said))
    return {name: value for name, value in found if value is not None}


def _words(arguments: list[_Argument], values: _Values, member: str) -> Iterator[str]:
    """Give the words of a command line; what is neither said nor needed is left out."""
    for position, one in enumerate(arguments):
        name = one.name or one.value_hint or f"argument {position + 1}"
        value = values.of(one, name, (member, position))
        if one.type == "positional":
            yield from [] if value is None else [value]
        elif one.name is not None and one.format == "boolean" and value in _SWITCHES:
            yield from [one.name] if value == "true" else []
        elif one.name is not None and value is not None:
            yield from (one.name, value)
        elif one.name is not None and one.value_hint is None and one.value is None and one.is_required:
            yield one.name


@dataclass(frozen=True, slots=True)
class _Runner:
    """The command that fetches and starts packages of a kind, and the way to name one to it.

    `names` is what the kind's packages are called: whatever else could be an option, an address or a path.
    """

    command: str
    names: re.Pattern[str]
    name: Callable[[_Package], str]
    begin: Callable[[list[str], Mapping[str, str]], list[str]] = lambda words, _: words


def _at(mark: str) -> Callable[[_Package], str]:
    return lambda package: f"{package.identifier}{mark}{package.version}" if package.version else package.identifier


def _begin_container(words: list[str], env: Mapping[str, str]) -> list[str]:
    passed = [word for name in env for word in ("-e", name)]
    return ["run", "-i", "--rm", *passed, *words]


def _name_image(package: _Package) -> str:
    has_tag = "@" in package.identifier or ":" in package.identifier.rpartition("/")[2]
    return package.identifier if has_tag or not package.version else f"{package.identifier}:{package.version}"


_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!:-]*")
_NPM = re.compile(r"(?:@[A-Za-z0-9~._-]+/)?[A-Za-z0-9][A-Za-z0-9._~-]*")
_PYPI = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[A-Za-z0-9._,-]+\])?")
_OCI = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")
_NUGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RUNNERS = {
    "npm": _Runner(
        "npx", _NPM, _at("@"), lambda words, _: words if "-y" in words or "--yes" in words else ["-y", *words]
    ),
    "pypi": _Runner("uvx", _PYPI, _at("@")),
    "oci": _Runner("docker", _OCI, _name_image, _begin_container),
    "nuget": _Runner("dnx", _NUGET, _at("@"), lambda words, _: words if "--yes" in words else ["--yes", *words]),
}
