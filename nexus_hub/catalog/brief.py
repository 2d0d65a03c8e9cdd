"""The short form of a tool, and the cost of tools to a model that is shown them."""

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
    """Name and a line of a tool; its schema is at `GET /v1/tools/{name}`."""

    name: str
    description: str


def shorten(tool: ToolEntry) -> Brief:
    """Give the short form of a tool."""
    return Brief(tool.name, cut_to_line(tool.description or tool.title or ""))


def cut_to_line(text: str) -> str:
    """Take the first sentence of the first line, cut between words if it has more than 120 characters."""
    line = next((stripped for part in text.splitlines() if (stripped := part.strip())), "")
    sentence = " ".join(_SENTENCE.split(line, maxsplit=1)[0].split())
    if len(sentence) <= LONGEST_LINE:
        return sentence
    cut = sentence[: LONGEST_LINE - 1]
    return (cut.rpartition(" ")[0] or cut) + "…"


def count_bytes(value: dict[str, Any]) -> int:
    """Count the bytes of a JSON object."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def estimate_tokens(all_bytes: int, shown_bytes: int) -> dict[str, int]:
    """Estimate the cost of all tools with their full definitions, and that of those that are shown."""
    everything, shown = -(-all_bytes // BYTES_PER_TOKEN), -(-shown_bytes // BYTES_PER_TOKEN)
    return {"all": everything, "shown": shown, "saved": max(everything - shown, 0)}
