"""What a job may ask for."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_hub.errors import InvalidArguments, InvalidRequest, TooLarge
from nexus_hub.jobs.requests import MOST_ARGUMENT_BYTES, JobRequest

CALL = JobRequest("tool_invoke", "time__get_current_time", {"timezone": "UTC"})


@pytest.mark.parametrize("timeout", [1, 3600, 7 * 24 * 3600])
def test_a_timeout_of_a_second_to_a_week_is_taken(timeout: int) -> None:
    replace(CALL, timeout_seconds=timeout).check()


@pytest.mark.parametrize(
    "change",
    [
        *({"timeout_seconds": 0}, {"timeout_seconds": -1}, {"timeout_seconds": 7 * 24 * 3600 + 1}),
        *({"max_attempts": 0}, {"max_attempts": 21}, {"retry": "never"}, {"retry": ""}),
        *({"idempotency_key": ""}, {"idempotency_key": "x" * 201}),
        *({"job_type": "resource_fetch"}, {"job_type": "resource_fetch", "uri": ""}),
    ],
)
def test_a_limit_outside_its_range_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        replace(CALL, **change).check()


def test_arguments_of_more_than_a_mebibyte_are_refused() -> None:
    replace(CALL, arguments={"a": "x" * (1024 * 1024 - 20)}).check()
    with pytest.raises(TooLarge) as caught:
        replace(CALL, arguments={"a": "x" * 1024 * 1024}).check()
    assert caught.value.limit == 1024 * 1024


@pytest.mark.parametrize("value", [1, "", "é", None, {}, [1, 2], {"a": 1, "b": 2}])
def test_arguments_are_measured_as_they_are_sent_without_spaces(value: Any) -> None:
    one = len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()) + 1
    fits = (MOST_ARGUMENT_BYTES - len('{"a":[]}') + 1) // one
    replace(CALL, arguments={"a": [value] * fits}).check()
    with pytest.raises(TooLarge):
        replace(CALL, arguments={"a": [value] * (fits + 1)}).check()


@pytest.mark.parametrize("depth", [300, 900, 50_000])
def test_arguments_that_are_nested_too_deep_are_refused(depth: int) -> None:
    arguments: Any = {}
    for _ in range(depth):
        arguments = {"a": arguments} if depth % 200 else {"a": [arguments]}
    with pytest.raises(InvalidArguments, match="nested 100 levels deep at most"):
        replace(CALL, arguments=arguments).check()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_does_not_know_are_refused(number: float) -> None:
    with pytest.raises(InvalidRequest, match="number"):
        replace(CALL, arguments={"a": [number]}).check()


def test_neither_arguments_nor_uri_are_shown() -> None:
    shown = repr(JobRequest("resource_fetch", "srv", {"token": "canary"}, uri="canary://x"))
    assert "canary" not in shown


@given(st.dictionaries(st.text(), st.integers() | st.text(), max_size=5))
def test_the_digest_does_not_depend_on_the_order_of_arguments(arguments: dict[str, Any]) -> None:
    turned = dict(reversed(arguments.items()))
    assert replace(CALL, arguments=arguments).digest() == replace(CALL, arguments=turned).digest()


@pytest.mark.parametrize(
    "change",
    [{"arguments": {"timezone": "x"}}, {"name": "y"}, {"max_attempts": 2}, {"timeout_seconds": 2}, {"retry": "always"}],
)
def test_another_request_has_another_digest(change: dict[str, Any]) -> None:
    assert replace(CALL, **change).digest() != CALL.digest()


def test_the_idempotency_key_is_not_part_of_what_it_stands_for() -> None:
    assert replace(CALL, idempotency_key="a").digest() == replace(CALL, idempotency_key="b").digest()
