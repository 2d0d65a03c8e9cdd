"""What the page of users is told."""

from tests.fixtures.served import Served


async def test_users_are_listed_with_their_tokens_and_open_jobs(served: Served) -> None:
    ann, _ = await served.user("ann")
    await served.user("bob")
    for _ in range(3):
        await served.stored(ann)
    ended = await served.stored(ann)
    async with served.client() as api:
        await api.request("DELETE", f"/v1/jobs/{ended}")
        await api.request("DELETE", "/v1/users/bob/tokens")
        await api.request("POST", "/v1/users/ann/tokens")
        users = (await api.request("GET", "/v1/users"))["items"]
        newest = (await api.job(str(ended)))["created_at"]
    assert [(user["name"], user["tokens"], user["open_jobs"]) for user in users] == [("ann", 2, 3), ("bob", 0, 0)]
    assert [user["last_job_at"] for user in users] == [newest, None]
