"""`nexus-hub vault`, against a hub that only answers what it is told to."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from nexus_hub.cli.main import app
from nexus_hub.client import HubClient
from nexus_hub.vault.keyring import Keyring, KeyringFile, create
from nexus_hub.vault.keys import VaultKey
from tests.fixtures.stream import streamed

OLD, NEW = "0123abcd", "89abcdef"
LAST: dict[str, Any] = {
    "old_key_id": OLD,
    "new_key_id": NEW,
    "started_at": "2026-11-24T00:22:02.774584Z",
    "finished_at": "2026-11-24T00:23:02.774584Z",
    "restored_at": None,
    "updated": 3,
    "errors": [],
}
STATUS: dict[str, Any] = {
    "primary_key_id": NEW,
    "keys": [{"key_id": NEW, "primary": True, "rows": 3}, {"key_id": OLD, "primary": False, "rows": 0}],
    "unbound": 0,
    "missing_keys": [],
    "last_rotation": LAST,
    "backups": 3,
}


class StubHub:
    """Answers by path, and keeps what was asked of it."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"/v1/vault": STATUS}
        self.asked: list[tuple[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.url.path, json.loads(request.content or b"null")))
        answer = self.answers[request.url.path]
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StubHub:
    """A hub in the place of the one that the settings name; the home is a directory of the test's."""
    stub, plain = StubHub(), HubClient.__init__

    def initialise(self: HubClient, url: str, token: str | None, *, timeout: float = 60) -> None:
        plain(self, url, token, timeout=timeout)
        self._http = httpx.AsyncClient(base_url=url, transport=httpx.MockTransport(stub))

    monkeypatch.setattr(HubClient, "__init__", initialise)
    for variable in ("VAULT_ENCRYPTION_KEY", "VAULT_OLD_KEY", "VAULT_NEW_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NEXUS_HOME", str(tmp_path))
    tmp_path.chmod(0o700)
    return stub


@pytest.fixture
def keyring(hub: StubHub, tmp_path: Path) -> KeyringFile:
    """The home's keyring."""
    create(tmp_path / "keyring.json")
    return KeyringFile(tmp_path / "keyring.json")


Run = Callable[..., Result]


@pytest.fixture
def run(hub: StubHub) -> Run:
    return lambda *words: CliRunner().invoke(app, ["vault", *words])


def test_a_key_that_is_made_is_shown_with_its_id(run: Run) -> None:
    made = json.loads(run("keygen", "--json").output)
    assert VaultKey.parse(made["key"]).id == made["key_id"]


def test_a_key_that_is_added_is_not_shown(run: Run, keyring: KeyringFile) -> None:
    before = keyring.current()
    done = run("keygen", "--add")
    assert done.exit_code == 0
    (added,) = keyring.current().others
    assert keyring.current().primary == before.primary
    assert done.output == f"{added.id}\n"


def test_no_key_is_added_beside_keys_of_the_environment(
    run: Run, keyring: KeyringFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_ENCRYPTION_KEY", VaultKey.generate().reveal())
    done = run("keygen", "--add")
    assert done.exit_code != 0
    assert keyring.current().others == ()


def test_the_status_has_a_line_for_each_key(run: Run, hub: StubHub) -> None:
    hub.answers["/v1/vault"] = STATUS | {"unbound": 2, "missing_keys": [{"key_id": "ffffffff", "rows": 1}]}
    lines = run("status").output.splitlines()
    assert lines[:4] == [f"{NEW}\tprimary\t3", f"{OLD}\topens\t0", "ffffffff\tmissing\t1", "none\tunbound\t2"]
    assert lines[4:] == [
        f"The rotation to {NEW}, begun 2026-11-24 00:22, ended 2026-11-24 00:23: 3 sealed anew, 0 errors."
    ]


@pytest.mark.parametrize(
    ("status", "remark"),
    [
        ({"last_rotation": None}, "No rotation yet."),
        ({"last_rotation": LAST | {"finished_at": None}}, "vault rotate goes on with it"),
        ({"last_rotation": LAST | {"restored_at": LAST["finished_at"]}, "primary_key_id": OLD}, "was taken back"),
        ({"primary_key_id": OLD}, "VAULT_ENCRYPTION_KEY"),
    ],
)
def test_the_status_says_what_is_left_to_do(run: Run, hub: StubHub, status: dict[str, Any], remark: str) -> None:
    hub.answers["/v1/vault"] = STATUS | status
    assert remark in run("status").output.splitlines()[-1]


def test_a_rotation_sends_ids_only_and_shows_its_report(run: Run, hub: StubHub) -> None:
    hub.answers["/internal/vault-rotate"] = {"updated": 3, "errors": []}
    done = run("rotate", "--to", NEW, "--from", OLD.upper())
    assert (done.exit_code, done.output.splitlines()[0]) == (0, "3 values are sealed anew.")
    assert hub.asked[0] == ("/internal/vault-rotate", {"new_key_id": NEW, "old_key_id": OLD})


def test_a_rotation_with_errors_fails(run: Run, hub: StubHub) -> None:
    hub.answers["/internal/vault-rotate"] = {"updated": 1, "errors": ["Server system/x: can't be opened"]}
    done = run("rotate")
    assert (done.exit_code, hub.asked[0][1]) == (1, {})
    assert "1 value is sealed anew." in done.output
    assert "Server system/x: can't be opened" in done.output


@pytest.mark.parametrize(("errors", "code"), [([], 0), (["Server system/x: ..."], 1)])
def test_a_dry_run_changes_nothing_and_says_so(run: Run, hub: StubHub, errors: list[str], code: int) -> None:
    hub.answers["/internal/vault-rotate"] = {"would_update": 3, "errors": errors}
    done = run("rotate", "--dry-run")
    assert (done.exit_code, hub.asked) == (code, [("/internal/vault-rotate", {"dry_run": True})])
    assert done.output.splitlines()[0] == "3 to seal anew; nothing was changed."


@pytest.mark.parametrize("words", [("rotate", "--to"), ("rotate", "--from"), ("restore",), ("forget",)])
def test_a_key_that_is_given_in_place_of_an_id_is_not_sent(run: Run, hub: StubHub, words: tuple[str, ...]) -> None:
    key = VaultKey.generate().reveal()
    done = run(*words, key)
    assert (done.exit_code, hub.asked) == (2, [])
    assert key[:12] not in done.output


def job(version: int, status: str, **more: object) -> dict[str, Any]:
    blank = {"progress": None, "result": None, "error": None, "error_code": None, "attempt": 1}
    return blank | {"version": version, "status": status} | more


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        (job(2, "completed", result={"updated": 9, "errors": []}), 0, "9 values are sealed anew."),
        (job(2, "completed", result={"updated": 8, "errors": ["Server user/x: ..."]}), 1, "Server user/x: ..."),
        (job(2, "failed", error="The worker was lost."), 1, "The worker was lost."),
        (job(2, "cancelled"), 1, "cancelled"),
    ],
)
def test_a_long_rotation_is_followed_to_its_end(
    run: Run, hub: StubHub, end: dict[str, Any], code: int, said: str
) -> None:
    hub.answers["/internal/vault-rotate"] = {"job_id": "j", "flow_run_id": "f"}
    hub.answers["/v1/jobs/j/events"] = streamed(job(1, "running"), end)
    done = run("rotate")
    assert done.exit_code == code
    assert said in done.output


def test_a_restore_names_what_it_left(run: Run, hub: StubHub) -> None:
    hub.answers["/internal/vault-restore"] = {"restored": 2, "left": ["Server user/x: was changed since the rotation"]}
    done = run("restore", NEW)
    assert (done.exit_code, hub.asked) == (1, [("/internal/vault-restore", {"key_id": NEW})])
    assert done.output.splitlines() == ["2 values are put back.", "Server user/x: was changed since the rotation"]


def held(primary: VaultKey, *others: VaultKey) -> dict[str, Any]:
    """The status of a hub that holds these keys."""
    keys = [{"key_id": key.id, "primary": key is primary, "rows": int(key is primary)} for key in (primary, *others)]
    return STATUS | {"primary_key_id": primary.id, "keys": keys}


def test_a_key_without_rows_is_forgotten(run: Run, hub: StubHub, keyring: KeyringFile) -> None:
    old, new = keyring.current().primary, VaultKey.generate()
    keyring.change(lambda _: Keyring(new, (old,)))
    hub.answers["/v1/vault"] = held(new, old)
    assert run("forget", old.id).exit_code == 0
    assert keyring.current() == Keyring(new)
    hub.answers["/v1/vault"] = held(new)
    assert run("forget", old.id).exit_code == 1


def test_no_key_is_forgotten_on_the_word_of_another_hub(run: Run, hub: StubHub, keyring: KeyringFile) -> None:
    ring = Keyring(keyring.current().primary, (VaultKey.generate(),))
    keyring.change(lambda _: ring)
    for other in (held(VaultKey.generate()), held(ring.primary), held(ring.others[0], ring.primary)):
        hub.answers["/v1/vault"] = other
        assert run("forget", ring.others[0].id).exit_code == 1
    assert keyring.current() == ring


@pytest.mark.parametrize(
    "status",
    [
        {"primary_key_id": OLD},
        {"keys": [{"key_id": OLD, "primary": False, "rows": 1}]},
        {"last_rotation": LAST | {"finished_at": None}},
    ],
    ids=["primary", "rows", "under way"],
)
def test_a_key_that_is_still_needed_is_kept(
    run: Run, hub: StubHub, keyring: KeyringFile, status: dict[str, Any]
) -> None:
    hub.answers["/v1/vault"] = STATUS | status
    done = run("forget", OLD)
    assert done.exit_code == 1
    assert "first" in done.output
