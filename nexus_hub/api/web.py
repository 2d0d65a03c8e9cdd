"""The console's files: one page for all of its addresses, and what that page loads. Nothing comes from elsewhere."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from nexus_hub.api.problems import Problem, from_error
from nexus_hub.errors import HubError
from nexus_hub.gateway.endpoint import Sources
from nexus_hub.settings import Settings

DIRECTORY = Path(__file__).parents[1] / "web"
"""The directory of the console's files; no other module of the hub knows it."""
PAGES = (
    *("", "login", "account", "jobs", "approvals", "tools", "bundles", "servers", "changes"),
    *("access", "users", "health", "keys", "audit"),
)
"""First steps of the addresses of pages; the page itself knows what is behind them."""
OAUTH_PAGES = ("/oauth/consent", "/oauth/callback")
"""Pages among the addresses of OAuth, where others are no pages."""
ASSETS = "assets"
_PATHS = (
    *(f"/{page}" for page in PAGES),
    *OAUTH_PAGES,
    "/approvals/{id}",
    "/bundles/{name}",
    "/access/{group}",
    "/users/{id}",
    "/jobs/{id}",
    "/servers/{type}/{id}",
    "/tools/{name:path}",
)
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
"""The kinds of files that are served; a system's own table of them may say anything."""
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data: blob:",
    "media-src": "data: blob:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {sources}" for name, sources in _POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def is_public(method: str, path: str) -> bool:
    """Tell if a request asks for one of the console's files, in which nothing is secret."""
    return method in {"GET", "HEAD"} and (path in OAUTH_PAGES or path.split("/")[1] in {*PAGES, ASSETS})


def make_console_routes(settings: Settings) -> list[BaseRoute]:
    """Make the routes of the console's pages and of the files that they load."""
    sources, files = Sources.from_settings(settings), WebFiles(DIRECTORY)
    pages = [Route(path, _Page(sources, files, path)) for path in _PATHS]
    return [*pages, Route(f"/{ASSETS}/{{path:path}}", _Page(sources, files, f"/{ASSETS}/{{path}}"))]


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file's content, and the tag that changes with it."""

    content: bytes
    etag: str
    media_type: str


class WebFiles:
    """Files of one directory, read again when they have changed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()
        self._read: dict[Path, tuple[tuple[int, int], WebFile]] = {}

    def find(self, path: str) -> WebFile | None:
        """Find a file of a kind that is served; None for anything else, such as one outside of the directory."""
        try:
            file = (self._directory / path).resolve()
            state = file.stat()
        except (OSError, ValueError):
            return None
        media_type = MEDIA_TYPES.get(file.suffix)
        if media_type is None or not file.is_relative_to(self._directory) or not file.is_file():
            return None
        version = state.st_mtime_ns, state.st_size
        known = self._read.get(file)
        if known is None or known[0] != version:
            content = file.read_bytes()
            known = version, WebFile(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"', media_type)
            self._read[file] = known
        return known[1]


class _Page:
    """The ASGI application of one of the routes."""

    def __init__(self, sources: Sources, files: WebFiles, path: str) -> None:
        self.path = path
        self._sources = sources
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the page, or with the file that is asked for."""
        scope["route"] = self
        await (await self._answer(Request(scope)))(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method not in {"GET", "HEAD"}:
            return Problem(405, "method-not-allowed", "The console's files are only read.", headers={"Allow": "GET"})
        try:
            self._sources.check(request.headers)
        except HubError as error:
            return from_error(error)
        name = request.path_params["path"] if self.path.startswith(f"/{ASSETS}/") else "index.html"
        file = await asyncio.to_thread(self._files.find, name)
        if file is None:
            return Problem(404, "not-found", "The console has no such file.", headers=HEADERS)
        return _respond(file, request.headers)


def _respond(file: WebFile, asked: Headers) -> Response:
    headers: Mapping[str, str] = {**HEADERS, "ETag": file.etag}
    known = {tag.strip().removeprefix("W/") for tag in asked.get("if-none-match", "").split(",")}
    if file.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)
