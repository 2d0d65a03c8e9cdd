"""Words of names, descriptions and requests, as they are compared with each other."""

import re
from collections.abc import Iterator
from functools import lru_cache
from unicodedata import normalize

from snowballstemmer import stemmer

_COMMON = """
a about also am an and any are as at be been but by can could d do does for from give had has have help here how i if
in into is it its just know let like ll m me my need no not of on or our please re s shall should so some such t tell
than that the their them then there these they this those to us ve want was we were what when where which while who
will with would you your
"""
STOP_WORDS = frozenset(_COMMON.split())
"""Words that say nothing of what a tool does."""
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_RUN = re.compile(rf"[{_CJK}]+|\d+|(?:(?![{_CJK}])[^\W\d_])+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_CLAUSE = re.compile(r"[.;:?!,](?=\s|$)|[。；：？！，\n]+")
_TOKEN = re.compile(r"\w+|[^\w\s]")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_STEMMER = stemmer("english")
LONGEST_WORD = 64
"""Letters of a word that count; what is longer is none, and would fill the memory of stems."""


def split_parts(text: str) -> list[str]:
    """Split a text into words, and names such as `readFile` and `read_file` into their parts; the case stays.

    Scripts that have no spaces between words give pairs of characters.
    """
    return [part for run in _RUN.findall(normalize("NFKC", text)) for part in _parts_of(run)]


def find_stems(text: str) -> list[str]:
    """Find the stems of the words that say something, in their order; the stems are English ones."""
    words = (word.lower()[:LONGEST_WORD] for word in split_parts(text))
    return [_stem(word) for word in words if word not in STOP_WORDS]


def stem(word: str) -> str:
    """Cut a word down to its stem."""
    return _stem(word.lower()[:LONGEST_WORD])


def drop_stop_words(text: str) -> str:
    """Leave out the words that say nothing, unless nothing else is there."""
    return " ".join(word for word in _TOKEN.findall(text) if word.lower() not in STOP_WORDS) or text


def split_clauses(text: str, most: int) -> list[str]:
    """Split a request of several parts at its punctuation; parts of a single word are left out, and so is a whole."""
    clauses = [clause for clause in _CLAUSE.split(text) if len(find_stems(clause)) >= 2]
    return clauses[:most] if len(clauses) > 1 else []


def find_misspellings(word: str) -> Iterator[str]:
    """Give all that lies one slip of the fingers away: a letter too many, too few, wrong, or two swapped."""
    for at in range(len(word) + 1):
        head, tail = word[:at], word[at:]
        yield from (head + letter + tail for letter in _ALPHABET)
        if tail:
            yield head + tail[1:]
            yield from (head + letter + tail[1:] for letter in _ALPHABET)
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]


def _parts_of(run: str) -> list[str]:
    if "\u3040" <= run[0] <= "\ud7af":
        return [run[at : at + 2] for at in range(max(1, len(run) - 1))]
    return [run] if run.islower() else _HUMP.split(run)


@lru_cache(maxsize=65536)
def _stem(word: str) -> str:
    return str(_STEMMER.stemWord(word))
