"""The recipes of docs/live_status.md run as they stand, against a real API."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from nexus_hub.jobs import store
from nexus_hub.models import OPERATOR
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY, Served, serving
from tests.fixtures.upstreams import ROOT, free_port

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js: apt-get install nodejs"),
]
_BLOCK = re.compile(r"^```js\n// (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 30

FOLLOW = """
import { followJob } from './followJob.js';
const [hub, token, id] = process.argv.slice(2);
try {
  await followJob(hub, token, id, (job) => console.log(JSON.stringify(job)));
} catch (error) {
  console.log(JSON.stringify({ refused: error.message }));
}
"""
REACT = """
// As much of React as the hook uses: a component is rendered anew when its state is set.
let states = [], effects = [], at = 0, render = null;
export function useState(first) {
  const i = at++;
  states[i] ??= { value: first };
  return [states[i].value, (next) => { states[i].value = next; queueMicrotask(render); }];
}
export function useEffect(effect, inputs) {
  const i = at++;
  if (effects[i]?.inputs.every((input, n) => input === inputs[n])) return;
  effects[i]?.cleanUp?.();
  effects[i] = { inputs };
  queueMicrotask(() => { effects[i].cleanUp = effect(); });
}
export function mount(component) {
  render = () => { at = 0; component(); };
  render();
  return () => queueMicrotask(render);
}
"""
HOOK = """
import { mount } from 'react';
import { useJobStatus } from './useJobStatus.js';
const [hub, token, first, second] = process.argv.slice(2);
let id = first, last = '', renderAgain;
renderAgain = mount(() => {
  const { job, error } = useJobStatus(hub, token, id);
  const shown = JSON.stringify({ id: job?.id, status: job?.status, error: error?.message });
  if (shown !== last) console.log(last = shown);
  if (id === first && job?.status === 'running') {
    id = second; // the page shows another job now
    renderAgain();
  }
});
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A directory with the blocks of the page as files."""
    package = tmp_path / "node_modules" / "react"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"name": "react", "type": "module", "main": "index.js"}')
    (package / "index.js").write_text(REACT)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    blocks = dict(_BLOCK.findall((ROOT / "docs" / "live_status.md").read_text()))
    assert set(blocks) == {"followJob.js", "useJobStatus.js"}
    for name, text in (blocks | {"follow.js": FOLLOW, "hook.js": HOOK}).items():
        (tmp_path / name).write_text(text)
    return tmp_path


@asynccontextmanager
async def node(directory: Path, *arguments: object) -> AsyncIterator[asyncio.StreamReader]:
    """What a script writes; killed afterwards if it still runs."""
    process = await asyncio.create_subprocess_exec(
        "node", *map(str, arguments), cwd=directory, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def written(output: asyncio.StreamReader) -> dict[str, object]:
    """The next line."""
    async with asyncio.timeout(SECONDS):
        line: dict[str, object] = json.loads(await output.readline())
    return line


async def test_the_recipe_follows_a_job_through_a_cut_and_a_restart(
    database: HubDatabase, page: Path, tmp_path: Path
) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        async with serving(database, tmp_path / "home", port) as api:
            job_id = await api.stored()
            output = await stack.enter_async_context(node(page, "follow.js", api.url, SERVICE_KEY, job_id))
            assert (await written(output))["status"] == "pending"
            assert await api.cut_listeners() == 1
            attempt = await api.claimed(job_id)
            assert (await written(output))["status"] == "running"
        async with serving(database, tmp_path / "home", port) as api:
            await api.completed(attempt)
            last = await written(output)
            assert (last["status"], last["result"]) == ("completed", attempt.result)
            assert await output.read() == b""


async def test_the_recipe_says_what_the_hub_refuses(served: Served, page: Path) -> None:
    for token, job_id, said in (("undefined", uuid4(), "known token"), (SERVICE_KEY, uuid4(), "There is no job")):
        async with node(page, "follow.js", served.url, token, job_id) as output:
            assert said in str((await written(output))["refused"])


async def test_the_hook_shows_one_job_and_then_another(served: Served, page: Path) -> None:
    first, second = await served.stored(), await served.stored()
    async with node(page, "hook.js", served.url, SERVICE_KEY, first, second) as output:
        assert await written(output) == {}
        assert await written(output) == {"id": str(first), "status": "pending"}
        await served.claimed(first)
        assert await written(output) == {"id": str(first), "status": "running"}
        assert await written(output) == {}
        assert await written(output) == {"id": str(second), "status": "pending"}
        await store.cancel(served.database, OPERATOR, first)
        await store.cancel(served.database, OPERATOR, second)
        assert await written(output) == {"id": str(second), "status": "cancelled"}
