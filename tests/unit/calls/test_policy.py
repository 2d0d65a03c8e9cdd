"""The course of a call: its lane, and when its caller gets a handle."""

import pytest

from nexus_hub.calls.policy import Course, choose_course
from nexus_hub.models import Durable
from nexus_hub.servers.policies import CallPolicy


@pytest.mark.parametrize(
    ("durable", "of_server", "of_caller", "of_hub", "lane", "seconds"),
    [
        ("long", None, None, 50, "direct", 50),
        ("long", 20, None, 50, "direct", 20),
        ("long", 20, 5, 50, "direct", 5),
        ("long", 20, 90, 50, "direct", 90),
        ("long", None, 5, 0, "direct", 5),
        ("long", None, None, 0, "direct", None),
        ("long", 0, None, 50, "direct", None),
        ("long", 20, 0, 50, "direct", None),
        ("never", None, None, 50, "direct", None),
        ("never", 20, 5, 50, "direct", None),
        ("always", None, None, 50, "durable", 50),
        ("always", 20, None, 50, "durable", 20),
        ("always", 0, None, 50, "durable", None),
        ("always", None, 7, 50, "durable", 7),
    ],
)
def test_the_caller_knows_best_how_long_it_waits_then_the_server_then_the_hub(
    durable: Durable,
    of_server: float | None,
    of_caller: float | None,
    of_hub: float,
    lane: str,
    seconds: float | None,
) -> None:
    policy = CallPolicy(durable, of_server)
    course = choose_course(policy, caller_seconds=of_caller, hub_seconds=of_hub)
    assert (course.lane, course.handle_seconds) == (lane, seconds)
    assert course == Course(course.lane, seconds)
