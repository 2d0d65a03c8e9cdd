"""Servers of URIs: the one that offers a resource, by its listing or by a template that the URI matches.

Tools and prompts carry their server in their names. A URI does not, and two servers may offer the same one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from nexus_hub.errors import Conflict, NotFound
from nexus_hub.models import ServerRef
from nexus_hub.upstream.templates import Template

LONGEST_URI = 8192
"""Characters of a URI that is looked for; a longer one is nobody's."""


class Offered(Protocol):
    """A resource or resource template; `public` is its URI, or the template's text."""

    @property
    def public(self) -> str: ...  # noqa: D102
    @property
    def server(self) -> str: ...  # noqa: D102
    @property
    def ref(self) -> ServerRef: ...  # noqa: D102


E_co = TypeVar("E_co", bound=Offered, covariant=True)
E = TypeVar("E", bound=Offered)


@dataclass(frozen=True, slots=True)
class Located(Generic[E_co]):
    """A resource's entry, or that of the template that its URI matches, and the URI as its server knows it."""

    entry: E_co
    uri: str


class ResourceIndex(Generic[E]):
    """Finds the servers of URIs among the resources and templates that a principal may read.

    A listed resource comes before every template, of templates the one with the most plain text, and of equals a
    user's own server before the system's. What then is still on several servers is refused: none of them may take
    what is another's.
    """

    def __init__(self, resources: Iterable[E], templates: Iterable[E]) -> None:
        self._listed: dict[str, list[E]] = {}
        self._normal: dict[str, list[E]] = {}
        self._templates: dict[str, list[E]] = {}
        for entry in resources:
            self._listed.setdefault(entry.public, []).append(entry)
            self._normal.setdefault(_normalize(entry.public), []).append(entry)
        for entry in templates:
            self._templates.setdefault(entry.public, []).append(entry)
        self._ranked = sorted(map(Template, self._templates), key=lambda one: -one.plain_length)

    def find(self, uri: str) -> Located[E]:
        """Find the server of a URI.

        Raises:
            NotFound: nobody offers it.
            Conflict: several servers offer it.
        """
        if len(uri) <= LONGEST_URI:
            if found := self._listed.get(uri) or self._normal.get(_normalize(uri)):
                entry = _choose(found, uri)
                return Located(entry, entry.public)
            if found := self._find_templates(uri):
                return Located(_choose(found, uri), uri)
        raise NotFound("resource", uri)

    def find_template(self, text: str) -> Located[E]:
        """Find the server of a template by its text, for the completion of its arguments; errors as for `find`.

        A client may also name a listed resource, or a URI that a template was made into.
        """
        if found := self._templates.get(text):
            return Located(_choose(found, text), text)
        return self.find(text)

    def _find_templates(self, uri: str) -> list[E]:
        """Find the entries of the templates that say the most of a URI."""
        found: list[E] = []
        most = 0
        for template in self._ranked:
            if found and template.plain_length < most:
                break
            if template.matches(uri):
                most = template.plain_length
                found += self._templates[template.text]
        return found


def _choose(found: Sequence[E], uri: str) -> E:
    own = [entry for entry in found if entry.ref.server_type == "user"] or found
    if len({entry.ref for entry in own}) > 1:
        servers = ", ".join(sorted({entry.server for entry in own}))
        raise Conflict(
            f"Several servers offer {uri[:200]!r}: {servers[:400]}. Use the address of the one you mean: /mcp/<server>."
        )
    return min(own, key=lambda entry: entry.public)


def _normalize(uri: str) -> str:
    """Write a URI as clients do that parse it: scheme and host in small letters, and a path after a host."""
    try:
        parts = urlsplit(uri)
        if not parts.scheme or not parts.netloc:
            return uri
        user, at, host = parts.netloc.rpartition("@")
        head = f"{parts.scheme.lower()}://{user}{at}{host.lower()}"
    except ValueError:
        return uri
    rest = uri[len(parts.scheme) + 3 + len(parts.netloc) :]
    return head + (rest if rest.startswith("/") else "/" + rest)
