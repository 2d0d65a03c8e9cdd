"""Configuration of an upstream server: the part of it that is sealed."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HttpConfig(_Config):
    """A server reached by streamable HTTP; the values of `headers` are secrets."""

    transport: Literal["http"] = "http"
    url: str
    headers: dict[str, SecretStr] = Field(default_factory=dict)


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
    secret = "headers" if isinstance(config, HttpConfig) else "env"
    values: dict[str, SecretStr] = getattr(config, secret)
    opened = {key: value.get_secret_value() for key, value in values.items()}
    return config.model_dump(mode="json") | {secret: opened}
