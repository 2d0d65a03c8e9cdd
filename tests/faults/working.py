"""A process that works on jobs as a worker does, without Prefect: a line of JSON for each, and one as its answer.

`{"number", "ref", "user_id", "tool", "name"}` is answered with `{"number", "text"}` or `{"number", "error"}`.
"""

import asyncio
import json
import sys
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.errors import HubError
from nexus_hub.execution.attempt import Attempt
from nexus_hub.jobs import store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import Principal, ServerRef
from nexus_hub.runtime import Runtime, open_runtime
from nexus_hub.settings import load

LONGEST_LINE = 1024 * 1024


async def work(runtime: Runtime, asked: dict[str, Any]) -> str:
    """Store a job, and take all steps of its attempt; the text of its result."""
    user, ref = Principal(UUID(asked["user_id"])), ServerRef("system", UUID(asked["ref"]))
    request = JobRequest("tool_invoke", asked["name"], {})
    job, _ = await store.add(runtime.database, user, request, ref, asked["tool"])
    attempt = await runtime.execution.claim(job["id"], 1, uuid4())
    assert isinstance(attempt, Attempt), attempt
    with runtime.execution.hold(attempt):
        with suppress(HubError):  # it is in the attempt
            await runtime.execution.make_steps(known_seconds=30).run(attempt)
        await runtime.execution.record(attempt)
    if attempt.failure is not None:
        raise attempt.failure
    content: Any = attempt.result
    return str(content["content"][0]["text"])


async def answer(runtime: Runtime, line: bytes) -> None:
    """Work on the job of a line, and say what has come of it."""
    asked = json.loads(line)
    said = {"number": asked["number"]}
    try:
        said["text"] = await work(runtime, asked)
    except HubError as error:
        said["error"] = error.code
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Work until the standard input ends."""
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    working = set[asyncio.Task[None]]()
    async with open_runtime(load(), "worker") as runtime:
        sys.stdout.write("{}\n")
        sys.stdout.flush()
        async for line in reader:
            task = asyncio.create_task(answer(runtime, line))
            working.add(task)
            task.add_done_callback(working.discard)
        for task in list(working):
            await cancel_and_wait(task)


if __name__ == "__main__":
    asyncio.run(main())
