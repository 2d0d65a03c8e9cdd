"""Entries of the audit: digests, trace ids, clients, and what is cut."""

from nexus_hub.audit.counts import MOST_KINDS, Counts
from nexus_hub.audit.entries import (
    AuditEntry,
    AuditSource,
    client_of,
    digest_key,
    make_digest,
    outcome_of,
)
from nexus_hub.json_text import read
from nexus_hub.models import OPERATOR
from nexus_hub.telemetry.trail import Trail, keep_trail, note

KEY = digest_key("the-service-key-of-this-test")


def test_a_digest_is_of_the_arguments_however_they_were_written() -> None:
    one = make_digest(KEY, read('{"b": 1, "a": [1.10, "é"]}'))
    assert one == make_digest(KEY, read('{"a":[1.10,"\\u00e9"],"b":1}'))
    assert one != make_digest(KEY, read('{"a":[1.1,"\\u00e9"],"b":1}'))
    assert one != make_digest(digest_key("another-service-key-of-this-test"), read('{"b": 1, "a": [1.10, "é"]}'))
    assert one is not None
    assert len(one) == 32


def test_what_can_be_no_arguments_has_no_digest() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert make_digest(KEY, deep) is None
    assert make_digest(KEY, float("nan")) is None


def test_names_are_cut_and_show_what_they_hide() -> None:
    source = AuditSource(OPERATOR, client="a\x1b[31m" + "b" * 500, address="::1")
    row = AuditEntry.of("tool.call", source, Trail(target="x\u202ey\0" + "z" * 500), "ok").as_row()
    assert row["client"].startswith("a\\u001b[31mbbb")
    assert len(row["client"]) == 120
    assert row["target"].startswith("x\\u202ey\\u0000zzz")
    assert len(row["target"]) == 200


def test_arguments_are_not_shown() -> None:
    entry = AuditEntry("tool.call", AuditSource(OPERATOR), arguments={"a": "secret"})
    assert "secret" not in repr(entry)
    assert entry.with_digest(KEY).arguments is None


def test_an_outcome_follows_from_the_code() -> None:
    given = [None, "cancelled", "not-found", "not-allowed", "rate-limited", "upstream-timed-out", "invalid-arguments"]
    assert [outcome_of(code) for code in given] == ["ok", "cancelled", *["refused"] * 3, *["failed"] * 2]


def test_a_client_is_named_by_what_it_says_of_itself() -> None:
    assert client_of({"name": "a", "version": "1"}) == "a/1"
    assert client_of({"name": "a"}) == "a"
    assert client_of({"name": 1}) is None
    assert client_of(None) is None


def test_what_is_noted_belongs_to_the_request_under_way() -> None:
    note(target="nobody's")
    with keep_trail() as outer:
        note(target="outer")
        with keep_trail() as inner:
            note(target="inner", code="x")
        note(server="s")
    assert (outer.target, outer.server, outer.code, inner.target, inner.server) == ("outer", "s", None, "inner", None)


def test_refusals_of_a_minute_are_bounded_however_many_addresses_they_come_from() -> None:
    refusals = Counts()
    entries = [
        AuditEntry("access.refused", AuditSource(None, address=f"10.0.{number // 256}.{number % 256}"), "refused", "x")
        for number in range(3 * MOST_KINDS)
    ]
    first = [one for entry in entries if (one := refusals.refuse(entry)) is not None]
    assert len(first) == MOST_KINDS + 1
    assert first[-1].source.address == "other addresses"
    (others,) = refusals.drain()
    assert (others.source.address, others.times) == ("other addresses", 2 * MOST_KINDS - 1)
    assert list(refusals.drain()) == []
