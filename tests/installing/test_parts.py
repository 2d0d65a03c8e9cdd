"""Kubernetes, compose and systemd give each part settings that exist, the secrets that it needs, and time to stop."""

import re

import pytest
import yaml  # type: ignore[import-untyped]

from deployments.prefect_servers import FIXED, GIVEN
from nexus_hub.settings import Settings
from nexus_hub.stack.parts import API_STOP_SECONDS, WORKER_STOP_SECONDS
from nexus_hub.stack.prefect_server import POOL_SIZE, TUNING
from tests.fixtures.upstreams import ROOT
from tests.installing.containerfile import read
from tests.installing.places import KUBERNETES, PARTS, Installed, everywhere

EVERYWHERE = everywhere()
ALIKE = {"PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": str(POOL_SIZE)} | TUNING | dict(FIXED)
OF_PREFECT = set(GIVEN)
HUB = {"PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "NEXUS_DATABASE_URL", "VAULT_ENCRYPTION_KEY"}
NEEDS = {
    "api": HUB | {"NEXUS_SERVICE_KEY"},
    "worker": HUB,
    "migrate": {"NEXUS_DATABASE_URL", "NEXUS_MIGRATION_DATABASE_URL", "VAULT_ENCRYPTION_KEY"},
    "deploy": {"PREFECT_API_URL", "PREFECT_API_AUTH_STRING"},
    "prefect-server": OF_PREFECT,
    "prefect-services": OF_PREFECT,
    "prefect-migrate": OF_PREFECT,
}
"""All that a part can't be without."""
SECRET = re.compile(r"_URL$|_AUTH_STRING$|_KEY$")
OF_A_PROCESS = {"HOME", "PATH", "PYTHONUNBUFFERED"}
NO_SECRET = {"PREFECT_API_URL", "PREFECT_SERVER_UI_API_URL", "NEXUS_PUBLIC_URL"}


def settings_of_prefect() -> set[str]:
    """The names of all settings of Prefect and of its Redis parts."""
    from prefect.settings import Settings as PrefectSettings
    from prefect.settings.legacy import _get_valid_setting_names
    from prefect_redis.client import RedisMessagingSettings

    prefix = RedisMessagingSettings.model_config["env_prefix"]
    return _get_valid_setting_names(PrefectSettings) | {
        f"{prefix}{name.upper()}" for name in RedisMessagingSettings.model_fields
    }


def test_every_way_installs_every_part() -> None:
    ways = ("kubernetes", "compose", "systemd")
    assert {(one.way, one.part) for one in EVERYWHERE} == {(way, part) for way in ways for part in PARTS}


def test_every_variable_is_a_setting() -> None:
    ours = {str(field.validation_alias or f"NEXUS_{name.upper()}") for name, field in Settings.model_fields.items()}
    known = ours | settings_of_prefect()
    assert not {(str(one), name) for one in EVERYWHERE for name in one.variables if name not in known}
    assert read()[-1].environment.keys() <= known | OF_A_PROCESS


@pytest.mark.parametrize("installed", EVERYWHERE, ids=str)
def test_a_part_gets_what_it_needs_and_no_other_secret(installed: Installed) -> None:
    needed = NEEDS[installed.part]
    assert needed <= installed.variables.keys()
    secrets = {name for name in installed.variables if SECRET.search(name) and name not in NO_SECRET}
    assert secrets <= needed


@pytest.mark.parametrize("installed", [one for one in EVERYWHERE if one.part.startswith("prefect")], ids=str)
def test_the_processes_of_prefect_have_the_settings_that_several_need(installed: Installed) -> None:
    assert {name: installed.variables.get(name) for name in ALIKE} == ALIKE


def test_the_values_of_prefects_chart_are_the_same_settings() -> None:
    values = yaml.safe_load((KUBERNETES / "values-prefect-server.yaml").read_text())
    set_by_chart = FIXED.keys() - {"PREFECT_SERVER_ANALYTICS_ENABLED"}
    given = {one["name"]: one["value"] for one in values["global"]["prefect"]["env"]}
    assert {name: given.get(name) for name in ALIKE if name not in set_by_chart} == {
        name: value for name, value in ALIKE.items() if name not in set_by_chart
    }
    assert values["backgroundServices"]["messaging"]["docket"]["existingSecret"]
    version = values["global"]["prefect"]["image"]["prefectTag"].partition("-")[0]
    assert f"\nprefect=={version} " in (ROOT / "requirements.lock").read_text()


@pytest.mark.parametrize("installed", [one for one in EVERYWHERE if one.part in {"api", "worker"}], ids=str)
def test_a_part_has_the_time_that_it_takes_to_stop(installed: Installed) -> None:
    times = {
        name.removeprefix("NEXUS_").lower(): value for name, value in installed.variables.items() if "_SECONDS" in name
    }
    settings = Settings.model_validate(times)
    if installed.part == "worker":
        assert settings.worker_grace_seconds + WORKER_STOP_SECONDS < installed.stop_seconds
    else:
        assert settings.drain_seconds > 0
        assert settings.drain_seconds + settings.api_grace_seconds + API_STOP_SECONDS < installed.stop_seconds
