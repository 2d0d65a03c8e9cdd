import random

import numpy as np
import pytest

from nexus_hub.search import vectors
from nexus_hub.search.document import ToolDocument
from nexus_hub.search.ranking import compare
from nexus_hub.search.vectors import Embedder, load_embedder


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder() or pytest.skip("wordllama has no wheel for this machine")


def tool(name: str, description: str | None = None, title: str | None = None) -> ToolDocument:
    return ToolDocument(name, f"server__{name}", name, title, description)


def test_what_means_alike_is_near(embedder: Embedder) -> None:
    documents = embedder.embed_documents([tool("crop", "Cut photos."), tool("read", "Read a table.")])
    photos, table = compare(documents, embedder.embed_requests(["picture"]))[0]
    assert photos > table


def test_a_vector_depends_on_its_own_tool_alone(embedder: Embedder) -> None:
    tools = [tool(f"tool_{at}", f"Say {at} words. And more of {at}.") for at in range(9)]
    alone = [embedder.embed_documents([one])[0] for one in tools]
    assert np.array_equal(embedder.embed_documents(tools), np.stack(alone))


def test_equal_tools_are_equally_near_wherever_they_lie(embedder: Embedder) -> None:
    rng = random.Random(1)
    names = [f"tool{rng.randrange(40)}" for _ in range(301)]
    rows = embedder.embed_documents([tool(name, f"About {name}.") for name in names])
    requests = embedder.embed_requests(["tool", "seven tools", "about"])
    together, alone = compare(rows, requests), compare(rows[100:], requests[:1])
    assert np.array_equal(together[0, 100:], alone[0])
    assert len({tuple(pair) for pair in zip(names, together[0], strict=True)}) == len(set(names))


def test_a_tool_without_any_text_is_near_to_nothing(embedder: Embedder) -> None:
    assert not embedder.embed_documents([ToolDocument("key", "", "")]).any()
    assert not embedder.embed_requests([""]).any()


def test_the_title_stands_for_a_description_that_is_missing(embedder: Embedder) -> None:
    titled, described = embedder.embed_documents([tool("a", title="Crop photos"), tool("a", "Crop photos")])
    assert np.array_equal(titled, described)


@pytest.mark.parametrize(("word", "is_known"), [("calculate", True), ("apartment", True), ("caculate", False)])
def test_words_of_the_language_are_known(embedder: Embedder, word: str, is_known: bool) -> None:
    assert embedder.knows(word) is is_known


def test_without_the_package_there_are_no_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "find_spec", lambda name: None)
    assert load_embedder.__wrapped__() is None
