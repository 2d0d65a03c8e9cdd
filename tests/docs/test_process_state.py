"""The table of what each process keeps: it names all such classes, and tests that are there."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.docs.test_tables import rows
from tests.fixtures.upstreams import ROOT

PAGE = ROOT / "docs" / "fleet.md"
HEADING = "| what | where | bound | with two processes | shown by |"
FATES = ("shared:", "told:", "adds up:", "its own:")
"""What becomes of a state with two processes, as the page explains these words."""
CONTAINERS = re.compile(
    r"^(dict|set|list|deque|OrderedDict|defaultdict|Counter|Weak(Key|Value)Dictionary|Semaphore|Queue|SimpleQueue"
    r"|TtlCache|ServerCache|Turns|Bound|Bounded|Counts|Cached|GroupCommit|FairSlots)$"
)
WHERE = ("nexus_hub", "deployments/worker")
SHORT_LIVED = {
    "of a request, a document or a file that is read": (
        "calls.evaluation.Evaluation",
        "configuration.apply._Writer",
        "configuration.document.YamlDocument",
        "configuration.export.Exported",
        "configuration.references.References",
        "execution.run_report.RunReport",
        "gateway.pages.ResultPage",
        "jobs.submit.Resolver",
        "upstream.cut_results._Members",
        "upstream.omissions.Omissions",
        "upstream.snapshot._Reader",
        "vault.resealing.Resealer",
    ),
    "part of a class of the table": (
        "calls.cache.TtlCache",
        "execution.fair_queue._Owner",
        "gateway.followers.NoticeFollower",
        "gateway.subscriptions._Watches",
        "live.feed.Follower",
        "rate_limit.bound._Calls",
        "search.index.ToolIndex",
        "search.names.NameTable",
        "search.postings.Postings",
        "search.ranking.WordRanking",
        "telemetry.tally.Bounded",
        "telemetry.tally.Counter",
        "telemetry.tally.Histogram",
    ),
    "of a connection or a call, and gone with it": (
        "gateway.bridge._Session",
        "gateway.peers.ModernPeer",
        "upstream.child.Child",
        "upstream.logged_in.LoggedInClient",
        "upstream.notices.LogRelay",
        "upstream.questions.Questions",
        "upstream.questions._OpenCall",
        "upstream.subscriptions._RequestSubscriptions",
        "upstream.subscriptions._StreamSubscriptions",
        "upstream.subscriptions._Wanted",
    ),
    "of a command or of `nexus-hub up`, of which there is one": (
        "cli.stack_view.StartView",
        "gateway.bridge.Bridge",
        "gateway.pipe.Pipe",
        "stack.services.ServiceSupervisor",
        "stack.supervisor.Supervisor",
    ),
}
"""Classes that hold something which changes, and that no other process could miss."""


def table() -> list[list[str]]:
    return list(rows(PAGE.read_text(encoding="utf-8"), HEADING))


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def files() -> Iterator[tuple[str, Path]]:
    """Modules, by their names as the table has them."""
    for place in WHERE:
        for path in sorted((ROOT / place).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removeprefix("nexus_hub."), path


def is_container(value: ast.expr | None) -> bool:
    """Tell if an expression makes something empty that can be filled."""
    match value:
        case ast.Dict(keys=[]) | ast.List(elts=[]):
            return True
        case ast.IfExp(body=one, orelse=other):
            return is_container(one) or is_container(other)
        case ast.Call(func=ast.Name(id="field"), keywords=options):
            return any(is_factory(option.value) for option in options if option.arg == "default_factory")
        case ast.Call(func=made):
            return is_factory(made)
    return False


def is_factory(value: ast.expr) -> bool:
    match value:
        case ast.Subscript(value=inner) | ast.Lambda(body=ast.Call(func=inner)):
            return is_factory(inner)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return CONTAINERS.match(name) is not None
    return False


def holds_state(node: ast.ClassDef) -> bool:
    """Tell if instances of a class begin with something empty that can be filled."""
    if not is_frozen(node) and any(isinstance(one, ast.AnnAssign) and is_container(one.value) for one in node.body):
        return True
    beginnings = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name in BEGINNINGS]
    assignments = [
        one for begin in beginnings for one in ast.walk(begin) if isinstance(one, ast.Assign | ast.AnnAssign)
    ]
    return any(is_container(one.value) and _is_of_self(one) for one in assignments)


BEGINNINGS = ("__init__", "__post_init__")


def _is_of_self(assignment: ast.Assign | ast.AnnAssign) -> bool:
    targets = assignment.targets if isinstance(assignment, ast.Assign) else [assignment.target]
    return any(isinstance(target, ast.Attribute) for target in targets)


def is_frozen(node: ast.ClassDef) -> bool:
    """Tell values apart: frozen data classes, and models of what is sent."""
    is_data = any("frozen=True" in ast.unparse(one) for one in node.decorator_list)
    return is_data or bool(node.bases and not any(ast.unparse(base) == "Protocol" for base in node.bases))


def stateful() -> set[str]:
    return {
        f"{module}.{node.name}"
        for module, path in files()
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ClassDef) and holds_state(node)
    }


def test_all_that_a_process_keeps_is_in_the_table_or_said_to_be_short_lived() -> None:
    listed = {name for row in table() for name in named(row[1])}
    short_lived = {name for names in SHORT_LIVED.values() for name in names}
    assert not listed & short_lived
    assert stateful() - listed - short_lived == set(), "say in docs/fleet.md what becomes of these with two processes"
    assert short_lived <= stateful(), "these hold nothing any more"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("class A:\n def __init__(self):\n  self.b: dict[str, int] = {}", True),
        ("class A:\n def __init__(self):\n  self.b = defaultdict[str, int](int)", True),
        ("class A:\n def __init__(self):\n  b = {}", False),
        ("class A:\n def __init__(self):\n  self.b = {1: 2}", False),
        ("@dataclass\nclass A:\n b: set[int] = field(default_factory=set)", True),
        ("@dataclass\nclass A:\n b: deque[int] = field(default_factory=lambda: deque(maxlen=3))", True),
        ("@dataclass(frozen=True)\nclass A:\n b: set[int] = field(default_factory=set)", False),
    ],
)
def test_a_state_is_found_by_how_it_begins(source: str, expected: bool) -> None:
    [node] = ast.parse(source).body
    assert isinstance(node, ast.ClassDef)
    assert holds_state(node) is expected


@pytest.mark.parametrize("row", table(), ids=lambda row: str(row[0])[:40])
def test_a_row_names_classes_and_tests_that_are_there_and_a_fate(row: list[str]) -> None:
    what, where, bound, fate, shown = row
    assert what
    assert bound
    assert fate.startswith(FATES), fate
    for name in named(where):
        module, _, member = name.rpartition(".")
        assert member in members(dict(files())[module]), name
    assert named(shown), "a row without a test"
    for test in named(shown):
        path, _, function = test.partition("::")
        assert function in members(ROOT / "tests" / f"{path}.py"), test


@cache
def members(path: Path) -> frozenset[str]:
    """The classes, functions and names of a module."""
    found = set()
    for node in parse(path).body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
    return frozenset(found)
