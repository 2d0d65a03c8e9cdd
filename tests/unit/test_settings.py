"""Settings: their defaults, and what of the environment counts."""

from pathlib import Path

import pytest

from nexus_hub.errors import InvalidSetting
from nexus_hub.settings import Settings, load

NAMES = ("NEXUS_HOME", "NEXUS_PORT", "NEXUS_DATABASE_URL", "NEXUS_URL", "NEXUS_TOKEN", "NEXUS_HOST", "PREFECT_API_URL")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, "NEXUS_PREFECT_PORT", "NEXUS_SERVICE_KEY", "VAULT_ENCRYPTION_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_by_default_everything_is_embedded_and_local() -> None:
    settings = Settings()
    assert (settings.api_url, settings.prefect_url) == ("http://127.0.0.1:8080", "http://127.0.0.1:4200/api")
    assert settings.embeds_postgres
    assert settings.embeds_prefect
    assert not settings.allow_private_upstreams


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    assert Settings() == Settings(home=Settings().home)
    assert Settings().home.name == "nexus-hub"


def test_the_environment_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"NEXUS_HOME": str(tmp_path), "NEXUS_PORT": "9", "PREFECT_API_URL": "http://p/api/"}.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.home, settings.port, settings.prefect_url) == (tmp_path, 9, "http://p/api")
    assert not settings.embeds_prefect


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NEXUS_SERVICE_KEY", "VAULT_ENCRYPTION_KEY", "NEXUS_TOKEN", "NEXUS_DATABASE_URL"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("NEXUS_OTLP_ENDPOINT", "http://canary@127.0.0.1:4318")
    assert "canary" not in repr(Settings()) + str(Settings())


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"NEXUS_HEARTBEAT_SECONDS": "16"}, "NEXUS_HEARTBEAT_SECONDS: Value error, must be at most a third"),
        ({"NEXUS_LEASE_SECONDS": "9"}, "NEXUS_HEARTBEAT_SECONDS: Value error, must be at most a third"),
        ({"NEXUS_LEASE_SECONDS": "1"}, "NEXUS_LEASE_SECONDS: "),
        ({"NEXUS_UNCLAIMED_SECONDS": "0"}, "NEXUS_UNCLAIMED_SECONDS: "),
        ({"NEXUS_ABANDONED_SECONDS": "20"}, "NEXUS_ABANDONED_SECONDS: "),
        ({"NEXUS_LEASE_SECONDS": "nan"}, "NEXUS_LEASE_SECONDS: "),
        ({"NEXUS_HEARTBEAT_SECONDS": "inf"}, "NEXUS_HEARTBEAT_SECONDS: "),
        ({"NEXUS_WORKER_GRACE_SECONDS": "-1"}, "NEXUS_WORKER_GRACE_SECONDS: "),
        ({"NEXUS_LOG_LEVEL": "loud"}, "NEXUS_LOG_LEVEL: "),
        ({"NEXUS_OTLP_ENDPOINT": "collector:4318"}, "NEXUS_OTLP_ENDPOINT: Value error, must be a URL such as http://"),
        ({"NEXUS_OTLP_ENDPOINT": "grpc://canary@collector"}, "NEXUS_OTLP_ENDPOINT: "),
        ({"NEXUS_TRUSTED_PROXIES": "*"}, "NEXUS_TRUSTED_PROXIES: Value error, must be addresses and networks"),
        ({"NEXUS_TRUSTED_PROXIES": "10.0.0.2,canary"}, "NEXUS_TRUSTED_PROXIES: "),
        ({"NEXUS_TRACE_CALLERS": "always"}, "NEXUS_TRACE_CALLERS: "),
    ],
)
def test_a_setting_that_would_harm_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], named: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSetting) as refused:
        load()
    assert named in refused.value.message
    assert "canary" not in refused.value.message


def test_a_heartbeat_of_a_third_of_the_lease_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_LEASE_SECONDS", "6")
    monkeypatch.setenv("NEXUS_HEARTBEAT_SECONDS", "2")
    assert (load().lease_seconds, load().heartbeat_seconds) == (6, 2)


@pytest.mark.parametrize(
    ("host", "url"), [("0.0.0.0", "http://127.0.0.1:8080"), ("::", "http://[::1]:8080"), ("hub", "http://hub:8080")]
)
def test_an_address_to_listen_on_becomes_one_to_reach(host: str, url: str) -> None:
    assert Settings(host=host).listen_url == url


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("https://Hub.Example/", "https://hub.example"),
        ("https://hub.example:443", "https://hub.example"),
        ("https://hub.example:8443", "https://hub.example:8443"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_the_public_url_is_the_base_of_all_addresses(monkeypatch: pytest.MonkeyPatch, given: str, read: str) -> None:
    assert load().public_base == load().listen_url
    monkeypatch.setenv("NEXUS_PUBLIC_URL", given)
    assert (load().public_url, load().public_base) == (read, read)


@pytest.mark.parametrize(
    "given",
    [
        "hub.example",
        "http://hub.example",
        "ftp://hub.example",
        "https://hub.example/hub",
        "https://hub.example?a=b",
        "https://hub.example#a",
        "https://ann:word@hub.example",
        "https://hub.example:word",
        'https://hub".example',
        "https://",
    ],
)
def test_a_public_url_that_is_no_base_is_refused_without_its_value(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("NEXUS_PUBLIC_URL", given)
    with pytest.raises(InvalidSetting, match="NEXUS_PUBLIC_URL: Value error, must be") as refused:
        load()
    assert "word" not in str(refused.value)


@pytest.mark.parametrize("name", ["NEXUS_ISSUER", "NEXUS_ISSUER_JWKS_URL"])
@pytest.mark.parametrize(
    "given",
    [
        "issuer.example",
        "http://issuer.example",
        "ftp://issuer.example",
        "https://ann:word@issuer.example",
        "https://issuer.example/#word",
        "https://issuer.example:word",
        "https://",
        "https://issuer.example/a b",
    ],
)
def test_an_issuer_that_anybody_could_play_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, given: str) -> None:
    monkeypatch.setenv("NEXUS_PUBLIC_URL", "https://hub.example")
    monkeypatch.setenv(name, given)
    with pytest.raises(InvalidSetting, match=f"{name}: Value error, must begin with https://") as refused:
        load()
    assert "word" not in str(refused.value)


def test_an_issuer_needs_an_audience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_ISSUER", "https://issuer.example/realm/")
    with pytest.raises(InvalidSetting, match="NEXUS_ISSUER: Value error, needs NEXUS_PUBLIC_URL"):
        load()
    monkeypatch.setenv("NEXUS_ISSUER_AUDIENCE", "hub")
    assert load().issuer == "https://issuer.example/realm/"
    monkeypatch.delenv("NEXUS_ISSUER_AUDIENCE")
    monkeypatch.setenv("NEXUS_PUBLIC_URL", "http://127.0.0.1:8700")
    assert load().issuer == "https://issuer.example/realm/"


@pytest.mark.parametrize("given", ["none", "HS256", "RS256,HS256", "rs256", "ES256K", ","])
def test_tokens_that_anybody_could_sign_are_not_allowed(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("NEXUS_ISSUER_ALGORITHMS", given)
    with pytest.raises(InvalidSetting, match="NEXUS_ISSUER_ALGORITHMS: Value error, must be some of ES256, ES384"):
        load()
