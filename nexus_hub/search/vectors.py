"""Meaning of texts, as sums of the vectors that the package wordllama ships for their tokens."""

import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nexus_hub.search.document import ToolDocument
from nexus_hub.search.words import drop_stop_words, split_parts

Vectors = NDArray[np.float32]
SCALE = 1024
"""Vectors are kept as whole numbers: their products then are exact, and the same in whatever order they are added."""
LONGEST_DESCRIPTION = 300
PARAMETERS_SHARE = 0.5
_SENTENCE_END = re.compile(r"\n|[.!?](?=\s)")
_TABLE = "weights/l2_supercat_256.safetensors"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"


class Embedder:
    """Turns texts into vectors, the same for the same text."""

    def __init__(self, package: Path) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        self._table = load_file(package / _TABLE)["embedding.weight"]
        self._tokenizer = Tokenizer.from_file(str(package / _TOKENIZER))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return int(self._table.shape[1])

    def embed_documents(self, documents: Sequence[ToolDocument]) -> Vectors:
        """Say in one vector what each tool does: its name and first sentence count twice, its parameters half."""
        parts = [_texts(document) for document in documents]
        server, name, sentence, rest, parameters = (self._sum([texts[at] for texts in parts]) for at in range(5))
        beginning = server + name + sentence
        vectors = _unit(beginning + rest) + _unit(beginning) + PARAMETERS_SHARE * _unit(name + parameters)
        return _whole(vectors)

    def embed_requests(self, texts: Sequence[str]) -> Vectors:
        """Say in one vector what each text asks for."""
        return _whole(_unit(self._sum([drop_stop_words(text) for text in texts])))

    def knows(self, word: str) -> bool:
        """Tell if a word is one of the language, or made of few that are."""
        return len(self._encode(word)) < 3

    def _sum(self, texts: Sequence[str]) -> Vectors:
        sums = {text: self._table[self._encode(text)].sum(axis=0, dtype=np.float32) for text in dict.fromkeys(texts)}
        return np.stack([sums[text] for text in texts])

    def _encode(self, text: str) -> list[int]:
        whole = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no text
        return self._tokenizer.encode(whole, add_special_tokens=False).ids


@cache
def load_embedder() -> Embedder | None:
    """Read the package's two files; None if it is not installed, and the search then goes by words alone."""
    found = find_spec("wordllama") if find_spec("safetensors") and find_spec("tokenizers") else None
    package = Path((found.submodule_search_locations or [""])[0]) if found else Path()
    is_whole = (package / _TABLE).is_file() and (package / _TOKENIZER).is_file()
    return Embedder(package) if is_whole else None


def _texts(document: ToolDocument) -> tuple[str, str, str, str, str]:
    description = (document.description or document.title or "").strip()[:LONGEST_DESCRIPTION]
    end = _SENTENCE_END.search(description)
    at = end.end() if end else len(description)
    parameters = " ".join(parameter.partition(":")[0] for parameter in document.parameters)
    return _spell(document.server), _spell(document.own_name), description[:at], description[at:], _spell(parameters)


def _spell(name: str) -> str:
    return " ".join(split_parts(name))


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    units: Vectors = np.divide(vectors, np.maximum(lengths, 1e-9))
    return units


def _whole(vectors: Vectors) -> Vectors:
    return np.round(vectors * SCALE).astype(np.float32)
