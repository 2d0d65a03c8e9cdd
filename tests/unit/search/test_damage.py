"""Damage to the files that say what words mean."""

from pathlib import Path

import pytest

from nexus_hub.live import tool_index
from nexus_hub.search.document import ToolDocument


def test_damaged_vectors_cost_no_more_than_the_meaning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load() -> None:
        raise OSError(f"{tmp_path} is damaged")

    monkeypatch.setattr(tool_index, "load_embedder", load)
    tool_index.load_meaning.cache_clear()
    index = tool_index.make_index()
    index.replace("files", [ToolDocument(key=1, name="files__read", own_name="read")])
    assert index.search("read", index.select(), limit=1).total == 1
    tool_index.load_meaning.cache_clear()
