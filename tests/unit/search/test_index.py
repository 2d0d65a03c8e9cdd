import random
from collections.abc import Sequence
from typing import Any

import pytest

from nexus_hub.search.document import Filters, Found, ToolDocument
from nexus_hub.search.index import ToolIndex
from nexus_hub.search.selection import Selection
from nexus_hub.search.vectors import Embedder, load_embedder


def tool(server: str, own_name: str, description: str, **more: Any) -> ToolDocument:
    return ToolDocument((server, own_name), f"{server}__{own_name}", own_name, None, description, **more)


WEATHER = [
    tool("weather", "get_forecast", "Give the weather of the next days.", read_only=True),
    tool("weather", "set_alarm", "Wake somebody when a storm comes."),
]
FILES = [tool("files", "read_file", "Read a file from the disk.", read_only=True)]
WORDS = [
    *("calendar", "chart", "convert", "event", "file", "image", "list", "mail", "photo", "read", "search", "send"),
    *("storm", "table", "user", "weather", "write"),
]


def needed_embedder() -> Embedder:
    if embedder := load_embedder():
        return embedder
    pytest.skip("wordllama has no wheel for this machine")


@pytest.fixture(scope="module", params=["words", "words and meaning"])
def embedder(request: pytest.FixtureRequest) -> Embedder | None:
    return needed_embedder() if request.param == "words and meaning" else None


@pytest.fixture
def index(embedder: Embedder | None) -> ToolIndex:
    made = ToolIndex(embedder)
    made.replace("weather", WEATHER)
    made.replace("files", FILES)
    return made


def names(found: Found) -> list[str]:
    return [document.name for document, _ in found.items]


def ask(index: ToolIndex, query: str, selection: Selection | None = None, **more: Any) -> list[str]:
    return names(index.search(query, selection or index.select(), limit=5, **more))


def test_the_tool_that_a_request_speaks_of_is_first(index: ToolIndex) -> None:
    assert ask(index, "what will the weathers be tomorrow")[0] == "weather__get_forecast"


def test_a_name_and_a_beginning_of_one_come_first(index: ToolIndex) -> None:
    index.replace("more", [tool("more", "read", "read_file read_file read_file")])
    assert ask(index, "read_file")[0] == ask(index, "FILES__READ_FILE")[0] == "files__read_file"
    assert ask(index, "set_")[0] == ask(index, "weather__s")[0] == "weather__set_alarm"


def test_a_part_of_a_name_is_found(index: ToolIndex) -> None:
    assert ask(index, "orec")[0] == "weather__get_forecast"


def test_a_misspelled_word_is_corrected_to_one_that_the_caller_sees(index: ToolIndex) -> None:
    index.replace("math", [tool("math", "calculate", "Calculate an expression.")])
    assert ask(index, "caculate it")[0] == "math__calculate"
    without = index.select(lambda group, documents: group != "math")
    assert "math__calculate" not in ask(index, "caculate it", without)


def test_each_part_of_a_long_request_counts_by_itself(index: ToolIndex) -> None:
    index.replace("mail", [tool("mail", "send", "Send mail to a list of users.")])
    parts, whole = (
        dict(index.search(f"send mail to all users of the list{mark} read a file", index.select(), limit=9).items)
        for mark in (".", "")
    )
    assert parts[FILES[0]] > whole[FILES[0]] + 0.9


def test_meaning_finds_what_no_word_does() -> None:
    made = ToolIndex(needed_embedder())
    made.replace("all", [*WEATHER, *FILES, tool("art", "crop", "Cut the edges of photos.")])
    assert ask(made, "picture")[0] == "art__crop"


def test_nothing_is_found_without_a_request_or_a_document(index: ToolIndex, embedder: Embedder | None) -> None:
    nobody = index.select(lambda group, documents: False)
    for found in (
        index.search(" ", index.select(), limit=5),
        index.search("weather", nobody, limit=5),
        ToolIndex(embedder).search("weather", index.select(), limit=5),
    ):
        assert found == Found([], 0)
    assert index.search("weather", index.select(), limit=0).items == []


def test_a_selection_follows_the_index(index: ToolIndex) -> None:
    selection = index.select(lambda group, documents: [document.read_only for document in documents])
    assert ask(index, "alarm", selection) == []
    index.replace("weather", [tool("weather", "set_alarm", "Storm.", read_only=True)])
    assert ask(index, "alarm", selection) == ["weather__set_alarm"]
    index.remove("weather")
    assert ask(index, "alarm", selection) == []
    assert len(index) == 1


def test_a_place_that_another_takes_is_not_shown_to_those_who_saw_the_first(index: ToolIndex) -> None:
    selection = index.select(lambda group, documents: group == "weather")
    assert ask(index, "storm", selection)
    index.remove("weather")
    index.replace("secret", [tool("secret", "storm_one", "Storm."), tool("secret", "storm_two", "Storm.")])
    assert ask(index, "storm", selection) == []
    assert len(ask(index, "storm")) == 2


def test_filters_cut_what_is_found(index: ToolIndex) -> None:
    query = "weather storm file"
    assert ask(index, query, filters=Filters(groups=frozenset({"files", "absent"}))) == ["files__read_file"]
    assert ask(index, query, filters=Filters(read_only=False)) == ["weather__set_alarm"]
    assert set(ask(index, query, filters=Filters(read_only=True))) == {"files__read_file", "weather__get_forecast"}


def test_pages_put_together_are_the_whole_answer(index: ToolIndex) -> None:
    whole = index.search("weather storm file read", index.select(), limit=5)
    parts = [index.search("weather storm file read", index.select(), limit=1, offset=at) for at in range(4)]
    assert [item for part in parts for item in part.items] == whole.items
    assert {part.total for part in parts} == {whole.total} == {3}


def _random_tools(rng: random.Random, server: str) -> list[ToolDocument]:
    return [
        tool(server, "_".join(rng.sample(WORDS, 2)) + str(at), " ".join(rng.choices(WORDS, k=rng.randrange(1, 12))))
        for at in range(rng.randrange(1, 8))
    ]


def _shown(group: object, documents: Sequence[ToolDocument]) -> list[bool]:
    return [is_shown(document) for document in documents]


def is_shown(document: ToolDocument) -> bool:
    return sum(map(ord, document.name)) % 3 > 0


@pytest.mark.parametrize("seed", range(6))
def test_what_is_hidden_changes_neither_order_nor_score_nor_count(embedder: Embedder | None, seed: int) -> None:
    rng, made, bare = random.Random(seed), ToolIndex(embedder), ToolIndex(embedder)
    servers = {f"server{at}": _random_tools(rng, f"server{at}") for at in range(8)}
    for server in [*servers, *rng.sample(sorted(servers), 4)]:
        made.replace(server, _random_tools(rng, server))
        made.replace(server, servers[server])
    for server in rng.sample(sorted(servers), 8):
        bare.replace(server, [document for document in servers[server] if is_shown(document)])
    selection, everything = made.select(_shown), bare.select()
    for _ in range(25):
        query = rng.choice([" ", "_", ". "]).join(rng.choices([*WORDS, "calender", "wether"], k=rng.randrange(1, 7)))
        limit, offset = rng.randrange(1, 30), rng.randrange(3)
        expected = bare.search(query, everything, limit=limit, offset=offset)
        assert made.search(query, selection, limit=limit, offset=offset) == expected


def test_half_a_surrogate_pair_is_searched_and_indexed(embedder: Embedder | None) -> None:
    index = ToolIndex(embedder)
    index.replace("files", [ToolDocument(key=1, name="files__read", own_name="read", description="Reads \ud800 files")])
    assert index.search("read \udfff files", index.select(), limit=1).total == 1


def test_a_word_longer_than_any_counts_by_its_beginning() -> None:
    index = ToolIndex()
    index.replace("files", [ToolDocument(key=1, name="files__read", own_name="read", description="x" * 3000)])
    assert index.search("x" * 1900, index.select(), limit=1).total == 1
