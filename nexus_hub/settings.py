"""The hub's settings: environment variables, with the embedded default beside them."""

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from nexus_hub import address
from nexus_hub.errors import InvalidSetting
from nexus_hub.models import LONGEST_TIMEOUT_SECONDS
from nexus_hub.telemetry.logs import LogFormat, LogLevel
from nexus_hub.telemetry.tracing import TraceCallers

DAY_SECONDS = 86_400
SIGNATURES = frozenset({"EdDSA"} | {f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)})
"""The algorithms of signatures by a private key: what is checked with a public one can't be made with it."""


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
    """NEXUS_CATALOG_TTL_SECONDS: how long what a server offers counts as fresh at most, give or take 10%."""
    worker_limit: int = Field(default=32, ge=1, le=1000)
    """NEXUS_WORKER_LIMIT: how many flow runs one worker takes at the same time."""
    worker_places: int = Field(default=128, ge=1, le=10_000)
    """NEXUS_WORKER_PLACES: how many jobs one worker carries in shared runs at the same time."""
    user_share: float = Field(default=0.5, gt=0, le=1)
    """NEXUS_USER_SHARE: the part of the places that others leave which one user may take."""
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
    user_calls: int = Field(default=64, ge=1, le=10_000)
    """NEXUS_USER_CALLS: how many requests of a user to `/mcp` an API process works on at the same time; others wait."""
    drain_seconds: float = Field(default=0, ge=0, le=3600)
    """NEXUS_DRAIN_SECONDS: how long an API that is told to stop goes on serving while `/readyz` says that it stops."""
    api_grace_seconds: int = Field(default=10, ge=1, le=DAY_SECONDS)
    """NEXUS_API_GRACE_SECONDS: how long it then takes no more, and lets what is under way end."""
    handle_seconds: float = Field(default=50, ge=0, le=DAY_SECONDS)
    """NEXUS_HANDLE_SECONDS: how long a direct call may take until it goes on as a job; 0: it never does."""
    user_streams: int = Field(default=50, ge=1, le=100_000)
    """NEXUS_USER_STREAMS: how many event streams of a user an API process keeps open, those of `/mcp` too."""
    user_open_jobs: int = Field(default=2000, ge=1)
    """NEXUS_USER_OPEN_JOBS: how many jobs of a user may be pending or running."""
    max_timeout_seconds: int = Field(default=4 * 3600, ge=1, le=LONGEST_TIMEOUT_SECONDS)
    """NEXUS_MAX_TIMEOUT_SECONDS: the longest time-out that a job may ask for."""
    connect_seconds: float = Field(default=15, ge=1, le=300)
    """NEXUS_CONNECT_SECONDS: how long opening a session with a server over HTTP may take."""
    command_connect_seconds: float = Field(default=90, ge=1, le=300)
    """NEXUS_COMMAND_CONNECT_SECONDS: the same for a server that runs as a command."""
    max_children: int = Field(default=64, ge=2, le=10_000)
    """NEXUS_MAX_CHILDREN: how many commands of servers a process runs at once; an idle one goes for a new one."""
    max_server_children: int = Field(default=16, ge=2, le=10_000)
    """NEXUS_MAX_SERVER_CHILDREN: how many of these one server has at most."""
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
    max_body_values: int = Field(default=50_000, ge=1000)
    """NEXUS_MAX_BODY_VALUES: how many values a request's body may hold; a list or an object counts as one more."""
    max_result_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    """NEXUS_MAX_RESULT_BYTES: size limit of a stored result."""
    result_page_characters: int = Field(default=0, ge=0)
    """NEXUS_RESULT_PAGE_CHARACTERS: how much of a tool's result one answer of `/mcp` holds, 0 for all of it."""
    public_url: str | None = None
    """NEXUS_PUBLIC_URL: where clients reach the hub, such as `https://hub.example`; tokens and metadata name it."""
    built_in_login: bool = True
    """NEXUS_BUILT_IN_LOGIN: whether clients can log people in here, where NEXUS_ISSUER names no other place."""
    issuer_audience: str | None = None
    """NEXUS_ISSUER_AUDIENCE: what its tokens are for, with commas between; unset: what lies under the public URL."""
    issuer: str | None = None
    """NEXUS_ISSUER: an outside authorization server whose JWTs the hub takes; it turns the built-in one off."""
    issuer_jwks_url: str | None = None
    """NEXUS_ISSUER_JWKS_URL: where its public keys are; unset: where its metadata says."""
    issuer_algorithms: str = "RS256,PS256,ES256,EdDSA"
    """NEXUS_ISSUER_ALGORITHMS: how its tokens may be signed, with commas between."""
    issuer_user_claim: str = "sub"
    """NEXUS_ISSUER_USER_CLAIM: the claim that tells users apart."""
    issuer_name_claim: str = "preferred_username"
    """NEXUS_ISSUER_NAME_CLAIM: the claim that a new user is named after."""
    issuer_creates_users: bool = False
    """NEXUS_ISSUER_CREATES_USERS: whether a subject that no user stands for becomes one."""
    issuer_groups_claim: str | None = None
    """NEXUS_ISSUER_GROUPS_CLAIM: the claim with a user's groups."""
    issuer_admin_group: str | None = None
    """NEXUS_ISSUER_ADMIN_GROUP: the group whose tokens with the scope `admin` are good for what operators do."""
    allowed_hosts: str | None = None
    """NEXUS_ALLOWED_HOSTS: names besides the loopback ones for `/mcp` and the console, with commas between."""
    allowed_origins: str | None = None
    """NEXUS_ALLOWED_ORIGINS: origins whose pages may use the hub, such as `https://x.example`, with commas between."""
    trusted_proxies: str = "127.0.0.1"
    """NEXUS_TRUSTED_PROXIES: addresses and networks of proxies that say who asks, with commas between."""
    session_hours: float = Field(default=12, ge=0.1, le=168)
    """NEXUS_SESSION_HOURS: after so many hours without use a log-in to the console ends; after 7 days in any case."""
    audit_days: int = Field(default=365, ge=7, le=36_500)
    """NEXUS_AUDIT_DAYS: how many days the audit is kept; the clean-up takes away what is older."""
    max_sessions: int = Field(default=10_000, ge=1, le=1_000_000)
    """NEXUS_MAX_SESSIONS: sessions of clients of the older protocol that an API process keeps open."""
    statement_seconds: float = Field(default=10, ge=0.1, le=3600)
    """NEXUS_STATEMENT_SECONDS: how long a statement of the database may take that a user waits for."""
    log_format: LogFormat = "plain"
    """NEXUS_LOG_FORMAT: log lines as `plain` text or as `json`, an object per line."""
    log_level: LogLevel = "info"
    """NEXUS_LOG_LEVEL: the least that the hub's own log lines must be: `debug`, `info`, `warning` or `error`."""
    log_upstream_stderr: bool = False
    """NEXUS_LOG_UPSTREAM_STDERR: keep what stdio servers write to standard error, which may hold secrets."""
    metrics_token: SecretStr | None = None
    """NEXUS_METRICS_TOKEN: what a reader of `/metrics` sends instead of the service key."""
    metrics_host: str = address.HOST
    """NEXUS_METRICS_HOST: address of the ports that serve metrics alone."""
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """NEXUS_METRICS_PORT: a port for the API's metrics alone; unset: they are at `/metrics` of the API only."""
    worker_metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """NEXUS_WORKER_METRICS_PORT: port of a worker's metrics and probes; `up`'s shows metrics through the API, too."""
    alert_webhook: SecretStr | None = None
    """NEXUS_ALERT_WEBHOOK: URL that is told when `job_results` exceeds 1,000,000 rows, and when no longer."""
    alert_secret: SecretStr | None = None
    """NEXUS_ALERT_SECRET: signs what is sent there, with HMAC-SHA256."""
    approval_seconds: int = Field(default=DAY_SECONDS, ge=60, le=30 * DAY_SECONDS)
    """NEXUS_APPROVAL_SECONDS: how long a call waits for a person's yes, and then for its beginning."""
    approval_webhook: SecretStr | None = None
    """NEXUS_APPROVAL_WEBHOOK: URL that is told of each call that waits for a yes; NEXUS_ALERT_SECRET signs it."""
    otlp_endpoint: SecretStr | None = None
    """NEXUS_OTLP_ENDPOINT: base URL of a collector that takes traces by OTLP over HTTP; unset means no traces."""
    trace_callers: TraceCallers = "trust"
    """NEXUS_TRACE_CALLERS: `trust` goes on with the traces of callers, `link` only links to them, `ignore` does not."""
    postgres_bin: Path | None = None
    """NEXUS_POSTGRES_BIN: directory with `postgres` and `initdb` to use instead of the wheel's."""

    @field_validator("alert_webhook", "approval_webhook")
    @classmethod
    def _require_safe_webhook(cls, value: SecretStr | None) -> SecretStr | None:
        url = value.get_secret_value().lower() if value else ""
        if value and not (url.startswith("https://") or (url.startswith("http://") and address.is_loopback(url))):
            raise ValueError("must begin with https://, or lead to this machine")
        return value

    @field_validator("public_url")
    @classmethod
    def _name_an_origin(cls, value: str | None) -> str | None:
        return None if value is None else address.origin_of(value.strip())

    @field_validator("trusted_proxies")
    @classmethod
    def _require_networks(cls, value: str) -> str:
        for name in split_names(value):
            try:
                ipaddress.ip_network(name)
            except ValueError:
                raise ValueError("must be addresses and networks, such as 10.0.0.2,10.1.0.0/16") from None
        return value

    @field_validator("issuer", "issuer_jwks_url")
    @classmethod
    def _require_safe_issuer(cls, value: str | None) -> str | None:
        if value is not None and not address.is_safe(value):
            raise ValueError("must begin with https://, or lead to this machine, and hold no user name and no fragment")
        return value

    @field_validator("issuer")
    @classmethod
    def _require_audience(cls, value: str | None, others: ValidationInfo) -> str | None:
        if value and not (others.data.get("public_url") or others.data.get("issuer_audience")):
            raise ValueError("needs NEXUS_PUBLIC_URL, or NEXUS_ISSUER_AUDIENCE: what its tokens are made for")
        return value

    @field_validator("issuer_algorithms")
    @classmethod
    def _require_public_keys(cls, value: str) -> str:
        names = split_names(value)
        if not names or not SIGNATURES.issuperset(names):
            raise ValueError(f"must be some of {', '.join(sorted(SIGNATURES))}")
        return value

    @field_validator("heartbeat_seconds")
    @classmethod
    def _leave_time_for_another(cls, value: float, others: ValidationInfo) -> float:
        lease: float | None = others.data.get("lease_seconds")
        if lease is not None and value * 3 > lease:
            raise ValueError(f"must be at most a third of NEXUS_LEASE_SECONDS, which is {lease:g}")
        return value

    @field_validator("otlp_endpoint")
    @classmethod
    def _name_a_collector(cls, value: SecretStr | None) -> SecretStr | None:
        parts = urlsplit(value.get_secret_value() if value else "")
        if value is not None and (parts.scheme not in {"http", "https"} or not parts.hostname):
            raise ValueError("must be a URL such as http://127.0.0.1:4318")
        return value

    @property
    def origins(self) -> list[str]:
        """The origins whose pages may use the hub."""
        return split_names(self.allowed_origins)

    @property
    def hosts(self) -> list[str]:
        """The names, in small letters, under which `/mcp` may be asked, besides those of its own machine."""
        return [name.lower() for name in split_names(self.allowed_hosts)]

    @property
    def api_url(self) -> str:
        """Base URL of the API, without a slash at its end."""
        return (self.url or self.listen_url).rstrip("/")

    @property
    def names_hub_elsewhere(self) -> bool:
        """True if the command line talks to another hub than the one that this machine would run at its port."""
        try:
            port = urlsplit(self.api_url).port
        except ValueError:
            return True
        return port != self.port or not address.is_loopback(self.api_url)

    @property
    def listen_url(self) -> str:
        """URL of the API that this machine runs itself, whatever hub the command line talks to."""
        return address.listen_url(self.host, self.port)

    @property
    def has_built_in_login(self) -> bool:
        """True if the hub is its own authorization server."""
        return self.built_in_login and self.issuer is None

    @property
    def public_base(self) -> str:
        """URL under which clients reach the hub, where no request says it; without a slash at its end."""
        return self.public_url or self.listen_url

    def find_token(self) -> str | None:
        """Find what the command line sends: the token, or the operator's key."""
        for secret in (self.token, self.service_key):
            if secret is not None:
                return secret.get_secret_value()
        return address.read_service_key(self.home)

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


def split_names(names: str | None) -> list[str]:
    """Split a setting at its commas."""
    return [name.strip() for name in (names or "").split(",") if name.strip()]


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
