"""Configuration of an upstream server: the part of it that is sealed."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter

from nexus_hub.errors import InvalidConfig

LONGEST_CONNECT_SECONDS = 300.0
LONGEST_WORD_BYTES = 128 * 1024 - 1
"""Linux starts no program with a longer argument, or a longer `NAME=value`."""
LONGEST_COMMAND_BYTES = 1024 * 1024
"""Half of what Linux gives a program for its arguments and environment with the usual limits."""
LONGEST_URL = 8192
LONGEST_SCOPE = 4096
SCOPE = r"^[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*$"
"""Scopes with one space between, as RFC 6749 (3.3) writes them."""
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?")
_OURS = {"connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
"""Headers that steer the connection itself."""


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    connect_seconds: float | None = Field(default=None, gt=0, le=LONGEST_CONNECT_SECONDS)
    """Seconds that opening a session may take; None for the hub's own setting."""


class OAuthLogin(BaseModel):
    """Login by OAuth: in a browser, or with the client's own credentials. What is None is found out at the login.

    `client_id` is that of a client registered beforehand; `issuer` names the authorization server, whose address may
    then be private.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["oauth"] = "oauth"
    grant: Literal["authorization_code", "client_credentials"] = "authorization_code"
    client_id: str | None = Field(default=None, min_length=1, max_length=2048)
    client_secret: SecretStr | None = Field(default=None, min_length=1, max_length=4096)
    scope: str | None = Field(default=None, pattern=SCOPE, max_length=LONGEST_SCOPE)
    issuer: str | None = Field(default=None, min_length=1, max_length=2048)


class HeaderLogin(BaseModel):
    """Login by a header that people set: `prefix` is written before what they give."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["header"] = "header"
    header: str = Field(default="Authorization", min_length=1, max_length=128)
    prefix: str = Field(default="Bearer ", max_length=128)


class HttpConfig(_Config):
    """A server reached by streamable HTTP; the values of `headers` are secrets.

    `credentials`: one login for all who may use the server, or one per user.
    """

    transport: Literal["http"] = "http"
    url: str
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    login: Annotated[OAuthLogin | HeaderLogin, Field(discriminator="kind")] | None = None
    credentials: Literal["shared", "per-user"] = "shared"


class StdioConfig(_Config):
    """A server run as a child process of the hub; the values of `env` are secrets, and `args` may hold some."""

    transport: Literal["stdio"] = "stdio"
    command: str = Field(min_length=1)
    args: tuple[str, ...] = ()
    env: dict[str, SecretStr] = Field(default_factory=dict)


ServerConfig = Annotated[HttpConfig | StdioConfig, Field(discriminator="transport")]
CONFIG: TypeAdapter[HttpConfig | StdioConfig] = TypeAdapter(ServerConfig)


def expose_secrets(config: HttpConfig | StdioConfig) -> dict[str, Any]:
    """Give the configuration as a JSON object with its secrets in the clear: for sealing only."""
    shared = isinstance(config, HttpConfig) and config.credentials == "shared"
    left_out = {"credentials"} if shared else set()  # a release that knows no logins must be able to read it
    opened: dict[str, Any] = _open(config.model_dump(exclude_none=True, exclude=left_out))
    return opened


def _open(value: Any) -> Any:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case dict():
            return {key: _open(member) for key, member in value.items()}
        case tuple():
            return [_open(member) for member in value]
    return value


def check_sendable(config: HttpConfig | StdioConfig) -> None:
    """Refuse what HTTP can't carry, or no program can be started with.

    Raises:
        InvalidConfig: it names the header, the variable or the argument, and never a value.
    """
    faults = _header_faults(config) if isinstance(config, HttpConfig) else _command_faults(config)
    fault = next(faults, None)
    if fault is not None:
        raise InvalidConfig(fault)


def _header_faults(config: HttpConfig) -> Iterator[str]:
    if len(config.url) > LONGEST_URL:
        yield f"The server's url has {len(config.url)} characters; at most {LONGEST_URL} can be sent."
    names: set[str] = set()
    for position, (name, value) in enumerate(config.headers.items(), start=1):
        if not _HEADER_NAME.fullmatch(name):
            yield f"The name of header number {position} can't be sent over HTTP: use ASCII letters, digits and '-'."
        elif name.lower() in _OURS:
            yield f"The header {name[:80]!r} is the connection's own and can't be set; leave it out."
        elif name.lower() in names:
            yield f"The header {name[:80]!r} is given twice; keep one of them."
        elif not _HEADER_VALUE.fullmatch(value.get_secret_value()):
            yield (
                f"The value of the header {name[:80]!r} can't be sent over HTTP: "
                "use printable ASCII characters, without white space at its ends and without line ends."
            )
        names.add(name.lower())
    match config.login:
        case OAuthLogin() as login:
            yield from _oauth_faults(login, names)
        case HeaderLogin(header=name, prefix=prefix):
            yield from _header_login_faults(name, prefix, names)


def _oauth_faults(login: OAuthLogin, names: set[str]) -> Iterator[str]:
    if login.client_secret is not None and login.client_id is None:
        yield "The login has a client_secret without a client_id; give both, or neither."
    if login.grant == "client_credentials" and (login.client_id is None or login.client_secret is None):
        yield "A login by client_credentials needs a client_id and a client_secret."
    if login.issuer is not None and not re.fullmatch(r"https?://[^\s?#@]+", login.issuer):
        yield "The login's issuer must be an https:// URL without a query."
    if "authorization" in names:
        yield "The server has a header 'Authorization' and a login by OAuth, which sends one; keep one of them."


def _header_login_faults(name: str, prefix: str, names: set[str]) -> Iterator[str]:
    if not _HEADER_NAME.fullmatch(name) or name.lower() in _OURS:
        yield f"The login's header {name[:80]!r} can't be sent over HTTP; use ASCII letters, digits and '-'."
    if name.lower() in names:
        yield f"The header {name[:80]!r} is given twice: with the server and as its login; keep one of them."
    if not re.fullmatch(r"[\x20-\x7e]*", prefix):
        yield "The login's prefix can't be sent over HTTP: use printable ASCII characters."


def _command_faults(config: StdioConfig) -> Iterator[str]:
    yield from _word_faults("The command", config.command)
    for position, word in enumerate(config.args, start=1):
        yield from _word_faults(f"Argument number {position}", word)
    for position, (name, value) in enumerate(config.env.items(), start=1):
        if not name or "=" in name or not name.isprintable():
            yield (
                f"The name of environment variable number {position} can't be used: "
                "it must not be empty or hold '=' or control characters."
            )
        yield from _word_faults(f"The environment variable {name[:80]!r}", f"{name}={value.get_secret_value()}")
    words = [
        config.command,
        *config.args,
        *(f"{name}={value.get_secret_value()}" for name, value in config.env.items()),
    ]
    total = sum(len(word.encode("utf-8", "surrogatepass")) + 1 for word in words)
    if total > LONGEST_COMMAND_BYTES:
        yield (
            f"Command, arguments and environment have {total} bytes together; "
            f"at most {LONGEST_COMMAND_BYTES} can be given to a program."
        )


def _word_faults(what: str, word: str) -> Iterator[str]:
    try:
        size = len(word.encode())
    except UnicodeEncodeError:
        yield f"{what} can't be used: it holds half a surrogate pair, which is no text."
        return
    if "\0" in word:
        yield f"{what} can't be used: it holds a NUL character."
    if size > LONGEST_WORD_BYTES:
        yield f"{what} has {size} bytes; a program can be given at most {LONGEST_WORD_BYTES}."
