"""Files as the makers of clients and of the registry describe them: each entry comes, or is refused with its line."""

from pathlib import Path

import pytest

from nexus_hub.errors import InvalidConfig
from nexus_hub.upstream.client_files import decode
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.mcp_json import FileEntry, parse

FILES = Path(__file__).parents[2] / "fixtures" / "client_files"
ENVIRONMENT = {
    name: f"value-of-{name}"
    for name in (
        *("GITHUB_TOKEN", "API_KEY", "LINEAR_API_KEY", "FIGMA_CLIENT_ID", "FIGMA_CLIENT_SECRET", "FIGMA_OAUTH_TOKEN"),
        *(
            "PG_DSN",
            "INPUT_PERPLEXITY_KEY",
            "TOOLS_TOKEN",
            "ZED_TOKEN",
            "TENANT",
            "X_API_KEY",
            "BRAVE_API_KEY",
            "SOURCE",
        ),
    )
}
HTTP, STDIO, OFF = "http", "stdio", "off"
Outcome = str | tuple[int | None, str]
READ: dict[str, dict[str, Outcome]] = {
    "claude-desktop.json": {"filesystem": STDIO, "memory": STDIO},
    "claude-desktop-docker.json": {"github": STDIO, "old-events": (11, "'sse' is not supported")},
    "claude-code-project.json": {"sentry": HTTP, "api": HTTP, "database": STDIO},
    "claude-code-user.json": {"notion": HTTP, "vault": (16, "runs no helpers")},
    "cursor-project.json": {"linear": HTTP, "local": (11, "reads no env files")},
    "cursor-user.json": {"figma": HTTP, "postgres": STDIO},
    "vscode-workspace.json": {"github": HTTP, "perplexity": STDIO},
    "vscode-user.json": {"fetch": STDIO, "here": (14, "no working directory")},
    "vscode-sandboxed.json": {"playwright": (9, "twice")},
    "codex.toml": {"context7": STDIO, "figma": HTTP, "chrome_devtools": OFF},
    "codex-local.toml": {"my tools": STDIO, "notes": (9, "no working directory")},
    "zed.json": {"local-mcp-server": STDIO, "remote-mcp-server": HTTP},
    "zed-extensions.json": {"postgres-context-server": (4, "an extension of the editor"), "older": STDIO},
    "windsurf.json": {"github": STDIO, "remote-http-mcp": HTTP, "off": OFF},
    "server-remote.json": {"acme-analytics": HTTP},
    "server-packages.json": {"brave-search": STDIO},
    "server-image.json": {"filesystem": STDIO},
    "server-needy.json": {"needy": (14, "set the environment variable NEEDY_TOKEN")},
    "server-http-package.json": {"web": (11, "starts packages that speak on stdio")},
}
BROKEN = {"codex-broken.toml": "line 5", "windsurf-broken.json": "line 5"}


def read(name: str) -> list[FileEntry]:
    path = FILES / name
    return parse(decode(path.read_bytes()), ENVIRONMENT, toml=path.suffix == ".toml")


def outcome_of(entry: FileEntry) -> Outcome:
    if entry.config is not None:
        return entry.config.transport
    return OFF if entry.problem is None else (entry.line, entry.problem)


def test_every_file_is_looked_at() -> None:
    assert {path.name for path in FILES.iterdir()} == READ.keys() | BROKEN.keys()


@pytest.mark.parametrize("name", READ)
def test_each_entry_comes_or_is_refused_with_its_line(name: str) -> None:
    found = {entry.name: outcome_of(entry) for entry in read(name)}
    assert list(found) == list(READ[name])
    for entry, expected in READ[name].items():
        if isinstance(expected, str):
            assert found[entry] == expected
        else:
            refused = found[entry]
            assert not isinstance(refused, str)
            assert (refused[0], expected[1] in refused[1]) == (expected[0], True), refused


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_read_is_refused_with_the_line(name: str) -> None:
    with pytest.raises(InvalidConfig, match=BROKEN[name]):
        read(name)


def test_a_server_of_a_registry_arrives_disabled_and_no_other() -> None:
    arrived = {name: {entry.enabled for entry in read(name) if entry.config} for name in READ}
    assert {name for name, enabled in arrived.items() if enabled == {False}} == {
        "server-remote.json",
        "server-packages.json",
        "server-image.json",
    }


def test_a_remote_of_a_registry_is_filled_in_from_the_environment() -> None:
    [entry] = read("server-remote.json")
    assert isinstance(entry.config, HttpConfig)
    assert entry.config.url == "https://value-of-TENANT.example.com/mcp"
    headers = {name: value.get_secret_value() for name, value in entry.config.headers.items()}
    assert headers == {"X-API-Key": "value-of-X_API_KEY", "X-Region": "eu"}


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("server-packages.json", "npx -y @example/server-brave-search@1.0.2 --log-level info /project"),
        (
            "server-image.json",
            "docker run -i --rm -e LOG_LEVEL --mount type=bind,src=value-of-SOURCE,dst=/project "
            "docker.example/mcp/filesystem:1.0.2 /project",
        ),
    ],
)
def test_a_package_of_a_registry_is_started_by_the_command_of_its_kind(name: str, command: str) -> None:
    [entry] = read(name)
    assert isinstance(entry.config, StdioConfig)
    assert " ".join([entry.config.command, *entry.config.args]) == command


@pytest.mark.parametrize(
    ("described", "line", "words"),
    [
        ('"remotes": [{"type": "sse",\n"url": "https://a.example"}]', 2, "only streamable-http"),
        ('"remotes": [{"type": "streamable-http",\n"url": "ftp://a.example"}]', 3, "http"),
        ('"packages": [{"registryType": "cargo",\n"identifier": "x"}]', 2, "npm, pypi, oci, nuget"),
        ('"packages": [{"registryType": "npm", "identifier": "x",\n"runtimeHint": "bunx"}]', 3, "by npx"),
        ('"packages": [{"registryType": "npm",\n"identifier": 5}]', 3, "packages.0.identifier"),
        ('"packages": [],\n"remotes": []', None, "neither a remote nor a package"),
    ],
)
def test_a_description_that_makes_no_server_is_refused_with_its_line(
    described: str, line: int | None, words: str
) -> None:
    [entry] = parse(f'{{"name": "com.example/odd",\n{described}}}', {})
    assert entry.name == "odd"
    assert entry.config is None
    assert entry.problem is not None
    assert words in entry.problem
    assert entry.line == line


def test_the_servers_of_an_answer_of_a_registry_come_one_by_one() -> None:
    one = (
        '{"server": {"name": "com.example/%s", "remotes": [{"type": "streamable-http", "url": "https://%s.example"}]}}'
    )
    entries = parse(f'{{"servers": [{one % ("a", "a")}, {one % ("b", "b")}], "metadata": {{"count": 2}}}}', {})
    assert [(entry.name, entry.config, entry.enabled) for entry in entries] == [
        (name, HttpConfig(url=f"https://{name}.example"), False) for name in "ab"
    ]


def test_the_command_of_a_package_is_shown_without_what_the_environment_gives() -> None:
    [image] = read("server-image.json")
    assert image.shown == (
        "docker run -i --rm -e LOG_LEVEL --mount 'type=bind,src=${SOURCE},dst=/project' "
        "docker.example/mcp/filesystem:1.0.2 /project"
    )
    assert [entry.shown for name in ("server-remote.json", "windsurf.json") for entry in read(name)] == [None] * 4
