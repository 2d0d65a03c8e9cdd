"""Keys that a place of the configuration knows, for whoever wrote another one."""

from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from nexus_hub.configuration.document import Path
from nexus_hub.configuration.schema import Configuration


def find_keys(path: Path) -> list[str]:
    """Find the keys that are known at a place; none where they are free, or where there is no such place."""
    kinds: list[Any] = [Configuration]
    for step in path:
        kinds = [inner for kind in kinds for inner in _enter(kind, step)]
    return sorted({key for kind in kinds if _is_model(kind) for key in kind.model_fields})


def explain_key(path: Path) -> str:
    """Say of a key that is not known which ones are."""
    known = find_keys(path[:-1])
    word = str(path[-1])
    near = get_close_matches(word, known, n=1) or [key for key in known if key.startswith(f"{word}_")]
    hint = f"; did you mean {near[0]}?" if near else "."
    return f"there is no such key{hint} Known here: {', '.join(known)}"


def _enter(kind: Any, step: str | int) -> list[Any]:
    if not _is_model(kind):
        return _flatten(get_args(kind)[-1])
    field = kind.model_fields.get(str(step))
    return [] if field is None else _flatten(field.annotation)


def _flatten(annotation: Any) -> list[Any]:
    """Give the models, dictionaries and lists that may stand there."""
    if _is_model(annotation) or get_origin(annotation) in {dict, list}:
        return [annotation]
    return [kind for part in get_args(annotation) for kind in _flatten(part)]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
