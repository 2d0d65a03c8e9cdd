"""Applying while others change the hub, and values that a database or JSON takes otherwise than a file."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nexus_hub.catalog.bundles import BundleWords, NewEntry, change_bundle
from nexus_hub.cli.configuration import write_yaml
from nexus_hub.configuration import apply as applying
from nexus_hub.configuration.apply import Configurations
from nexus_hub.configuration.checks import parse
from nexus_hub.configuration.export import export
from nexus_hub.configuration.hub_file import read_text
from nexus_hub.configuration.schema import Configuration
from nexus_hub.db.pool import Database
from nexus_hub.errors import Conflict, InvalidConfiguration
from nexus_hub.vault.keyring import FixedKeyring, Keyring
from nexus_hub.vault.keys import VaultKey
from nexus_hub.vault.rotation import Rotation, RotationPlan
from nexus_hub.vault.sealing import Vault

ONE = "servers: {one: {url: https://one.example/mcp}}\n"


@pytest.fixture
def configurations(hub_database: Database) -> Configurations:
    return Configurations(hub_database, Vault(FixedKeyring(Keyring(VaultKey.generate()))))


def _read(text: str, **environment: str) -> Configuration:
    return parse(read_text(text, "hub.yaml", Path(), environment).data)


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO user_groups (name) VALUES ('meanwhile')",
        "UPDATE system_servers SET tags = '{meanwhile}' WHERE name = 'one'",
        "DELETE FROM system_servers WHERE name = 'one'",
        "UPDATE hub_settings SET access = 'closed'",
    ],
)
async def test_a_change_by_hand_waits_for_the_end_of_an_apply(
    hub_database: Database, configurations: Configurations, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    await configurations.apply(_read(f"settings: {{}}\n{ONE}"))
    by_hand: list[asyncio.Task[None]] = []
    write = applying._Writer.write

    async def change_it() -> None:
        async with hub_database.transaction() as transaction:
            await transaction.run(change.encode())

    async def write_late(self: Any, changes: Any) -> None:
        by_hand.append(asyncio.create_task(change_it()))
        await asyncio.wait(by_hand, timeout=0.3)
        await write(self, changes)

    monkeypatch.setattr(applying._Writer, "write", write_late)
    await configurations.apply(_read("servers: {two: {url: https://two.example/mcp}}\n"))
    await by_hand[0]
    assert "two" in ((await configurations.read()).configuration.servers or {})


@pytest.mark.parametrize("number", ["1.5e300", "1e23", "123456789012345678901234567890", "1.0", "-0.0", "1e20", "0.1"])
async def test_numbers_are_kept(configurations: Configurations, number: str) -> None:
    text = ONE + f"bundles: {{b: {{entries: [{{server: one, source: x, fixed: {{n: {number}}}}}]}}}}\n"
    await configurations.apply(_read(text))
    assert (await configurations.plan(_read(text))).changes == []


async def test_a_switch_and_a_number_are_two_values(configurations: Configurations) -> None:
    text = ONE + "bundles: {b: {entries: [{server: one, source: x, fixed: {n: %s}}]}}\n"
    await configurations.apply(_read(text % "true"))
    assert (await configurations.plan(_read(text % "1"))).changes != []
    await configurations.apply(_read(text % "1"))
    assert (await configurations.plan(_read(text % "1"))).changes == []


@pytest.mark.parametrize(
    "text",
    [
        'groups: {g: {claims: ["a\\0b"]}}',
        'groups: {g: {members: ["a\\0b"]}}',
        'bundles: {b: {title: "a\\0b"}}',
        'bundles: {b: {instructions: "a\\0b"}}',
        ONE + 'bundles: {b: {entries: [{server: one, source: "a\\0b"}]}}',
        ONE + 'bundles: {b: {entries: [{server: one, source: a, name: "a\\0b"}]}}',
        ONE + 'bundles: {b: {entries: [{server: one, source: a, title: "a\\0b", hidden: ["\\0"]}]}}',
        ONE + 'bundles: {b: {entries: [{server: one, source: a, fixed: {"a\\0": "\\0"}}]}}',
        ONE + 'bundles: {b: {entries: [{server: "\\0", source: a}]}}',
        ONE + 'groups: {g: {grants: [{level: call, server: one, tool: "a\\0b"}]}}',
        ONE + 'groups: {g: {grants: [{level: call, server: one, tool: a, approvers: "g\\0"}]}}',
        'servers: {one: {url: https://one.example/mcp, tools: {"a\\0b": {enabled: false}}}}',
        'servers: {one: {url: "https://one.example/mcp\\0"}}',
        'servers: {one: {url: https://one.example/mcp, login: {kind: oauth, client_id: "a\\0b"}}}',
        'servers: {"o\\n": {url: https://one.example/mcp}}',
        'groups: {"g\\n": {}}',
        'bundles: {"b\\n": {}}',
        "bundles: {hub: {}}",
        "servers: {hub: {url: https://x.y/mcp}}",
        "servers: {One: {url: https://x.y/mcp}, one: {url: https://x.y/mcp}}",
        "bundles: {One: {}, one: {}}",
        "groups: {One: {}, one: {}}",
        "servers: {one: {url: https://x.y/mcp}}\nbundles: {One: {}}",
    ],
)
async def test_odd_texts_are_kept_or_refused(configurations: Configurations, text: str) -> None:
    try:
        await configurations.apply(_read(text))
    except (InvalidConfiguration, Conflict):
        return
    assert (await configurations.plan(_read(text))).changes == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE bundle_entries SET hidden = '{x}'",
        "UPDATE bundles SET title = 'x'",
        "UPDATE system_servers SET pin = true",
        "UPDATE system_servers SET enabled = false",
        "UPDATE system_servers SET limit_per_minute = 7",
        "INSERT INTO call_policies (server_type, server_ref_id, tool_name, enabled) "
        "SELECT 'system', id, 'zz', false FROM system_servers",
        "DELETE FROM bundles",
        "UPDATE bundle_entries SET position = position + 3, source='q'",
        "UPDATE hub_settings SET access = 'closed'",
        "DELETE FROM access_grants",
        "UPDATE access_grants SET level = 'list'",
        "UPDATE user_groups SET claims = '{q}' WHERE name = 'g'",
        "DELETE FROM user_groups WHERE name = 'g'",
        "UPDATE user_groups SET name = 'h' WHERE name = 'g'",
        "UPDATE system_servers SET name = 'uno'",
    ],
)
async def test_drift_of_each_kind(hub_database: Database, configurations: Configurations, change: str) -> None:
    text = f"settings: {{}}\n{ONE}bundles: {{b: {{entries: [{{server: one, source: x}}]}}}}\n"
    text += "groups: {g: {grants: [{level: call, server: one}]}}\n"
    await configurations.apply(_read(text))
    async with hub_database.transaction() as transaction:
        assert await transaction.run(change.encode())
    assert (await configurations.plan(_read(text))).drift


@pytest.mark.parametrize(
    "text",
    [
        'bundles: {b: {instructions: "a\\r\\nb"}}',
        'bundles: {b: {instructions: "a\\u2028b\\nc"}}',
        'bundles: {b: {instructions: "a\\x85b\\nc"}}',
        'bundles: {b: {instructions: "a\\tb\\nc \\n  d"}}',
        'bundles: {b: {instructions: "a\\x07b\\nc"}}',
        'bundles: {b: {title: "no"}}',
        'bundles: {b: {title: "1e3"}}',
        'bundles: {b: {title: "2024-01-01"}}',
        'bundles: {b: {title: "a  b   %s"}}' % ("word  " * 60),
        'bundles: {b: {title: "a: b #c \\ttrail "}}',
        'bundles: {"no": {title: "\\ufeff"}}',
        'bundles: {b: {title: "\\U0001F600 \\u200b"}}',
        'bundles: {"1": {title: "x"}}',
        'bundles: {b: {title: "~"}}',
        'bundles: {b: {title: "="}}',
        'bundles: {b: {title: "<<"}}',
        'bundles: {b: {instructions: "# a\\n# b"}}',
        'servers: {one: {url: "https://x.y/file:abc/m?x=file:z&t"}}',
        'servers: {one: {url: "https://x.y/mcp?"}}',
        'servers: {one: {url: "https://x.y/mcp?0123456789abcdef0123"}}',
        'servers: {one: {url: "https://X.y:443/mcp?a=$${b}"}}',
        'servers: {one: {command: "$$file:x", args: ["$$file:a", "$$${A}", "$$$${A}", "--x=$$file:a", "a\\nb", ""]}}',
        'servers: {one: {command: x, args: [a], env: {A: "", B: "x\\r\\n"}}}',
        'servers: {one: {url: "https://x.y/mcp", headers: {X: ""}, login: {kind: header, header: X-K, prefix: ""}}}',
        'servers: {one: {url: "https://x.y/mcp", '
        'login: {kind: oauth, client_id: "${C}", client_secret: "${S}"}, credentials: per-user, connect_seconds: 1.5}}',
        ONE + 'bundles: {b: {entries: [{server: one, source: x, fixed: {a: {b: ["$$file:c", null, {d: ""}]}}}]}}',
    ],
)
async def test_what_is_exported_is_applied_as_it_was(configurations: Configurations, text: str) -> None:
    await configurations.apply(_read(text, C="client", S="secret"))
    exported = export(await configurations.read())
    names = [{"name": name} for name in exported.secrets]
    document = write_yaml({"configuration": exported.document, "secrets": names})
    plan = await configurations.plan(_read(document, **dict.fromkeys(exported.secrets, "x")), prune=True)
    members = [member for change in plan.changes for member in change.members]
    assert [member for member in members if not (member.secret and exported.secrets)] == [], document


async def test_drift_tells_of_fixed_arguments_too(hub_database: Database, configurations: Configurations) -> None:
    text = ONE + "bundles: {b: {entries: [{server: one, source: x, fixed: {n: 1}}]}}\n"
    await configurations.apply(_read(text))
    assert (await configurations.plan(_read(text))).drift == []
    words = BundleWords(name="b", title=None, instructions=None, access=None)
    async with hub_database.transaction() as transaction:
        await change_bundle(transaction, "b", words, [NewEntry(kind="tool", server="one", source="x", fixed={"n": 2})])
    (change,) = (await configurations.plan(_read(text))).drift
    assert [member.path for member in change.members] == [("fixed arguments",)]


async def test_a_server_that_is_switched_on_is_read_at_once(configurations: Configurations) -> None:
    off = ONE.replace("mcp}", "mcp, enabled: false}")
    assert (await configurations.apply(_read(off))).to_read == []
    assert [name for _, name in (await configurations.apply(_read(ONE))).to_read] == ["one"]
    assert (await configurations.apply(_read(off))).to_read == []


async def test_a_rotation_of_the_keys_goes_on_beside(hub_database: Database) -> None:
    old, new = VaultKey.generate(), VaultKey.generate()
    before = Configurations(hub_database, Vault(FixedKeyring(Keyring(old, (new,)))))
    ring = FixedKeyring(Keyring(new, (old,)))

    def write(header: str) -> Configuration:
        servers = (f"  s{n}: {{url: https://x.example/mcp, headers: {{X: '{header}'}}}}\n" for n in range(20))
        return _read("servers:\n" + "".join(servers))

    await before.apply(write("0"))
    rotation = Rotation(hub_database, ring, batch=3)
    steps: list[Any] = []

    async def tell(*step: Any) -> None:
        steps.append(step)

    async def apply() -> None:
        for header in ("1", "2", "3"):
            await before.apply(write(header))

    report, _ = await asyncio.gather(rotation.run(RotationPlan(new.id, old.id), tell), apply())
    assert report.errors == []
    after = Configurations(hub_database, Vault(ring))
    assert (await after.plan(write("3"))).changes == []


async def test_what_prune_takes_may_not_be_spoken_of(configurations: Configurations) -> None:
    text = (
        ONE + "bundles: {b: {entries: [{server: one, source: x}]}}\ngroups: {g: {grants: [{level: call, bundle: b}]}}\n"
    )
    await configurations.apply(_read(text))
    for section in ("servers: {}", "bundles: {}"):
        with pytest.raises(InvalidConfiguration):
            await configurations.apply(_read(section), prune=True)
    assert (await configurations.plan(_read(text))).changes == []


async def test_a_name_goes_from_one_section_to_another(configurations: Configurations) -> None:
    await configurations.apply(_read("servers: {two: {url: https://x.example/mcp}}\nbundles: {one: {}}\n"))
    turned = _read(ONE + "bundles: {two: {entries: [{server: one, source: x}]}}\n")
    await configurations.apply(turned, prune=True)
    plan = await configurations.plan(turned, prune=True)
    assert (plan.changes, plan.not_in_file) == ([], [])


async def test_groups_take_over_from_groups_that_go(configurations: Configurations) -> None:
    grants = "[{level: approve, server: one, approvers: %s}]"
    await configurations.apply(_read(f"{ONE}groups: {{a: {{}}, c: {{grants: {grants % 'a'}}}}}\n"))
    turned = _read(f"{ONE}groups: {{b: {{}}, c: {{grants: {grants % 'b'}}}}}\n")
    await configurations.apply(turned, prune=True)
    assert (await configurations.plan(turned, prune=True)).changes == []


async def test_two_files_at_once_with_prune_leave_one_of_both(configurations: Configurations) -> None:
    text = "servers: {s%s: {url: https://x.example/mcp}}\nbundles: {b%s: {entries: [{server: s%s, source: x}]}}\n"
    files = [_read(text % (n, n, n)) for n in range(2)]
    await asyncio.gather(*(configurations.apply(files[n % 2], prune=True) for n in range(6)))
    left = [plan.changes for plan in [await configurations.plan(file, prune=True) for file in files]]
    assert [] in left
    assert left[0] != left[1]
