"""Configuration of a hub as one document: its settings, system servers, bundles and groups."""

import re
from dataclasses import fields
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    model_validator,
)
from pydantic_core import PydanticCustomError

from nexus_hub.catalog.bundles import BundleWords, NewEntry
from nexus_hub.models import Durable, Level
from nexus_hub.servers.checks import HIGHEST_LIMIT
from nexus_hub.servers.policies import LONGEST_HANDLE_SECONDS
from nexus_hub.servers.traits import LONGEST_TTL_SECONDS
from nexus_hub.upstream.config import LONGEST_CONNECT_SECONDS, HeaderLogin, HttpConfig, OAuthLogin, StdioConfig

LONGEST_TEXT = 100_000
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhd]?)")


def parse_duration(value: object) -> object:
    """Read seconds, or a text such as `90s`, `15m`, `1h` or `7d`."""
    if isinstance(value, str):
        found = _DURATION.fullmatch(value)
        if found is None:
            raise PydanticCustomError("duration", "Input should be seconds, or a time such as 90s, 15m, 1h or 7d")
        return int(found[1]) * _UNITS[found[2]]
    return value


def write_duration(seconds: int | None) -> str | None:
    """Write seconds in the largest unit that they are a multiple of."""
    if seconds is None:
        return None
    unit = next(unit for unit in ("d", "h", "m", "s") if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


Access = Literal["open", "closed"]
Duration = Annotated[
    int,
    Field(ge=1, le=LONGEST_TTL_SECONDS),
    BeforeValidator(parse_duration),
    PlainSerializer(write_duration, when_used="unless-none"),
]
Limit = Annotated[int, Field(ge=1, le=HIGHEST_LIMIT)]
Text = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]
Names = Annotated[list[Name], Field(max_length=10_000)]


def refuse_nul(text: str) -> str:
    """Refuse what the database can't compare with the names that it has."""
    if "\0" in text:
        raise PydanticCustomError("nul", "Input should hold no NUL character")
    return text


def refuse_endless(arguments: dict[str, Any]) -> dict[str, Any]:
    """Refuse numbers that JSON does not have."""
    waiting: list[Any] = [arguments]
    while waiting:
        match waiting.pop():
            case dict() as members:
                waiting += members.values()
            case list() as items:
                waiting += items
            case float() as number if not isfinite(number):
                raise PydanticCustomError(
                    "endless", "Input should hold only numbers that JSON has: no .inf and no .nan"
                )
    return arguments


Words = Annotated[list[Annotated[Name, AfterValidator(refuse_nul)]], Field(max_length=10_000)]


class Section(BaseModel):
    """A part of the configuration; what it does not say has its default."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class SettingsPart(Section):
    """Settings of the hub: `access` is that of all servers and bundles that say nothing of it."""

    access: Access = "open"


class ToolPart(Section):
    """Words on one tool of a server."""

    durable: Durable | None = None
    enabled: bool = True


class ServerPart(Section):
    """A system server: by `url`, `headers` and `login`, or by `command`, `args` and `env`."""

    url: str | None = Field(default=None, min_length=1, repr=False)
    headers: dict[str, SecretStr] = Field(default={})
    login: Annotated[OAuthLogin | HeaderLogin, Field(discriminator="kind")] | None = None
    credentials: Literal["shared", "per-user"] = "shared"
    command: str | None = Field(default=None, min_length=1, repr=False)
    args: list[str] = Field(default=[], repr=False)
    env: dict[str, SecretStr] = Field(default={})
    connect_seconds: float | None = Field(default=None, gt=0, le=LONGEST_CONNECT_SECONDS)
    enabled: bool = True
    access: Access | None = None
    tags: Names = []
    pin: bool = False
    ttl: Duration | None = None
    limit_per_minute: Limit | None = None
    user_limit_per_minute: Limit | None = None
    durable: Durable | None = None
    handle_seconds: float | None = Field(default=None, ge=0, le=LONGEST_HANDLE_SECONDS)
    tools: dict[Name, ToolPart] = Field(default={})

    @model_validator(mode="after")
    def _is_one_of_two(self) -> "ServerPart":
        of_url = self.url, self.headers, self.login, self.credentials == "per-user"
        of_command = self.command, self.args, self.env
        if self.durable == "long":
            self.durable = None  # the default, said in so many words
        if any(of_url) == any(of_command) or not (self.url or self.command):
            told = "A server has either a url (with headers and a login) or a command (with args and env)"
            raise PydanticCustomError("server", "{told}", {"told": told})
        return self

    def to_config(self) -> HttpConfig | StdioConfig:
        """Give the part of it that is sealed."""
        if self.url is not None:
            return HttpConfig(
                url=self.url,
                headers=self.headers,
                login=self.login,
                credentials=self.credentials,
                connect_seconds=self.connect_seconds,
            )
        return StdioConfig(
            command=self.command or "", args=tuple(self.args), env=self.env, connect_seconds=self.connect_seconds
        )


class EntryPart(Section):
    """An entry of a bundle; `source` is the server's own name or URI, and '*' stands for all of a kind."""

    kind: Literal["tool", "prompt", "resource", "template"] = "tool"
    server: Name
    source: Name
    name: Name | None = None
    title: Text | None = None
    description: Text | None = None
    fixed: Annotated[dict[str, Any], AfterValidator(refuse_endless)] = Field(default={}, repr=False)
    hidden: Names = []


class BundlePart(Section):
    """A bundle: tools, prompts and resources of servers under names of its own."""

    title: Text | None = None
    instructions: Text | None = None
    access: Access | None = None
    entries: list[EntryPart] = []

    def split(self, name: str) -> tuple[BundleWords, list[NewEntry]]:
        """Give the store's form of it: of itself, and of its entries."""
        words = BundleWords(name=name, title=self.title, instructions=self.instructions, access=self.access)
        names = [one.name for one in fields(NewEntry)]
        return words, [NewEntry(**{one: getattr(entry, one) for one in names}) for entry in self.entries]


class GrantPart(Section):
    """A grant of a group: its level on a server, a tool of it, or a bundle."""

    level: Level
    server: Name | None = None
    tool: Name | None = None
    bundle: Name | None = None
    approvers: Name | None = None
    self_approval: bool = False

    @model_validator(mode="after")
    def _has_one_target(self) -> "GrantPart":
        if (self.server is None) == (self.bundle is None) or (self.tool is not None and self.server is None):
            told = "A grant is on a server, on a tool beside its server, or on a bundle"
            raise PydanticCustomError("target", "{told}", {"told": told})
        return self

    @property
    def target(self) -> str:
        """The thing that it is on, of which a group has one grant."""
        tool = f" tool {self.tool}" if self.tool is not None else ""
        return f"server {self.server}{tool}" if self.server is not None else f"bundle {self.bundle}"


class GroupPart(Section):
    """A group: its members by name, what an issuer calls it, and what it is granted."""

    claims: Words = []
    members: Words = []
    grants: list[GrantPart] = []


class Configuration(Section):
    """All of it; of a section that is absent nothing is said."""

    settings: SettingsPart | None = None
    servers: dict[str, ServerPart] | None = None
    bundles: dict[str, BundlePart] | None = None
    groups: dict[str, GroupPart] | None = None
