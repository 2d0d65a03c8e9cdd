"""Does an agent that is shown three tools in place of all do what it is asked, and what does it read for that?

Real MCP servers (mcp-server-time, and the small office of `office.py`, which works in a directory) stand among servers
of about 150 other tools, which nobody can call. Each task is a conversation of its own at `/mcp` or
`/mcp?tools=search`, scripted: there is no model. A step says what is wanted, in words of its own; the agent chooses a
tool, calls it, and tries the next one if that was not it, three in all. A task is done if all of its steps are, and the
office is as it should be. An agent chooses in one of two ways:

- `knowing`: the right tool, if it was shown: what the best of models would do. It tells what search leaves out.
- `by words`: the tool whose name and description share the most and rarest words with what the step says, measured by
  their length, in search mode of those found. It tells how far a simple reader gets; a model is better, and worse the
  more it is shown.

Tokens are bytes of JSON divided by 4: of the list of tools and all answers, once (`read`), and as a client that sends
the whole conversation with each request pays for them (`sent`). A client whose provider caches prompts pays less.
"""

import asyncio
import json
import math
import re
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import httpx2
import psycopg
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from benchmarks.office import SERVERS
from benchmarks.report import machine, publish, table
from nexus_hub.catalog.store import store
from nexus_hub.db.migrate import migrate
from nexus_hub.models import ServerRef
from nexus_hub.upstream.config import StdioConfig
from nexus_hub.upstream.snapshot import Snapshot
from tests.fixtures.postgres import APP, OWNER, created_database, embedded_server, ensure_role
from tests.fixtures.served import SERVICE_KEY, Served, serving
from tests.fixtures.upstreams import free_port

OFFICE = Path(__file__).parent / "office.py"
TRIES = 3
MODES = {"all tools": "/mcp", "search mode": "/mcp?tools=search"}
Choice = Literal["knowing", "by words"]
CHOICES: tuple[Choice, ...] = ("knowing", "by words")
EMPTY = Snapshot("2026-07-28", None, None, {})
_WORD = re.compile(r"[^\W_]{3,}")
THINGS = {
    "crm": ("customer", "lead", "deal", "account"),
    "tickets": ("ticket", "incident", "queue", "comment"),
    "calendar": ("event", "meeting", "invitation", "holiday"),
    "repos": ("repository", "branch", "pull request", "release"),
    "wiki": ("page", "space", "attachment", "template"),
    "shop": ("product", "cart", "coupon", "review"),
    "billing": ("invoice", "payment", "refund", "subscription"),
    "hr": ("employee", "vacation request", "contract", "applicant"),
    "fleet": ("vehicle", "route", "driver", "delivery"),
    "maps": ("place", "address", "direction", "traffic report"),
    "music": ("song", "playlist", "album", "artist"),
    "photos": ("photo", "album", "face", "caption"),
}
VERBS = {
    "list": "List all {}s, newest first, with paging.",
    "get": "Get one {} by its id, with all of its fields.",
    "create": "Create a new {} with a title and a description.",
}
DISTRACTORS = [
    (server, f"{verb}_{thing.replace(' ', '_')}{'s' if verb == 'list' else ''}", text.format(thing))
    for server, things in THINGS.items()
    for thing in things
    for verb, text in VERBS.items()
]


@dataclass(frozen=True)
class Step:
    """Something wanted, the tool that does it, and the arguments that a model would give that."""

    says: str
    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """Steps in their order, and the sign that all is done: of the last answer, and of the office's directory."""

    steps: tuple[Step, ...]
    is_done: Callable[[str, Path], bool]


def _holds(file: str, *words: str) -> Callable[[str, Path], bool]:
    """Tell by a file of the office."""
    return lambda _answer, place: all(word in (place / file).read_text() for word in words)


def _answers(*words: str) -> Callable[[str, Path], bool]:
    return lambda answer, _place: all(word in answer for word in words)


DOOR = {"title": "Door", "text": "The code of the door changes on Monday"}
KEEP_NOTE = Step("remember for me that the code of the door changes on Monday", "notes__add_note", DOOR)
TASKS = (
    Task(
        (Step("what is the time in Tokyo now", "time__get_current_time", {"timezone": "Asia/Tokyo"}),),
        _answers("Asia/Tokyo"),
    ),
    Task(
        (
            Step(
                "when it is half past two in Berlin, what do clocks in New York show",
                "time__convert_time",
                {"source_timezone": "Europe/Berlin", "time": "14:30", "target_timezone": "America/New_York"},
            ),
        ),
        _answers("America/New_York"),
    ),
    Task(
        (Step("wie spät ist es gerade in Paris", "time__get_current_time", {"timezone": "Europe/Paris"}),),
        _answers("Europe/Paris"),
    ),
    Task((KEEP_NOTE,), _holds("notes.json", "Monday")),
    Task(
        (KEEP_NOTE, Step("what did I jot down about the door", "notes__find_notes", {"word": "door"})),
        _answers("Monday"),
    ),
    Task(
        (KEEP_NOTE, Step("throw away my note about the door", "notes__delete_note", {"title": "Door"})),
        lambda _answer, place: json.loads((place / "notes.json").read_text()) == {},
    ),
    Task(
        (
            Step("how many paper boxes are left in the storehouse", "stock__get_stock_level", {"item": "paper box"}),
            Step("buy 20 more boxes of paper", "stock__place_order", {"item": "paper box", "units": 20}),
        ),
        _holds("orders.json", "paper box", "20"),
    ),
    Task(
        (
            Step("find Ann's email address", "people__look_up_person", {"name": "Ann"}),
            Step(
                "write Ann an email that lunch is at noon",
                "mail__send_message",
                {"to": "ann@example.org", "subject": "Lunch", "body": "Lunch is at noon."},
            ),
        ),
        _holds("outbox.json", "ann@example.org", "noon"),
    ),
    Task(
        (
            Step(
                "save the text hello as greeting.txt", "files__write_file", {"path": "greeting.txt", "content": "hello"}
            ),
            Step("which documents are in the folder", "files__list_directory", {"path": "."}),
        ),
        _answers("greeting.txt"),
    ),
    Task(
        (
            Step(
                "save the text hello as greeting.txt", "files__write_file", {"path": "greeting.txt", "content": "hello"}
            ),
            Step("show me what greeting.txt says", "files__read_file", {"path": "greeting.txt"}),
        ),
        _answers("hello"),
    ),
    Task(
        (
            Step(
                "how far is 42 kilometres in miles", "sums__convert_units", {"value": 42, "unit": "km", "target": "mi"}
            ),
        ),
        _answers("26.09"),
    ),
    Task((Step("what is the average of 3, 5 and 10", "sums__mean", {"numbers": [3, 5, 10]}),), _answers("6.0")),
    Task(
        (
            Step("what is Bob's phone number", "people__look_up_person", {"name": "Bob"}),
            Step(
                "put Bob's number into the file bob.txt",
                "files__write_file",
                {"path": "bob.txt", "content": "+44 20 9876"},
            ),
        ),
        _holds("bob.txt", "+44 20 9876"),
    ),
)


@dataclass
class Outcome:
    """A task in one mode: done or not, and what was read and sent for that."""

    is_done: bool = False
    read: int = 0
    sent: int = 0
    calls: int = 0

    def take(self, value: Any) -> None:
        """Count what comes into the conversation, and the request that it comes with."""
        self.read += -(-len(json.dumps(value, ensure_ascii=False).encode()) // 4)
        self.sent += self.read


@dataclass
class Agent:
    """Does a task at one address."""

    client: Client
    choice: Choice
    mode: str
    outcome: Outcome = field(default_factory=Outcome)
    shown: dict[str, str] = field(default_factory=dict)

    async def do(self, task: Task, place: Path) -> Outcome:
        """Do all steps."""
        tools = await self._list()
        self.outcome.take(tools)
        self.shown = {tool["name"]: tool.get("description", "") for tool in tools}
        answer = ""
        for step in task.steps:
            found = await self._do_step(step)
            if found is None:
                return self.outcome
            answer = found
        self.outcome.is_done = task.is_done(answer, place)
        return self.outcome

    async def _list(self) -> list[dict[str, Any]]:
        tools, cursor = [], None
        while True:
            page = await self.client.list_tools(cursor=cursor)
            tools += [tool.model_dump(exclude_none=True, by_alias=True, mode="json") for tool in page.tools]
            if (cursor := page.next_cursor) is None:
                return tools

    async def _do_step(self, step: Step) -> str | None:
        shown = await self._search(step) if self.mode == "search mode" else self.shown
        for name in choose(self.choice, step, shown):
            if self.mode == "search mode":
                await self._call("describe_tool", {"name": name})
                answer = await self._call("call_tool", {"name": name, "arguments": step.arguments})
            else:
                answer = await self._call(name, step.arguments)
            if name == step.tool:
                return answer
        return None

    async def _search(self, step: Step) -> dict[str, str]:
        found = json.loads(await self._call("search_tools", {"query": step.says}))
        return {tool["name"]: tool["description"] for tool in found["tools"]}

    async def _call(self, name: str, arguments: dict[str, Any]) -> str:
        try:
            result = await self.client.call_tool(name, arguments)
            text = result.content[0].text if result.content else ""  # type: ignore[union-attr]
        except MCPError as error:  # a server that can't answer: the agent reads that and goes on
            text = error.message
        self.outcome.take({"name": name, "arguments": arguments})
        self.outcome.take(text)
        self.outcome.calls += 1
        return str(text)


def choose(choice: Choice, step: Step, shown: Mapping[str, str]) -> Sequence[str]:
    """Choose tools to try, the likeliest first."""
    if choice == "knowing":
        return [step.tool] if step.tool in shown else []
    words = {name: {*_words(f"{name} {text}")} for name, text in shown.items()}
    counts = Counter(word for held in words.values() for word in held)
    scores = {
        name: sum(math.log(len(shown) / counts[word]) for word in {*_words(step.says)} & held) / math.sqrt(len(held))
        for name, held in words.items()
    }
    return sorted(scores, key=lambda name: -scores[name])[:TRIES]  # of equals, the one that is shown first


def _words(text: str) -> Iterable[str]:
    return map(str.lower, _WORD.findall(text))


@asynccontextmanager
async def office(place: Path) -> AsyncIterator[Served]:
    """A hub of real servers and others."""
    with embedded_server() as admin_url:
        with psycopg.connect(admin_url, autocommit=True) as connection:
            ensure_role(connection, OWNER, "LOGIN CREATEROLE PASSWORD 'nexus-test'")
            ensure_role(connection, APP, "LOGIN PASSWORD 'nexus-test'")
        with created_database(admin_url, template=None) as database:
            await migrate(database.owner_url, app_url=database.app_url)
            for name in ("home", "office"):
                (place / name).mkdir()
            async with serving(database, place / "home", free_port()) as served:
                await _add_servers(served, place / "office")
                yield served


async def _add_servers(served: Served, place: Path) -> None:
    time_server = StdioConfig(
        command=str(Path(sys.executable).with_name("mcp-server-time")), args=("--local-timezone=UTC",)
    )
    await served.runtime.servers.register("time", time_server)
    for name in SERVERS:
        config = StdioConfig(command=sys.executable, args=(str(OFFICE), name, str(place)))
        await served.runtime.servers.register(name, config)
    async with served.database.transaction() as transaction:
        for server in THINGS:
            tools = [_define(name, text) for of, name, text in DISTRACTORS if of == server]
            await store(transaction, ServerRef("system", uuid4()), server, None, replace(EMPTY, tools=tools))
    await served.until_indexed()


def _define(name: str, text: str) -> dict[str, Any]:
    verb, _, thing = name.partition("_")
    known = {
        "list": {"page": {"type": "integer", "minimum": 1}, "page_size": {"type": "integer", "maximum": 100}},
        "get": {"id": {"type": "string", "description": f"The id of the {thing}."}},
        "create": {"title": {"type": "string"}, "description": {"type": "string"}},
    }
    return {"name": name, "description": text, "inputSchema": {"type": "object", "properties": known[verb]}}


async def do_task(served: Served, place: Path, task: Task, mode: str, choice: Choice) -> Outcome:
    """Do a task in a conversation of its own, in an office as it was."""
    for file in place.iterdir():
        if file.is_file():
            file.unlink()
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {SERVICE_KEY}"}, timeout=60) as http,
        Client(streamable_http_client(served.url + MODES[mode], http_client=http), cache=None) as client,
    ):
        return await Agent(client, choice, mode).do(task, place)


async def measured() -> str:
    """Do all tasks in both modes and ways; the report."""
    rows: list[list[str]] = []
    failed: list[list[str]] = []
    with tempfile.TemporaryDirectory() as directory:
        async with office(Path(directory)) as served:
            place = Path(directory) / "office"
            for choice in CHOICES:
                for mode in MODES:
                    outcomes = [await do_task(served, place, task, mode, choice) for task in TASKS]
                    rows.append([choice, mode, *_summary(outcomes)])
                    failed += [
                        [choice, mode, "; ".join(step.says for step in task.steps)]
                        for task, outcome in zip(TASKS, outcomes, strict=True)
                        if not outcome.is_done
                    ]
            on = machine(served.admin_url)
    head = ["agent", "mode", "tasks done", "read, mean", "read, most", "sent, mean", "calls, mean"]
    tools = len(DISTRACTORS) + sum(map(len, SERVERS.values())) + 2
    parts = [
        f"# {(__doc__ or '').strip()}",
        f"{len(TASKS)} tasks of {sum(len(task.steps) for task in TASKS)} steps; {tools} tools of {len(THINGS)} servers "
        f"that nobody calls and {len(SERVERS) + 1} that work. Tokens:",
        table(head, rows),
        "Not done:",
        table(["agent", "mode", "task"], failed or [["-", "-", "none"]]),
        on,
    ]
    return "\n\n".join(parts) + "\n"


def _summary(outcomes: Sequence[Outcome]) -> list[str]:
    read = [one.read for one in outcomes]
    return [
        f"{sum(one.is_done for one in outcomes)} of {len(outcomes)}",
        f"{statistics.mean(read):,.0f}",
        f"{max(read):,}",
        f"{statistics.mean(one.sent for one in outcomes):,.0f}",
        f"{statistics.mean(one.calls for one in outcomes):.1f}",
    ]


if __name__ == "__main__":
    publish("tool_tasks", asyncio.run(measured()))
