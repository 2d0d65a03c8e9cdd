"""Releases that deployments tell of in their versions."""

import pytest

from deployments.version import code_version, find_later_release


@pytest.mark.parametrize(
    ("versions", "later"),
    [
        ([], None),
        ([None, "", "by hand"], None),
        (["0.9.0+abc", "1.2.0+abc"], None),
        (["1.2.1+abc", None, "1.10.0+abc", "1.9.0"], "1.10.0"),
        (["1.2.0rc1+abc"], None),
    ],
)
def test_the_latest_of_the_releases_counts(
    monkeypatch: pytest.MonkeyPatch, versions: list[str | None], later: str | None
) -> None:
    monkeypatch.setattr("nexus_hub.__version__", "1.2.0")
    assert find_later_release(versions) == later


def test_other_code_of_the_same_release_is_no_later_one() -> None:
    assert find_later_release([code_version()]) is None
