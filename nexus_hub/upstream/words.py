"""Words of servers that refuse a request: made safe to show, and understood where they speak of a session."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from nexus_hub.telemetry.text import printable
from nexus_hub.upstream.config import HttpConfig, OAuthLogin, StdioConfig
from nexus_hub.upstream.display import TOKEN_LIKE

LONGEST = 500
SHORTEST_SECRET = 4
SHORTEST_OF_ENVIRONMENT = 8
"""A shorter value of the environment is a number or a word of every day."""
_MEMBERS = ("error_description", "message", "detail", "error", "title", "reason")
"""Members of a JSON answer in which servers say why, best first: OAuth, JSON-RPC, FastAPI, RFC 9457."""
_SCHEMES = {"Bearer", "Basic", "Token"}
_CHALLENGE = re.compile(r'\b(?:error_description|error)="([^"]{1,500})"')

_JSON_WITHIN = re.compile(r'[\[{](?:\s*[\[{]|[^\[\]{}"]{0,100}")')
"""The beginning of JSON behind plain words: it may be an answer."""

_OPENING = (
    r"^\W*(?:(?:bad request|unauthorized|not found|invalid request|error|mcp(?!\W+session)|http)\W+(?:error\W+)?)*+"
    r"(?:\d+\W+)?"
)
_STATES = (
    r"(?:not found|(?:is |was |has )?(?:been )?(?:unknown|expired|invalid|missing|terminated|removed"
    r"|deleted|required|invalidated)|no longer|does not exist|doesn.t exist|is not|not (?:valid|known|active"
    r"|exist|initiali[sz]ed|recogni[sz]ed|established|available))"
)
_SESSION = r"(?:mcp[- ])?session(?:[- ]?id)?\b"
_FORGOTTEN = re.compile(
    _OPENING
    + rf"(?:(?:the |your |this )?{_SESSION}[^.\n]{{0,80}}?{_STATES}"
    + r"|(?:the |your |this )?mcp[- ]session[^.\n]{0,40}?(?:closed|lost|timed out)"
    + r"|(?:no|unknown|invalid|expired|missing|bad|stale|could not find|cannot find|can.t find|unrecogni[sz]ed)\b"
    + rf"[^.:\n]{{0,40}}?{_SESSION}"
    + r"|(?:the )?(?:server|client|session|connection)?\s*(?:is |was |has )?"
    + r"(?:not (?:yet )?(?:been )?initiali[sz]ed|uninitiali[sz]ed)"
    + r"|(?:received )?requests? before initiali[sz]\w+|[^.\n]{0,40}\bbefore initiali[sz]"
    + r"|initiali[sz]ation (?:is |was )?(?:not complete|incomplete|required|missing)"
    + r"|(?:please )?initiali[sz]e (?:the session |a session )?first)",
    re.IGNORECASE,
)
_ANY_WORD = re.compile(r"\bsession|\b(?:not (?:yet )?(?:been )?|un)initiali[sz]|\binitiali[sz]e first", re.IGNORECASE)
TRANSPORT_CODES = frozenset({-32600, -32000, -32001, -32002, -32003, -32004, 0, 400, 404, 410, 440})
"""JSON-RPC codes with which servers refuse a session that they don't know; others come from methods and tools."""


def make_safe(text: str, hidden: Iterable[str] = ()) -> str:
    """Bound a server's words, spell out its control characters, and mask what of our secrets it repeats."""
    for secret in hidden:
        text = text.replace(secret, "***")
    return printable(" ".join(text[: 4 * LONGEST].split()), longest=LONGEST)


def find_secrets(config: HttpConfig | StdioConfig) -> tuple[str, ...]:
    """List what a server must not repeat of its configuration, longest first.

    Of headers and of the environment that are the values and the words of these; of the URL and of arguments what may
    be a key.
    """
    if isinstance(config, HttpConfig):
        given, shortest = dict(config.headers), SHORTEST_SECRET
        if isinstance(config.login, OAuthLogin) and config.login.client_secret is not None:
            given["client_secret"] = config.login.client_secret
        parts = set(_parts_of_url(config.url))
    else:
        given, shortest = config.env, SHORTEST_OF_ENVIRONMENT
        parts = {word for argument in config.args for word in argument.split("=") if TOKEN_LIKE.fullmatch(word)}
    return split_secrets((value.get_secret_value() for value in given.values()), parts=parts, shortest=shortest)


def split_secrets(
    values: Iterable[str], *, parts: Iterable[str] = (), shortest: int = SHORTEST_SECRET
) -> tuple[str, ...]:
    """List secret values and the words of them, and other secrets in `parts`, longest first."""
    words = {word for value in values for word in (value, *value.split()) if len(word) >= shortest}
    return tuple(sorted((words | set(parts)) - _SCHEMES, key=len, reverse=True))


def _parts_of_url(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        members = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return
    found = [parts.query, parts.username or "", parts.password or "", *(value for _, value in members)]
    yield from (part for part in found if len(part) >= SHORTEST_SECRET)
    yield from (segment for segment in parts.path.split("/") if TOKEN_LIKE.fullmatch(segment))


def find_reason(content: bytes, content_type: str, challenge: str = "") -> str:
    """Find the reason in a refusal: in its JSON, its plain text, or the header WWW-Authenticate."""
    text = content.decode("utf-8", "replace").strip("\ufeff \r\n\t")
    if text[:1] in ("{", '"'):
        try:
            return _find_in(json.loads(text, strict=False)) or _read_challenge(challenge)
        except (ValueError, RecursionError):
            return _read_challenge(challenge)
    is_page = "html" in content_type.lower() or text.startswith("<") or '"jsonrpc"' in text
    words = _JSON_WITHIN.split(text, maxsplit=1)[0].strip()
    return "" if is_page else words or _read_challenge(challenge)


def _find_in(body: Any) -> str:
    if isinstance(body, str):
        return body
    if not isinstance(body, dict):
        return ""
    for member in _MEMBERS:
        value = body.get(member)
        if found := _find_in(value) if isinstance(value, dict | str) else "":
            return found
    return ""


def _read_challenge(header: str) -> str:
    return ": ".join(dict.fromkeys(_CHALLENGE.findall(header)))


def is_forgotten(text: str, *, code: int | None = None, refused: bool = False) -> bool:
    """Tell if words say that the server does not know our session.

    `refused`: a status of 400 or more says that the request went no further, so that the mere topic is enough. Of a
    JSON-RPC error with a `code` only plain words count: a tool may speak of sessions of its own.
    """
    said = text[:LONGEST].replace("_", " ")
    if refused and _ANY_WORD.search(said):
        return True
    return (code is None or code in TRANSPORT_CODES) and _FORGOTTEN.match(said) is not None
