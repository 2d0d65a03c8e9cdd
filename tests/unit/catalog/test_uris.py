"""Servers of URIs, among the entries that a principal may read."""

from dataclasses import dataclass
from uuid import UUID, uuid5

import pytest

from nexus_hub.catalog.uris import LONGEST_URI, ResourceIndex
from nexus_hub.errors import Conflict, NotFound
from nexus_hub.models import ServerRef, ServerType

NAMESPACE = UUID(int=7)


@dataclass(frozen=True)
class Entry:
    public: str
    server: str = "a"
    is_template: bool = False
    server_type: ServerType = "system"

    @property
    def ref(self) -> ServerRef:
        return ServerRef(self.server_type, uuid5(NAMESPACE, self.server))


def index_of(*entries: Entry) -> ResourceIndex[Entry]:
    return ResourceIndex(
        [entry for entry in entries if not entry.is_template], [entry for entry in entries if entry.is_template]
    )


def template(text: str, server: str = "a", server_type: ServerType = "system") -> Entry:
    return Entry(text, server, True, server_type)


def owner(uri: str, *entries: Entry) -> str:
    return index_of(*entries).find(uri).entry.server


def test_a_listed_resource_is_found_by_its_uri() -> None:
    index = index_of(Entry("file:///x", "a"), Entry("file:///y", "b"))
    assert index.find("file:///y").entry == Entry("file:///y", "b")


@pytest.mark.parametrize("uri", ["file:///z", "", "file:///x/", "FILE:///x", "file:///x" + "x" * LONGEST_URI])
def test_what_nobody_offers_is_not_found(uri: str) -> None:
    with pytest.raises(NotFound, match="no resource"):
        index_of(Entry("file:///x")).find(uri)


@pytest.mark.parametrize(
    ("listed", "asked"),
    [
        ("http://example.com", "http://example.com/"),
        ("http://example.com/", "http://example.com"),
        ("HTTP://Example.COM/Path", "http://example.com/Path"),
        ("memo://Insights", "memo://insights/"),
        ("http://example.com?q=A", "http://example.com/?q=A"),
    ],
)
def test_a_uri_that_a_client_has_rewritten_is_sent_as_it_was_listed(listed: str, asked: str) -> None:
    found = index_of(Entry(listed)).find(asked)
    assert (found.entry.public, found.uri) == (listed, listed)


@pytest.mark.parametrize("uri", ["http://[broken", "http://example.com/path", "HTTP://EXAMPLE.COM:99"])
def test_no_other_uri_is_taken_for_a_listed_one(uri: str) -> None:
    with pytest.raises(NotFound):
        index_of(Entry("http://example.com/"), Entry("http://example.com/Path")).find(uri)


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("file:///{name}", "file:///x.txt"),
        ("file:///{+path}", "file:///a/b/c"),
        ("file://{/path*}", "file:///a/b/c"),
        ("log://{service}{?since,level}", "log://api?level=error"),
        ("log://{service}{?since,level}", "log://api"),
        ("demo://{a}/static/{b}", "demo://1/static/2"),
        ("demo://item/{id}.json", "demo://item/7.json"),
        ("demo://{id}", "demo://%C3%A4%2Fb"),
        ("demo://{a}{b}", "demo://xy"),
        ("demo://{q:3}/end", "demo://abc/end"),
        ("demo://{+a}/{+b}", "demo://1/2/3"),
    ],
)
def test_a_template_is_found_by_the_uris_that_it_may_be_made_into(text: str, uri: str) -> None:
    found = index_of(template(text), template("other://{x}", "b")).find(uri)
    assert (found.entry.public, found.uri) == (text, uri)


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("file:///{name}", "file:///a/b"),
        ("file:///{name}", "file://"),
        ("demo://{a}/static/{b}", "demo://1/2"),
        ("demo://item/{id}.json", "demo://item/7.xml"),
        ("demo://{q:3}/end", "demo://abc/other"),
        ("demo://{broken", "demo://x"),
        ("demo://x{q:3}x", "demo://x"),
    ],
)
def test_other_uris_are_not_found(text: str, uri: str) -> None:
    with pytest.raises(NotFound):
        index_of(template(text)).find(uri)


def test_a_listed_resource_comes_before_every_template() -> None:
    entries = [template("file:///x{rest}", "b", "user"), template("file:///{+path}", "b"), Entry("file:///xy", "a")]
    assert owner("file:///xy", *entries) == owner("file:///xy", *reversed(entries)) == "a"


def test_the_template_with_the_most_plain_text_comes_first() -> None:
    entries = [template("{+uri}", "c"), template("file:///{+path}", "b"), template("file:///project/{name}", "a")]
    for each in (entries, entries[::-1]):
        assert owner("file:///project/x", *each) == "a"
        assert owner("file:///project/x/y", *each) == "b"
        assert owner("other:x", *each) == "c"


def test_a_users_own_server_hides_the_systems() -> None:
    assert owner("x://1", Entry("x://1", "a"), Entry("x://1", "mine", server_type="user")) == "mine"
    assert owner("x://1", template("x://{n}", "a"), template("x://{n}", "mine", "user")) == "mine"


def test_the_same_server_may_offer_a_uri_twice() -> None:
    assert owner("x://1", Entry("x://1"), Entry("x://1")) == "a"
    assert owner("x://1", template("x://{n}"), template("x://{m}")) == "a"


@pytest.mark.parametrize(
    "entries",
    [
        (Entry("x://1", "a"), Entry("x://1", "b")),
        (template("x://{n}", "a"), template("x://{n}", "b")),
        (template("x://{n}", "a"), template("x://{m}", "b")),
        (Entry("x://1", "a", server_type="user"), Entry("x://1", "b", server_type="user"), Entry("x://1", "c")),
        (Entry("X://1", "a"), Entry("x://1/", "b")),
    ],
)
def test_what_several_servers_offer_is_refused_with_their_names(entries: tuple[Entry, ...]) -> None:
    for each in (entries, entries[::-1]):
        with pytest.raises(Conflict, match=r"a, b\. .*/mcp/<server>"):
            index_of(*each).find("x://1")


def test_a_template_is_found_by_its_text_for_completion() -> None:
    twice = template("z://{n}", "a"), template("z://{n}", "b")
    index = index_of(template("x://{n}", "a"), Entry("y://1", "b"), *twice)
    assert index.find_template("x://{n}").entry.server == "a"
    assert index.find_template("x://1").entry.server == "a"
    assert index.find_template("y://1").entry.server == "b"
    with pytest.raises(NotFound):
        index.find_template("w://{n}")
    with pytest.raises(Conflict):
        index.find_template("z://{n}")


def test_hostile_templates_and_uris_are_held_against_each_other_without_backtracking() -> None:
    """Each character is looked at a few times per variable; a regular expression would not come to an end."""
    hostile = "x://" + "".join(f"{{a{n}}}-" for n in range(200))
    index = index_of(template(hostile), template("x://" + "{+a}" * 50 + "-", "b"), template("{" * 9000, "c"))
    with pytest.raises(NotFound):
        index.find("x://" + "-" * 8000 + "!")
