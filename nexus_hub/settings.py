"""The hub's settings: environment variables, with the embedded default beside them."""

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from nexus_hub import address
from nexus_hub.errors import InvalidSetting
from nexus_hub.models import LONGEST_TIMEOUT_SECONDS
from nexus_hub.telemetry.logs import LogFormat, LogLevel

DAY_SECONDS = 86_400


class Settings(BaseSettings):
    """The environment's settings; every field names its variable. Unset secrets are looked for in the home."""

    model_config = SettingsConfigDict(env_prefix="NEXUS_", extra="ignore", env_ignore_empty=True, populate_by_name=True)

    home: Path = Field(default_factory=address.default_home)
    """NEXUS_HOME: data directory of the embedded default, made with mode 0700 (0711 as root)."""
    host: str = address.HOST
    """NEXUS_HOST: address the API listens on."""
    port: int = Field(default=address.PORT, ge=1, le=65535)
    """NEXUS_PORT: port of the API."""
    prefect_port: int = Field(default=4200, ge=1, le=65535)
    """NEXUS_PREFECT_PORT: port of the embedded Prefect server."""
    database_url: SecretStr | None = None
    """NEXUS_DATABASE_URL: the app's role; unset means the embedded PostgreSQL."""
    migration_database_url: SecretStr | None = None
    """NEXUS_MIGRATION_DATABASE_URL: the role that owns the schema."""
    prefect_api_url: str | None = Field(default=None, validation_alias="PREFECT_API_URL")
    """PREFECT_API_URL: an outside Prefect; unset means the embedded one."""
    prefect_api_auth_string: SecretStr | None = Field(default=None, validation_alias="PREFECT_API_AUTH_STRING")
    """PREFECT_API_AUTH_STRING: `user:password` for Prefect's API."""
    prefect_database_url: SecretStr | None = Field(
        default=None, validation_alias="PREFECT_SERVER_DATABASE_CONNECTION_URL"
    )
    """PREFECT_SERVER_DATABASE_CONNECTION_URL: where an embedded Prefect keeps its data beside an outside PostgreSQL."""
    url: str | None = None
    """NEXUS_URL: where the command line finds the API."""
    token: SecretStr | None = None
    """NEXUS_TOKEN: what the command line sends; unset means the home's service key."""
    service_key: SecretStr | None = None
    """NEXUS_SERVICE_KEY: the operator's key."""
    vault_encryption_key: SecretStr | None = Field(default=None, validation_alias="VAULT_ENCRYPTION_KEY")
    """VAULT_ENCRYPTION_KEY: 64 hex digits; the primary key."""
    vault_old_key: SecretStr | None = Field(default=None, validation_alias="VAULT_OLD_KEY")
    """VAULT_OLD_KEY: a key that only opens."""
    vault_new_key: SecretStr | None = Field(default=None, validation_alias="VAULT_NEW_KEY")
    """VAULT_NEW_KEY: the key that a rotation goes to."""
    allow_private_upstreams: bool = False
    """NEXUS_ALLOW_PRIVATE_UPSTREAMS: whether user servers may point at private and loopback addresses."""
    catalog_ttl_seconds: int = Field(default=DAY_SECONDS, ge=60, le=365 * DAY_SECONDS)
    """NEXUS_CATALOG_TTL_SECONDS: how long what a server offers counts as fresh, give or take 10%."""
    worker_limit: int = Field(default=32, ge=1, le=1000)
    """NEXUS_WORKER_LIMIT: how many flow runs one worker takes at the same time."""
    worker_grace_seconds: float = Field(default=25, ge=0, le=24 * 3600)
    """NEXUS_WORKER_GRACE_SECONDS: how long a worker that is told to stop waits until it releases what still runs."""
    lease_seconds: float = Field(default=30, ge=3, le=3600)
    """NEXUS_LEASE_SECONDS: how long a job stays with a worker that gives no sign of life."""
    heartbeat_seconds: float = Field(default=10, ge=0.5)
    """NEXUS_HEARTBEAT_SECONDS: how often a worker gives one; at most a third of the lease."""
    unclaimed_seconds: float = Field(default=30, ge=5, le=3600)
    """NEXUS_UNCLAIMED_SECONDS: how long a job waits for its flow run to claim it until Prefect is asked after it."""
    abandoned_seconds: float = Field(default=120, ge=60, le=DAY_SECONDS)
    """NEXUS_ABANDONED_SECONDS: how long a flow run may show no progress until it counts as one without a process."""
    run_logs: bool = True
    """NEXUS_RUN_LOGS: whether a flow run shows a few log lines in Prefect."""
    max_connections: int = Field(default=800, ge=10, le=100_000)
    """NEXUS_MAX_CONNECTIONS: open connections of an API process; a new one takes the place of one without a request."""
    header_seconds: float = Field(default=10, ge=0.1, le=3600)
    """NEXUS_HEADER_SECONDS: how long the head of a request may take to arrive."""
    body_seconds: float = Field(default=60, ge=0.1, le=3600)
    """NEXUS_BODY_SECONDS: how long the body of a request may take to arrive."""
    send_seconds: float = Field(default=30, ge=0.1, le=3600)
    """NEXUS_SEND_SECONDS: how long a reader may take for the next 256 KiB of an answer."""
    user_requests: int = Field(default=8, ge=1, le=1000)
    """NEXUS_USER_REQUESTS: how many requests of a user an API process works on at the same time; others wait."""
    user_streams: int = Field(default=50, ge=1, le=100_000)
    """NEXUS_USER_STREAMS: how many event streams of a user an API process keeps open."""
    user_open_jobs: int = Field(default=2000, ge=1)
    """NEXUS_USER_OPEN_JOBS: how many jobs of a user may be pending or running."""
    max_timeout_seconds: int = Field(default=4 * 3600, ge=1, le=LONGEST_TIMEOUT_SECONDS)
    """NEXUS_MAX_TIMEOUT_SECONDS: the longest time-out that a job may ask for."""
    connect_seconds: float = Field(default=15, ge=1, le=300)
    """NEXUS_CONNECT_SECONDS: how long opening a session with a server over HTTP may take."""
    command_connect_seconds: float = Field(default=90, ge=1, le=300)
    """NEXUS_COMMAND_CONNECT_SECONDS: the same for a server that runs as a command."""
    max_definition_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    """NEXUS_MAX_DEFINITION_BYTES: size limit of one tool, resource or prompt; a larger one is left out."""
    max_listing_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    """NEXUS_MAX_LISTING_BYTES: size limit of all that one server offers, and of each page of it."""
    max_user_servers: int = Field(default=100, ge=1)
    """NEXUS_MAX_USER_SERVERS: how many servers of their own a user may have."""
    max_user_tools: int = Field(default=10_000, ge=1)
    """NEXUS_MAX_USER_TOOLS: how many tools these may offer together."""
    max_user_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    """NEXUS_MAX_USER_BYTES: size limit of all that these offer together."""
    max_user_inspections: int = Field(default=2, ge=1, le=1000)
    """NEXUS_MAX_USER_INSPECTIONS: how many servers of one user are registered, tried or read at the same time."""
    max_body_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    """NEXUS_MAX_BODY_BYTES: size limit of a request's body."""
    max_result_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    """NEXUS_MAX_RESULT_BYTES: size limit of a stored result."""
    statement_seconds: float = Field(default=10, ge=0.1, le=3600)
    """NEXUS_STATEMENT_SECONDS: how long a statement of the database may take that a user waits for."""
    log_format: LogFormat = "plain"
    """NEXUS_LOG_FORMAT: log lines as `plain` text or as `json`, an object per line."""
    log_level: LogLevel = "info"
    """NEXUS_LOG_LEVEL: the least that the hub's own log lines must be: `debug`, `info`, `warning` or `error`."""
    log_upstream_stderr: bool = False
    """NEXUS_LOG_UPSTREAM_STDERR: keep what stdio servers write to standard error, which may hold secrets."""
    postgres_bin: Path | None = None
    """NEXUS_POSTGRES_BIN: directory with `postgres` and `initdb` to use instead of the wheel's."""

    @field_validator("heartbeat_seconds")
    @classmethod
    def _leave_time_for_another(cls, value: float, others: ValidationInfo) -> float:
        lease: float | None = others.data.get("lease_seconds")
        if lease is not None and value * 3 > lease:
            raise ValueError(f"must be at most a third of NEXUS_LEASE_SECONDS, which is {lease:g}")
        return value

    @property
    def api_url(self) -> str:
        """Base URL of the API, without a slash at its end."""
        return (self.url or self.listen_url).rstrip("/")

    @property
    def listen_url(self) -> str:
        """URL of the API that this machine runs itself, whatever hub the command line talks to."""
        return address.listen_url(self.host, self.port)

    @property
    def prefect_url(self) -> str:
        """Base URL of Prefect's API, ending in `/api`."""
        return (self.prefect_api_url or f"http://127.0.0.1:{self.prefect_port}/api").rstrip("/")

    @property
    def embeds_postgres(self) -> bool:
        """True if `up` starts its own PostgreSQL."""
        return self.database_url is None

    @property
    def embeds_prefect(self) -> bool:
        """True if `up` starts its own Prefect server."""
        return self.prefect_api_url is None


def load() -> Settings:
    """Read the settings of the environment.

    Raises:
        InvalidSetting: a variable holds what it can't; its value is not repeated.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = [f"{_variable(str(one['loc'][0]))}: {one['msg']}" for one in error.errors() if one["loc"]]
    raise InvalidSetting(problems)


def _variable(name: str) -> str:
    return name if name.isupper() else f"NEXUS_{name.upper()}"
