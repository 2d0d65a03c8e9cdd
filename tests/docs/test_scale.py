"""The page of scale shows what the measured costs come to."""

import pytest

from benchmarks import scale
from benchmarks.report import RESULTS


def test_the_page_and_the_results_have_the_computed_tables() -> None:
    page, results, found = scale.PAGE.read_text(), (RESULTS / "scale.md").read_text(), scale.tables()
    assert {"costs", "a-million", "a-hundred-million", "connections"} <= found.keys()
    for name, table in found.items():
        assert f"<!-- {name} -->\n{table}\n" in page
        assert table in results


def test_a_cost_that_nothing_measured_is_named() -> None:
    with pytest.raises(LookupError, match="no such row"):
        scale.cell("batch", "no such row", "api")
