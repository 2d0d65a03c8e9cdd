"""Bodies of requests: how many values they may hold, counted while they arrive, and how many faults are told of."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from nexus_hub.errors import InvalidRequest, TooLarge
from nexus_hub.json_object import count_values, split_texts

PIECE_BYTES = 64 * 1024
"""After so many bytes that were counted, others get their turn."""
MOST_FAULTS = 1000
"""Faults of a body that are looked at one by one."""


class ValueCount:
    """Counts the values of a JSON text that comes in pieces: its commas, and the brackets and braces that open.

    What is read costs time and memory by its values, not by its bytes. Of what is no JSON only that matters which
    stands before its first fault: nobody reads on from there.
    """

    def __init__(self, limit: int, setting: str) -> None:
        self._limit = limit
        self._setting = setting
        self._count = 0
        self._within_text = False
        self._rest = b""

    def add(self, piece: bytes) -> None:
        """Count a piece.

        Raises:
            TooLarge: there are too many values.
            InvalidRequest: it can't be UTF-8, so that a byte need not be the character that it looks like.
        """
        if b"\0" in piece:
            raise InvalidRequest("The body is no JSON in UTF-8.")
        parts = split_texts(self._take_whole(self._rest + piece))
        self._count += count_values(parts[self._within_text :: 2])
        self._within_text ^= len(parts) % 2 == 0
        if self._count > self._limit:
            raise TooLarge.crowded("A body", self._limit, self._setting)

    def _take_whole(self, piece: bytes) -> bytes:
        """Keep a backslash at the end, which belongs to what comes next."""
        end = len(piece) - (len(piece) - len(piece.rstrip(b"\\"))) % 2
        self._rest = piece[end:]
        return piece[:end]


class Body(BaseModel):
    """The body of a request; one that is full of faults is refused as a whole."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="wrap")
    @classmethod
    def _bound_faults(cls, given: Any, read: ModelWrapValidatorHandler["Body"]) -> "Body":
        try:
            return read(given)
        except ValidationError as error:
            if (count := error.error_count()) > MOST_FAULTS:
                raise PydanticCustomError("too_many_faults", "Has {count} faults", {"count": count}) from None
            raise
