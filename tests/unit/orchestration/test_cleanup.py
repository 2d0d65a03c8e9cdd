"""Days as they come from outside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_hub.errors import InvalidRequest
from nexus_hub.orchestration.cleanup import CleanupReport, parse_days


@given(st.integers(0, 3650))
def test_days_in_range_are_taken_as_they_are(days: int) -> None:
    assert parse_days("days_completed", days) == days


@pytest.mark.parametrize(
    "value",
    [-1, 3651, 10**5000, -(10**5000), True, False, 7.0, float("nan"), "7", "", "x" * 500, None, [7], {"a": 7}],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_refused_by_name_and_with_the_range(value: object) -> None:
    with pytest.raises(InvalidRequest, match=r"days_orphaned is .*whole number from 0 to 3650") as caught:
        parse_days("days_orphaned", value)
    assert len(caught.value.message) < 200


def test_a_report_gives_the_documented_counts() -> None:
    report = CleanupReport(orphans_failed=5, deleted_completed=2, deleted_orphaned=3, seconds=0.1)
    assert report.as_counts() == {"deleted_completed": 2, "deleted_orphaned": 3, "total_deleted": 5}
