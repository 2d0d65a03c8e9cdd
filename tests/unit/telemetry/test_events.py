"""Events: their lines, their fields, and that no name breaks out of them."""

from dataclasses import fields
from uuid import UUID

import pytest

from nexus_hub.telemetry.bus import emit, report_defect, subscribe
from nexus_hub.telemetry.events import AttemptEnded, CallReturned, JobTags, RequestRejected, TelemetryEvent
from nexus_hub.telemetry.text import printable

JOB = UUID(int=1)
RUN = UUID(int=2)
FIRST, SECOND = (RequestRejected("GET /v1/jobs", 400, code) for code in ("invalid-request", "too-large"))


def test_an_event_shows_the_ids_of_its_job_and_what_is_known_of_it() -> None:
    event = AttemptEnded(
        JobTags(JOB, attempt=2, server="srv", tool="echo", flow_run_id=RUN), "failed", 12.345, "too-large"
    )
    assert event.fields() == {
        "job_id": str(JOB),
        "attempt": 2,
        "server": "srv",
        "tool": "echo",
        "flow_run_id": str(RUN),
        "outcome": "failed",
        "ms": 12.3,
        "code": "too-large",
    }
    assert str(event).startswith(f"ended job_id={JOB} attempt=2 server=srv tool=echo ")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a b", '"a b"'),
        ('a"b', '"a\\"b"'),
        ("a=b", '"a=b"'),
        ("", '""'),
        ("a\nERROR forged", '"a\\u000aERROR forged"'),
        ("天気", "天気"),
    ],
)
def test_a_name_stays_one_value_of_its_line(name: str, shown: str) -> None:
    assert str(CallReturned(JobTags(JOB, tool=name), 1)) == f"called job_id={JOB} tool={shown} ms=1"


@pytest.mark.parametrize(
    "character",
    list(
        "\0\x1b\x7f\x85\u061c\u200b\u200f\u2028\u202e\u2066\ufeff\ue000"
        "\u00ad\u034f\u115f\u3164\ufe0f\u00a0\ud800\U000e0041\U000e0101"
    ),
)
def test_a_character_that_hides_or_reorders_text_is_spelled_out(character: str) -> None:
    number = ord(character)
    assert printable(f"a{character}b") == (f"a\\u{number:04x}b" if number <= 0xFFFF else f"a\\U{number:08x}b")


def test_a_backslash_is_doubled_so_that_no_name_looks_like_one_that_was_spelled_out() -> None:
    assert printable("a\\u200b") == "a\\\\u200b"


def test_a_long_name_is_cut() -> None:
    assert printable("x" * 500) == "x" * 119 + "…"


def every_event(root: type[TelemetryEvent]) -> list[type[TelemetryEvent]]:
    return [one for child in root.__subclasses__() for one in (child, *every_event(child))]


def test_no_event_has_a_place_for_what_a_call_holds() -> None:
    names = {field.name for kind in [*every_event(TelemetryEvent), JobTags] for field in fields(kind)}
    assert not names & {"arguments", "params", "result", "error", "message", "url", "uri", "path", "headers", "token"}
    assert len(every_event(TelemetryEvent)) > 10
    assert all(kind.name.isalpha() for kind in every_event(TelemetryEvent))


def test_every_subscriber_sees_an_event_as_long_as_it_subscribes() -> None:
    first: list[TelemetryEvent] = []
    second: list[TelemetryEvent] = []
    with subscribe(first.append):
        with subscribe(second.append):
            emit(FIRST)
        emit(SECOND)
    emit(FIRST)
    assert first == [FIRST, SECOND]
    assert second == [FIRST]


def test_a_subscriber_that_fails_stops_neither_the_work_nor_the_others(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[TelemetryEvent] = []

    def fail(_event: TelemetryEvent) -> None:
        raise ValueError("canary")

    with subscribe(fail), subscribe(seen.append):
        emit(FIRST)
    assert seen == [FIRST]
    assert "ValueError at" in caplog.text
    assert "canary" not in caplog.text


def test_a_defect_is_told_with_its_job() -> None:
    seen: list[TelemetryEvent] = []
    with subscribe(seen.append):
        report_defect(KeyError("canary"), JobTags(JOB))
    assert [str(one) for one in seen] == [f'defect kind=KeyError place="no frame" job_id={JOB}']
