"""The compose file follows the specification's schema, asks for every secret, and fits the proxy's configuration."""

import re
from ipaddress import ip_address, ip_network

import jsonschema
from check_jsonschema.builtin_schemas import get_builtin_schema

from tests.fixtures.upstreams import ROOT
from tests.installing.places import COMPOSE, PARTS, compose, environment_file

FILE = compose()
SERVICES = FILE["services"]
TEXT = (COMPOSE / "compose.yaml").read_text()
EXAMPLE = environment_file(COMPOSE / ".env.example")
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("${NEXUS_IMAGE")]


def test_the_file_follows_the_specification() -> None:
    jsonschema.validate(FILE, get_builtin_schema("vendor.compose-spec"))


def test_every_part_runs_as_the_image_wants_it() -> None:
    assert {SERVICES[name]["command"][0] for name in OURS} == set(PARTS)
    for name in OURS:
        service = SERVICES[name]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        places = dict(place.split(":") for place in service["tmpfs"])
        assert places.keys() == {"/tmp", "/var/lib/nexus-hub"}
        assert all("exec" in options.split(",") for options in places.values()), "npx and uvx run what is there"
        assert service["healthcheck"]["test"] == ["CMD", "healthy"]


def test_every_secret_must_be_said_and_the_example_says_none() -> None:
    required = set(re.findall(r"\$\{(\w+):\?\}", TEXT))
    optional = set(re.findall(r"\$\{(\w+):-", TEXT))
    assert not re.findall(r"\$\{\w+\}", TEXT)
    assert {name for name, value in EXAMPLE.items() if not value} == required
    assert {name for name, value in EXAMPLE.items() if value} <= optional
    made = set(re.findall(r"^\\getenv \w+ (\w+)$", (COMPOSE / "databases.psql").read_text(), re.MULTILINE))
    assert made <= SERVICES["postgres"]["environment"].keys()


def test_what_a_service_names_is_there() -> None:
    for service in SERVICES.values():
        assert set(service["networks"]) == {"hub"}
        assert set(service.get("depends_on", {})) <= SERVICES.keys()
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in FILE["volumes"] or (COMPOSE / source).is_file()


def test_the_proxy_finds_the_parts_where_its_configuration_says() -> None:
    proxied = dict(
        re.findall(r"^ +server (\S+) ([\d.]+):", (ROOT / "deployments/haproxy/haproxy.cfg").read_text(), re.M)
    )
    placed = {
        name: service["networks"]["hub"]["ipv4_address"]
        for name, service in SERVICES.items()
        if isinstance(service["networks"], dict)
    }
    assert placed.pop("proxy") == SERVICES["api-1"]["environment"]["NEXUS_TRUSTED_PROXIES"]
    assert placed == proxied
    commands = {name: SERVICES[name]["command"] for name in placed}
    assert commands == {name: ["api"] if name.startswith("api") else ["prefect-server"] for name in proxied}


def test_no_container_is_given_an_address_that_another_one_needs() -> None:
    (pool,) = FILE["networks"]["hub"]["ipam"]["config"]
    given = [one["networks"]["hub"] for one in SERVICES.values() if isinstance(one["networks"], dict)]
    kept = {ip_address(one["ipv4_address"]) for one in given} | {ip_address(pool["gateway"])}
    assert len(kept) == len(given) + 1
    assert all(address in ip_network(pool["subnet"]) for address in kept)
    assert not any(address in ip_network(pool["ip_range"]) for address in kept)
