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


def test_a_heartbeat_of_a_third_of_the_lease_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_LEASE_SECONDS", "6")
    monkeypatch.setenv("NEXUS_HEARTBEAT_SECONDS", "2")
    assert (load().lease_seconds, load().heartbeat_seconds) == (6, 2)


@pytest.mark.parametrize(
    ("host", "url"), [("0.0.0.0", "http://127.0.0.1:8080"), ("::", "http://[::1]:8080"), ("hub", "http://hub:8080")]
)
def test_an_address_to_listen_on_becomes_one_to_reach(host: str, url: str) -> None:
    assert Settings(host=host).listen_url == url
