"""Pages of large results: the text of all pages, put together, is the whole text, and nothing is left out unsaid.

Other blocks, such as images, are never cut. One that is larger than a page has a page of its own, which the others
name, so that a client asks for it only if it can take it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from nexus_hub.errors import InvalidRequest
from nexus_hub.gateway.names import JOB_META, RESULT_TOOL
from nexus_hub.json_object import JsonObject, finite
from nexus_hub.json_text import write

Block = dict[str, Any]
Part = Literal["content", "structured"]
PAGE_META = "nexus-hub/page"
DEFAULT_CHARACTERS = 100_000
"""The size of a page where nobody names one."""
LEAST_CHARACTERS, MOST_CHARACTERS = 1000, 10_000_000
MOST_NAMED = 20
"""So many blocks with a page of their own are named."""
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,40}/[\w.+-]{1,60}")
_KINDS = {
    "image": "an image",
    "audio": "a piece of audio",
    "resource": "an embedded resource",
    "resource_link": "a link to a resource",
}


@dataclass
class ResultPage:
    """A page's blocks; `lone` describes the block that has it to itself."""

    blocks: list[Block] = field(default_factory=list)
    lone: str | None = None


def is_over(result: Mapping[str, Any], characters: int) -> bool:
    """Tell if a result is longer than so many characters; 0 stands for any number of them."""
    if not characters or (isinstance(result, JsonObject) and len(result.text) <= characters):
        return False
    structured = result.get("structuredContent")
    size = sum(map(_count, _blocks_of(result))) + (_count_json(structured) if structured is not None else 0)
    return size > characters


def paginate(
    result: Mapping[str, Any], job_id: UUID, *, characters: int, page: int = 1, part: Part = "content"
) -> dict[str, Any]:
    """Make a page of a tool's result, with a last block that says where the rest is.

    Raises:
        InvalidRequest: there is no such page, or no such part.
    """
    structured = result.get("structuredContent")
    if part == "structured" and structured is None:
        raise InvalidRequest(f"The result of job {job_id} has no structured content.")
    blocks = [_text_block(write(structured).decode())] if part == "structured" else _blocks_of(result)
    pages = _cut(blocks, characters)
    if not 1 <= page <= len(pages):
        count = "1 page" if len(pages) == 1 else f"{len(pages)} pages"
        raise InvalidRequest(f"The result of job {job_id} has {count}; there is no page {page}.")
    left_out = _count_json(structured) if part == "content" and structured is not None else 0
    notice = _notice(job_id, pages, page, characters, part, left_out)
    place = {"id": str(job_id), "page": page, "pages": len(pages), "characters": characters, "part": part}
    answer: dict[str, Any] = {"content": [*pages[page - 1].blocks, notice]}
    if result.get("isError"):
        answer["isError"] = True
    kept = result.get("_meta")
    return answer | {"_meta": (kept if isinstance(kept, dict) else {}) | {PAGE_META: place, JOB_META: str(job_id)}}


def _cut(blocks: Sequence[Block], characters: int) -> list[ResultPage]:
    pages, room = [ResultPage()], characters
    for block in blocks:
        if not _is_text(block):
            size = _count(block)
            if size > characters or size > room:
                pages.append(ResultPage())
                room = characters
            pages[-1].blocks.append(block)
            if size > characters:
                pages[-1].lone = _describe(block)
            room -= size
            continue
        for piece in _pieces(block["text"], max(room, 0), characters):
            if room < len(piece) or (room <= 0 and piece):
                pages.append(ResultPage())
                room = characters
            pages[-1].blocks.append(block | {"text": piece})
            room -= len(piece)
    return pages


def _pieces(text: str, room: int, characters: int) -> Iterator[str]:
    """Cut a text: what goes into the room that is left, then a page's worth at a time; an empty one stays one."""
    if not text or len(text) <= room:
        yield text
        return
    if room:
        yield text[:room]
    for begin in range(room, len(text), characters):
        yield text[begin : begin + characters]


def _notice(job_id: UUID, pages: Sequence[ResultPage], page: int, characters: int, part: Part, left_out: int) -> Block:
    known: dict[str, Any] = {"id": str(job_id), "page_characters": characters}
    if part == "structured":
        known["part"] = part
    what = "structured content of the result" if part == "structured" else "result"
    words = [f"Page {page} of {len(pages)} of the {what} of job {job_id}, which is too large for one answer."]
    if page < len(pages):
        words.append(f"For the next page call {RESULT_TOOL} with {_show(known | {'page': page + 1})}.")
    elif len(pages) > 1:
        words.append("This is the last page.")
    lone = [f"page {number} is {one.lone}" for number, one in enumerate(pages, start=1) if one.lone]
    if lone:
        more = f" and {len(lone) - MOST_NAMED} more such pages" if len(lone) > MOST_NAMED else ""
        words.append(f"Larger than a page, and each on one of its own: {'; '.join(lone[:MOST_NAMED])}{more}.")
    if left_out:
        words.append(
            f"Its structured content, {left_out:,} characters of JSON, is not among these pages: call {RESULT_TOOL} "
            f"with {_show(known | {'part': 'structured', 'page': 1})}."
        )
    words.append("This note is no part of the result.")
    return _text_block(f"[{' '.join(words)}]") | {"_meta": {PAGE_META: "note"}}


def _show(arguments: dict[str, Any]) -> str:
    return write(arguments, separators=(", ", ": ")).decode()


def _blocks_of(result: Mapping[str, Any]) -> list[Block]:
    content = result.get("content")
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _is_text(block: Block) -> bool:
    return block.get("type") == "text" and isinstance(block.get("text"), str)


def _count(block: Block) -> int:
    return len(block["text"]) if _is_text(block) else _count_json(block)


def _count_json(value: Any) -> int:
    return len(write(finite(value)))


def _text_block(text: str) -> Block:
    return {"type": "text", "text": text}


def _describe(block: Block) -> str:
    """Describe a block by its kind, its media type and its size: no word of it is the server's own."""
    resource = block.get("resource")
    media = (resource if isinstance(resource, dict) else block).get("mimeType")
    known = isinstance(media, str) and _MEDIA_TYPE.fullmatch(media)
    kind = _KINDS.get(str(block.get("type")), "a block")
    return f"{kind}{f' ({media})' if known else ''} of {_count(block):,} characters"
