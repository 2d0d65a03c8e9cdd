"""Rules of style that no linter knows: docstrings say the thing itself, and a class name stands for one thing."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = ("nexus_hub", "flows", "tasks", "deployments")
INDIRECT = re.compile(r"(What|Whether|Who|How|One|Which|Whose|Where|When)\b")
"""Openings of docstrings that describe the thing from the side instead of naming it."""

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def shipped_files() -> Iterator[Path]:
    for room in SHIPPED:
        yield from sorted((ROOT / room).rglob("*.py"))


def documented(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The line and text of each docstring, those of attributes included."""
    for node in ast.walk(tree):
        if isinstance(node, Documented) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text
        if isinstance(node, ast.Module | ast.ClassDef):
            for earlier, later in zip(node.body, node.body[1:], strict=False):
                match earlier, later:
                    case ast.Assign() | ast.AnnAssign(), ast.Expr(value=ast.Constant(value=str(text))):
                        yield later.lineno, text


def test_docstrings_name_the_thing_or_say_what_to_do() -> None:
    indirect = [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path in shipped_files()
        for line, text in documented(ast.parse(path.read_text(encoding="utf-8")))
        if INDIRECT.match(text)
    ]
    assert not indirect, "\n".join(indirect)


@pytest.mark.parametrize("opening", ["What it holds.", "Whether it runs.", "Who asks.", "How long.", "One who waits."])
def test_an_indirect_docstring_is_found(opening: str) -> None:
    source = f'"""A module."""\n\n\ndef work() -> None:\n    """{opening}"""\n'
    assert [INDIRECT.match(text) is not None for _, text in documented(ast.parse(source))] == [False, True]


def test_a_class_name_stands_for_one_thing() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in shipped_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not {name: found for name, found in places.items() if len(found) > 1}


BY_ITSELF = re.compile(r"\bprint\(|\becho\(|\bsecho\(|sys\.std(out|err)\.write|console\.print|errors\.print|Console\(")


def test_commands_write_through_the_output_that_keeps_text_text() -> None:
    """A new way to a terminal would let text of servers and users command it."""
    found = {
        path.name
        for path in (ROOT / "nexus_hub" / "cli").glob("*.py")
        if BY_ITSELF.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"output.py", "stack_view.py"}, "stack_view.py draws names of the hub's own parts, and nothing else"


@pytest.mark.parametrize(
    "line", ["print(name)", "typer.echo(name)", "sys.stdout.write(name)", "self._console.print(x)"]
)
def test_a_way_around_the_output_is_found(line: str) -> None:
    assert BY_ITSELF.search(line)
