"""docs/defects.md has a row for each defect of the seed, and each row names the tests that there are."""

import ast
import re
from collections.abc import Iterator

from tests.docs.test_tables import rows
from tests.fixtures.upstreams import ROOT

PAGE = (ROOT / "docs" / "defects.md").read_text()
HEADING = "| number | the seed's defect | what is right here | test |"
_TEST = re.compile(r"\[`(test_defect_(\d\d)_\w+)`\]\(\.\./(tests/\w+/\w+\.py)\)")


def defined() -> Iterator[tuple[str, str]]:
    """The tests of defects: name and file."""
    for path in ROOT.glob("tests/**/test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_defect_"):
                yield node.name, str(path.relative_to(ROOT))


def test_the_page_lists_the_34_defects_in_order() -> None:
    assert [int(number) for number, *_ in rows(PAGE, HEADING)] == list(range(1, 35))


def test_each_row_names_tests_of_its_number() -> None:
    for number, *_, tests in rows(PAGE, HEADING):
        found = _TEST.findall(tests)
        assert found, number
        assert {int(digits) for _, digits, _ in found} == {int(number)}


def test_the_page_and_the_tests_name_each_other() -> None:
    listed = {(name, file) for *_, tests in rows(PAGE, HEADING) for name, _, file in _TEST.findall(tests)}
    assert listed == set(defined())
