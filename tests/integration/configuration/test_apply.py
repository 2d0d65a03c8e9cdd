"""Configuration applied to a real database: all or nothing, once or twice, and what was changed by hand since."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from nexus_hub.access import users
from nexus_hub.configuration.apply import Configurations
from nexus_hub.configuration.checks import parse
from nexus_hub.configuration.hub_file import read_text
from nexus_hub.configuration.plan import Plan
from nexus_hub.configuration.schema import Configuration
from nexus_hub.db.pool import Database
from nexus_hub.errors import InvalidConfiguration
from nexus_hub.models import ServerRef
from nexus_hub.servers.limits import LimitChange, change_limits
from nexus_hub.vault.keyring import FixedKeyring, Keyring
from nexus_hub.vault.keys import VaultKey
from nexus_hub.vault.sealing import Vault
from tests.fixtures.postgres import HubDatabase

WHOLE = """
settings: {access: closed}
servers:
  weather:
    url: https://weather.example/mcp
    headers: {Authorization: "Bearer ${TOKEN}", X-Region: eu}
    tags: [public, outdoors]
    limit_per_minute: 600
    user_limit_per_minute: 60
    access: open
    durable: always
    handle_seconds: 5
    connect_seconds: 10
  files:
    command: npx
    args: [-y, server-files, "--token=${TOKEN}"]
    env: {API_KEY: "${TOKEN}"}
    pin: true
    ttl: 1h
    enabled: false
    tools:
      write_file: {enabled: false}
      index_all: {durable: always}
bundles:
  travel:
    title: Travel
    instructions: Look at the forecast first.
    entries:
    - {server: weather, source: get_forecast, name: forecast, fixed: {units: metric, key: "${TOKEN}"}, hidden: [debug]}
    - {server: files, source: "*", kind: resource}
groups:
  everyone: {grants: [{level: list, server: files}]}
  staff:
    members: [anna, ben]
    claims: [company-staff]
    grants:
    - {level: call, server: weather}
    - {level: approve, server: files, tool: read_file, approvers: leads, self_approval: true}
    - {level: call, bundle: travel}
  leads: {members: [anna]}
"""
TOKEN = "canary-0123456789-canary"


@pytest.fixture
def configurations(hub_database: Database) -> Configurations:
    return Configurations(hub_database, Vault(FixedKeyring(Keyring(VaultKey.generate()))))


@pytest.fixture
def rows(database: HubDatabase) -> Iterator[Any]:
    """Give the rows of a query, as the owner sees them."""
    with psycopg.connect(database.owner_url, row_factory=dict_row, autocommit=True) as owner:
        yield lambda query: owner.execute(query.encode()).fetchall()


async def _add_people(database: Database) -> None:
    for name in ("anna", "ben"):
        await users.add(database, name)


def _read(text: str, **environment: str) -> Configuration:
    return parse(read_text(text, "hub.yaml", Path(), {"TOKEN": TOKEN} | environment).data)


def _told(plan: Plan) -> list[tuple[str, str, str]]:
    return [(change.section, change.name, change.change) for change in plan.changes]


def _members(plan: Plan, name: str) -> dict[str, tuple[str, Any, Any]]:
    (found,) = (change for change in plan.changes if change.name == name)
    return {".".join(one.path): (one.change, one.old, one.new) for one in found.members}


async def test_a_plan_after_an_apply_is_empty(hub_database: Database, configurations: Configurations) -> None:
    await _add_people(hub_database)
    wanted = _read(WHOLE)
    before = await configurations.plan(wanted)
    assert _told(before) == [
        ("settings", "", "changed"),
        ("servers", "files", "added"),
        ("servers", "weather", "added"),
        ("bundles", "travel", "added"),
        ("groups", "everyone", "changed"),
        ("groups", "leads", "added"),
        ("groups", "staff", "added"),
    ]
    applied = await configurations.apply(wanted)
    assert applied.plan == before
    assert [name for _, name in applied.to_read] == ["weather"]
    after = await configurations.plan(wanted, prune=True)
    assert (after.changes, after.not_in_file, after.drift) == ([], [], [])
    assert (await configurations.apply(wanted)).to_read == []


async def test_no_secret_is_in_a_plan_or_in_what_is_kept_of_it(
    hub_database: Database, configurations: Configurations, rows: Any
) -> None:
    await _add_people(hub_database)
    plan = await configurations.plan(_read(WHOLE))
    assert TOKEN not in repr(plan)
    await configurations.apply(_read(WHOLE))
    assert TOKEN not in repr(await configurations.plan(_read(WHOLE, TOKEN="another-secret-0123")))
    assert TOKEN not in str(rows("SELECT document::text FROM applied_configuration"))
    assert TOKEN not in str(rows("SELECT * FROM system_servers"))


async def test_a_change_is_told_member_by_member(hub_database: Database, configurations: Configurations) -> None:
    await _add_people(hub_database)
    await configurations.apply(_read(WHOLE))
    changed = WHOLE.replace("public, outdoors", "public, sky").replace("limit_per_minute: 600", "limit_per_minute: 5")
    changed = changed.replace("ttl: 1h", "ttl: 90m").replace("X-Region: eu", "X-Region: us").replace("first.", "now.")
    changed = changed.replace("level: call, bundle", "level: list, bundle").replace("[anna, ben]", "[anna]")
    plan = await configurations.plan(_read(changed.replace("write_file: {enabled: false}", "write_file: {}")))
    assert _members(plan, "weather") == {
        "headers.X-Region": ("changed", None, None),
        "limit_per_minute": ("changed", 600, 5),
        "tags.outdoors": ("removed", True, None),
        "tags.sky": ("added", None, True),
    }
    assert _members(plan, "files") == {
        "tools.write_file.enabled": ("removed", False, None),
        "ttl": ("changed", "1h", "90m"),
    }
    assert _members(plan, "travel") == {
        "instructions": ("changed", "Look at the forecast first.", "Look at the forecast now.")
    }
    assert _members(plan, "staff") == {
        "grants.bundle travel.level": ("changed", "call", "list"),
        "members.ben": ("removed", True, None),
    }
    await configurations.apply(_read(changed))
    assert (await configurations.plan(_read(changed))).changes == []


async def test_another_secret_is_a_change_of_which_no_value_is_told(
    hub_database: Database, configurations: Configurations
) -> None:
    await _add_people(hub_database)
    await configurations.apply(_read(WHOLE))
    plan = await configurations.plan(_read(WHOLE, TOKEN="another-secret-0123"))
    assert {one.name: [".".join(member.path) for member in one.members] for one in plan.changes} == {
        "files": ["args.2", "env.API_KEY"],
        "weather": ["headers.Authorization"],
        "travel": ["entries.tool weather get_forecast as forecast.fixed.key"],
    }
    assert all(member.secret and member.old is None for one in plan.changes for member in one.members)


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("[anna, ben]", "[anna, bert]", ("groups", "staff", "members", 1)),
        ("{level: call, server: weather}", "{level: call, server: wether}", ("groups", "staff", "grants", 0, "server")),
        ("approvers: leads", "approvers: heads", ("groups", "staff", "grants", 1, "approvers")),
        ("bundle: travel", "bundle: travels", ("groups", "staff", "grants", 2, "bundle")),
        ("{server: files, source", "{server: fils, source", ("bundles", "travel", "entries", 1, "server")),
    ],
)
async def test_a_file_with_one_error_changes_nothing(
    hub_database: Database, configurations: Configurations, rows: Any, old: str, new: str, path: tuple[str | int, ...]
) -> None:
    await _add_people(hub_database)
    with pytest.raises(InvalidConfiguration) as refused:
        await configurations.apply(_read(WHOLE.replace(old, new)))
    assert [fault.path for fault in refused.value.faults] == [path]
    assert rows("SELECT name FROM system_servers") == []
    assert rows("SELECT name FROM bundles") == []
    assert rows("SELECT access FROM hub_settings") == [{"access": "open"}]


async def test_a_failure_of_the_database_on_the_way_changes_nothing(
    hub_database: Database, configurations: Configurations, rows: Any
) -> None:
    await _add_people(hub_database)
    wanted = _read(WHOLE)
    assert wanted.groups is not None
    wanted.groups["staff"].claims = ["a\x00b"]
    with pytest.raises(psycopg.DataError):
        await configurations.apply(wanted)
    assert rows("SELECT name FROM system_servers") == []


async def test_names_that_others_have_are_refused(
    hub_database: Database, configurations: Configurations, rows: Any
) -> None:
    await _add_people(hub_database)
    rows(
        "INSERT INTO user_servers (user_id, name, transport, config_encrypted, key_id, endpoint) "
        "SELECT id, 'weather', 'http', decode(repeat('00', 40), 'hex'), '0123abcd', 'x' FROM users "
        "WHERE name = 'anna' RETURNING id"
    )
    await configurations.apply(_read("servers: {time: {command: uvx}}"))
    with pytest.raises(InvalidConfiguration, match=r"servers\.weather: a user has a server of this name"):
        await configurations.plan(_read(WHOLE))
    with pytest.raises(InvalidConfiguration, match=r"bundles\.time: a server has this name"):
        await configurations.plan(_read("bundles: {time: {}}"))


async def test_what_is_not_in_the_file_stays_unless_it_is_pruned(
    hub_database: Database, configurations: Configurations
) -> None:
    await _add_people(hub_database)
    await configurations.apply(_read(WHOLE))
    less = _read("servers: {time: {command: uvx}}\nbundles: {}\ngroups: {leads: {members: [ben]}}")
    plan = await configurations.plan(less)
    assert _told(plan) == [("servers", "time", "added"), ("groups", "leads", "changed")]
    assert plan.not_in_file == [
        ("servers", "files"),
        ("servers", "weather"),
        ("bundles", "travel"),
        ("groups", "staff"),
    ]
    pruned = await configurations.apply(less, prune=True)
    assert ("servers", "files", "removed") in _told(pruned.plan)
    after = (await configurations.read()).configuration
    assert (set(after.servers or {}), set(after.bundles or {}), set(after.groups or {})) == (
        {"time"},
        set(),
        {"everyone", "leads"},
    )
    assert after.groups is not None
    assert after.groups["everyone"].grants == []
    assert after.settings is not None
    assert after.settings.access == "closed"


async def test_pruning_does_not_take_what_others_name(hub_database: Database, configurations: Configurations) -> None:
    await _add_people(hub_database)
    await configurations.apply(_read(WHOLE))
    with pytest.raises(InvalidConfiguration) as refused:
        await configurations.apply(_read("servers: {weather: {url: https://weather.example/mcp}}"), prune=True)
    assert "there is no system server 'files'" in refused.value.message
    assert {fault.path[:2] for fault in refused.value.faults} == {
        ("bundles", "travel"),
        ("groups", "everyone"),
        ("groups", "staff"),
    }


async def test_changes_by_hand_are_drift_until_the_next_apply(
    hub_database: Database, configurations: Configurations, rows: Any
) -> None:
    await _add_people(hub_database)
    await configurations.apply(_read(WHOLE))
    ids = (await configurations.read()).ids
    await change_limits(
        hub_database, ServerRef("system", ids["weather"]), LimitChange(frozenset({"limit_per_minute"}), 7)
    )
    rows("DELETE FROM user_groups WHERE name = 'leads' RETURNING id")
    rows("UPDATE system_servers SET key_id = 'deadbeef' WHERE name = 'files' RETURNING id")
    plan = await configurations.plan(_read(WHOLE))
    drift = {one.name: (one.change, [(".".join(m.path), m.old, m.new) for m in one.members]) for one in plan.drift}
    assert drift["weather"] == ("changed", [("limit_per_minute", 600, 7)])
    assert drift["leads"] == ("removed", [])
    assert drift["staff"][1] == [("grants.server files tool read_file.approvers", "leads", None)]
    assert drift["files"][0] == "changed"
    await configurations.apply(_read(WHOLE))
    after = await configurations.plan(_read(WHOLE))
    assert (after.changes, after.drift) == ([], [])


async def test_a_server_that_was_switched_off_is_no_other_connection(
    hub_database: Database, configurations: Configurations, rows: Any
) -> None:
    await _add_people(hub_database)
    await configurations.apply(_read(WHOLE))
    rows("UPDATE system_servers SET enabled = false WHERE name = 'weather' RETURNING id")
    drift = (await configurations.plan(_read(WHOLE))).drift
    assert [(one.name, [(*member.path, member.new) for member in one.members]) for one in drift] == [
        ("weather", [("enabled", False)])
    ]


async def test_what_was_never_in_a_file_is_no_drift(hub_database: Database, configurations: Configurations) -> None:
    await configurations.apply(_read("servers: {weather: {url: https://weather.example/mcp}}"))
    await users.add(hub_database, "carla")
    assert (await configurations.plan(_read("groups: {own: {members: [carla]}}"))).drift == []


async def test_a_hundred_servers_are_applied_twice_at_once(
    hub_database: Database, configurations: Configurations
) -> None:
    servers = "".join(
        f"  s{n}: {{url: https://s{n}.example/mcp, headers: {{A-Key: '${{TOKEN}}'}}}}\n" for n in range(100)
    )
    wanted = _read(f"servers:\n{servers}")
    one, two = await asyncio.gather(configurations.apply(wanted), configurations.apply(wanted))
    assert sorted(len(applied.plan.changes) for applied in (one, two)) == [0, 100]
    plan = await configurations.plan(wanted)
    assert (plan.changes, plan.drift) == ([], [])
    assert len((await configurations.read()).ids) == 100


async def test_a_login_goes_to_no_other_place(
    hub_database: Database, configurations: Configurations, rows: Any
) -> None:
    logged_in = "servers: {weather: {url: https://weather.example/mcp, login: {kind: oauth}}}"
    await configurations.apply(_read(logged_in))
    add = (
        "INSERT INTO upstream_logins (server_type, server_ref_id, kind, sealed, key_id) SELECT 'system', id, 'oauth', "
        "decode(repeat('00', 40), 'hex'), '0123abcd' FROM system_servers RETURNING id"
    )
    rows(add)
    await configurations.apply(_read(logged_in.replace("}}}", "}, headers: {X-Region: eu}, tags: [a]}}")))
    assert len(rows("SELECT id FROM upstream_logins")) == 1
    await configurations.apply(_read(logged_in.replace("weather.example", "other.example")))
    assert rows("SELECT id FROM upstream_logins") == []


async def test_a_login_that_was_found_out_stays_where_the_file_says_nothing_of_one(
    hub_database: Database, configurations: Configurations
) -> None:
    await configurations.apply(_read("servers: {weather: {url: https://weather.example/mcp, login: {kind: oauth}}}"))
    without = "servers: {weather: {url: https://weather.example/mcp}}"
    assert (await configurations.plan(_read(without))).changes == []
    await configurations.apply(_read(without.replace("mcp}", "mcp, headers: {X-Region: eu}}")))
    server = ((await configurations.read()).configuration.servers or {})["weather"]
    assert server.login is not None
    assert set(server.headers) == {"X-Region"}


async def test_another_connection_raises_the_revision_and_another_word_does_not(
    hub_database: Database, configurations: Configurations
) -> None:
    text = "servers: {a: {url: https://a.example}, b: {url: https://b.example}}"
    await configurations.apply(_read(text))
    words = text.replace("a.example}", "a.example, tags: [x], limit_per_minute: 3}")
    assert (await configurations.apply(_read(words))).to_read == []
    assert (await configurations.read()).revisions == {"a": 1, "b": 1}
    # in one transaction with words of others, in whatever order
    both = words.replace("limit_per_minute: 3", "limit_per_minute: 4").replace("b.example", "c.example")
    assert [name for _, name in (await configurations.apply(_read(both))).to_read] == ["b"]
    assert (await configurations.read()).revisions == {"a": 1, "b": 2}


async def test_a_server_that_no_key_opens_is_set_anew(hub_database: Database, configurations: Configurations) -> None:
    text = "servers: {a: {url: https://a.example, headers: {A-Key: '${TOKEN}'}}}"
    await configurations.apply(_read(text))
    others = Configurations(hub_database, Vault(FixedKeyring(Keyring(VaultKey.generate()))))
    assert _told(await others.plan(_read(text))) == [("servers", "a", "changed")]
    await others.apply(_read(text))
    assert (await others.plan(_read(text))).changes == []
