"""The short form of a tool, and what tools cost a model that is shown them."""

import json
import re
from dataclasses import dataclass
from typing import Any

from nexus_hub.catalog.entries import ToolEntry

LONGEST_LINE = 120
BYTES_PER_TOKEN = 4
"""A rule of thumb for English and JSON, not a tokenizer."""
_SENTENCE = re.compile(r"(?<=[.!?])\s")


@dataclass(frozen=True, slots=True)
class Brief:
    """Name and one line of a tool; its schema is at `GET /v1/tools/{name}`."""

    name: str
    description: str


def brief(tool: ToolEntry) -> Brief:
    """The short form of a tool."""
    return Brief(tool.name, one_line(tool.description or tool.title or ""))


def one_line(text: str) -> str:
    """The first sentence of the first line, cut between words if it has more than 120 characters."""
    line = next((stripped for part in text.splitlines() if (stripped := part.strip())), "")
    sentence = " ".join(_SENTENCE.split(line, maxsplit=1)[0].split())
    if len(sentence) <= LONGEST_LINE:
        return sentence
    cut = sentence[: LONGEST_LINE - 1]
    return (cut.rpartition(" ")[0] or cut) + "…"


def size(value: dict[str, Any]) -> int:
    """The bytes of a JSON object."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def tokens(all_bytes: int, shown_bytes: int) -> dict[str, int]:
    """An estimate of what all tools cost with their full definitions, and what those that are shown do."""
    everything, shown = -(-all_bytes // BYTES_PER_TOKEN), -(-shown_bytes // BYTES_PER_TOKEN)
    return {"all": everything, "shown": shown, "saved": max(everything - shown, 0)}
