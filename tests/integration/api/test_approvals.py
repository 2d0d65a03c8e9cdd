"""Approvals over the API and by commands: who may answer, by a token or in person."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from nexus_hub.cli.main import app
from nexus_hub.errors import ApiProblem
from tests.fixtures.approvals import ADD_GROUP, GRANT, JOIN
from tests.fixtures.bundles import add_catalog, tool
from tests.fixtures.served import SERVICE_KEY, Served


@dataclass
class Bank:
    """A hub with a tool that wants a yes, ann who asks for it, and bob who decides."""

    served: Served
    ann: str
    bob: str

    async def ask(self, **arguments: str) -> dict[str, Any]:
        """Let ann call the tool, and give the approval as the operator sees it."""
        async with self.served.client(self.ann) as api:
            job = await api.submit({"job_type": "tool_invoke", "name": "bank__transfer", "arguments": arguments})
            assert job["error_code"] == "approval-needed"
        async with self.served.client() as api:
            waits = (await api.job(job["id"]))["waits"]
            return await api.request("GET", f"/v1/approvals/{waits['approval']['id']}")

    async def answer(self, token: str, asked: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Answer by a token."""
        body = {"approve": True, "digest": asked["digest"]} | more
        async with self.served.client(token) as api:
            return await api.request("POST", f"/v1/approvals/{asked['id']}", body)

    async def answer_in_person(self, token: str, asked: dict[str, Any]) -> httpx.Response:
        """Answer at the console, where the token logs in."""
        headers = {"Sec-Fetch-Site": "same-origin"}
        async with httpx.AsyncClient(base_url=self.served.url, headers=headers) as browser:
            assert (await browser.post("/v1/session", json={"token": token})).status_code == 200
            body = {"approve": True, "digest": asked["digest"]}
            return await browser.post(f"/v1/approvals/{asked['id']}", json=body)

    async def audited(self) -> list[tuple[str, str, str]]:
        """Who did what with approvals, the first first."""
        async with self.served.client() as api:
            entries = (await api.request("GET", "/v1/audit", action="approval."))["items"]
        return [(one["actor"], one["action"], one["outcome"]) for one in reversed(entries)]


@pytest.fixture
async def bank(served: Served) -> Bank:
    ref = await add_catalog(served.database, "bank", tool("transfer", "to"))
    _, ann = await served.user("ann")
    decider, bob = await served.user("bob")
    async with served.database.transaction() as transaction:
        group = (await transaction.only(ADD_GROUP, name="finance"))["id"]
        await transaction.run(JOIN, group=group, user=decider.user_id)
        await transaction.run(GRANT, server=ref.server_ref_id, tool=None, approvers=group, self_approval=True)
    return Bank(served, ann, bob)


async def test_a_call_is_asked_for_shown_and_answered(bank: Bank) -> None:
    asked = await bank.ask(to="ACME")
    assert (asked["tool"], asked["user"], asked["arguments"]) == ("bank__transfer", "ann", {"to": "ACME"})
    assert asked["approvers"] == ["finance"]
    async with bank.served.client(bank.bob) as api:
        (listed,) = (await api.request("GET", "/v1/approvals", state="waiting"))["items"]
        assert listed["may_decide"]
        assert "arguments" not in listed
        assert any(one["href"] == "/approvals" for one in (await api.request("GET", "/v1/health"))["advice"])
    assert (await bank.answer(bank.bob, asked))["state"] == "approved"
    with pytest.raises(ApiProblem, match="bob has said yes"):
        await bank.answer(bank.bob, asked)
    asks = [("ann", "approval.ask", "ok"), ("bob", "approval.grant", "ok"), ("bob", "approval.grant", "failed")]
    assert await bank.audited() == asks


async def test_who_asks_answers_in_person_and_never_by_a_token(bank: Bank) -> None:
    asked = await bank.ask(to="ann")
    with pytest.raises(ApiProblem, match="A token does not") as refusal:
        await bank.answer(bank.ann, asked)
    assert (refusal.value.status, refusal.value.code) == (403, "not-allowed")
    answered = await bank.answer_in_person(bank.ann, asked)
    assert (answered.status_code, answered.json()["decided_via"]) == (200, "console")


async def test_a_page_goes_on_where_the_one_before_ends(bank: Bank) -> None:
    asked = [await bank.ask(to=name) for name in ("a", "b", "c")]
    async with bank.served.client(bank.ann) as api:
        first = await api.request("GET", "/v1/approvals", limit=2)
        last = await api.request("GET", "/v1/approvals", limit=2, cursor=first["next_cursor"])
    shown = [one["id"] for one in first["items"] + last["items"]]
    assert shown == [one["id"] for one in reversed(asked)]
    assert last["next_cursor"] is None


async def test_a_token_for_jobs_sees_no_arguments_and_answers_nothing(bank: Bank) -> None:
    asked = await bank.ask(to="x")
    async with bank.served.client() as api:
        token = (await api.request("POST", "/v1/users/bob/tokens", {"scopes": ["jobs"]}))["token"]
    async with bank.served.client(token) as api:
        assert len((await api.request("GET", "/v1/approvals"))["items"]) == 1
        for method, body in (("GET", None), ("POST", {"approve": True, "digest": asked["digest"]})):
            with pytest.raises(ApiProblem, match="admin"):
                await api.request(method, f"/v1/approvals/{asked['id']}", body)


async def test_commands_show_and_answer(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    yes, no = await bank.ask(to="yes"), await bank.ask(to="no")
    monkeypatch.setenv("NEXUS_URL", bank.served.url)
    monkeypatch.setenv("NEXUS_TOKEN", bank.bob)

    async def run(*words: str) -> Any:
        done = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    assert len((await run("approval", "list", "--state", "waiting"))["items"]) == 2
    assert (await run("approval", "show", yes["id"]))["arguments"] == {"to": "yes"}
    assert (await run("approval", "approve", yes["id"], "--digest", yes["digest"]))["state"] == "approved"
    denied = await run("approval", "deny", no["id"], "--digest", no["digest"], "--reason", "No.")
    assert (denied["state"], denied["reason"]) == ("denied", "No.")
    unseen = await asyncio.to_thread(CliRunner().invoke, app, ["approval", "approve", yes["id"]])
    assert unseen.exit_code == 2
    monkeypatch.setenv("NEXUS_TOKEN", SERVICE_KEY)
    waiting = await bank.ask(to="later")
    shown = await asyncio.to_thread(CliRunner().invoke, app, ["job", "show", waiting["job_id"]])
    assert "a member of finance" in shown.output


async def test_who_asked_is_not_told_the_new_name_of_a_server_that_is_hidden_since(bank: Bank) -> None:
    asked = await bank.ask(to="ACME")
    async with bank.served.database.transaction() as transaction:
        await transaction.run(b"DELETE FROM access_grants")
        await transaction.run(b"UPDATE hub_settings SET access = 'closed'")
        await transaction.run(b"UPDATE system_servers SET name = 'vault'")
        await transaction.run(b"UPDATE server_state SET name = 'vault'")
    for token, server in ((bank.ann, None), (SERVICE_KEY, "vault")):
        async with bank.served.client(token) as api:
            (listed,) = (await api.request("GET", "/v1/approvals"))["items"]
            shown = await api.request("GET", f"/v1/approvals/{asked['id']}")
        assert (listed["server"], shown["server"]) == (server, server)
        assert ("vault" in listed["tool"]) == (server is not None)
