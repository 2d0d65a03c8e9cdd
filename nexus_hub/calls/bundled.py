"""Calls by names of bundles: the arguments that the operator has fixed go along, and errors say the bundle's names."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from nexus_hub.calls.arguments import check_tool_arguments
from nexus_hub.calls.cache import TtlCache
from nexus_hub.calls.schemas import Schema
from nexus_hub.catalog.bundle_items import kept_back_by, leave_out
from nexus_hub.catalog.bundles import ALL, Bundle, BundleEntry, Bundles, EntryKind
from nexus_hub.errors import HubError, InvalidArguments, LoginNeeded, NotFound, NotOffered, UpstreamError
from nexus_hub.models import BundleCall, ServerRef
from nexus_hub.upstream.requests import Completion, PromptGet, ResourceRead, ToolCall, UpstreamRequest
from nexus_hub.upstream.templates import Template

_UNFIT = "what the bundle itself fixes or hides does not fit the tool, which an operator can mend"


@dataclass(frozen=True)
class BundledCall:
    """A call by a name of a bundle, with the entry that stands for it."""

    call: BundleCall
    bundle: Bundle
    entry: BundleEntry
    sees_server: bool = True
    """False if the caller does not see the server behind it, and can't log in there either."""

    def complete(self, request: UpstreamRequest) -> UpstreamRequest:
        """Add what is fixed to what the caller sends.

        Raises:
            InvalidArguments: the caller sends arguments that are fixed or hidden.
        """
        if isinstance(request, Completion):
            return self._complete_completion(request)
        if isinstance(request, ResourceRead) or not kept_back_by(self.entry):
            return request
        refuse_kept_back(kept_back_by(self.entry), self.call.name, request.arguments)
        return replace(request, arguments={**request.arguments, **self.entry.fixed})

    def _complete_completion(self, request: Completion) -> Completion:
        context = request.context if isinstance(request.context, dict) else {}
        known = context.get("arguments")
        given: dict[str, Any] = known if isinstance(known, dict) else {}
        completed = {str(request.argument.get("name")): None}
        refuse_kept_back(kept_back_by(self.entry), self.call.name, given | completed)
        if not self.entry.fixed:
            return request
        return replace(request, context={**context, "arguments": {**given, **self.entry.fixed}})

    def check(self, schema: Schema, given: dict[str, Any], sent: dict[str, Any]) -> None:
        """Hold what is sent against the tool's schema; faults are told of in terms of what the caller has given.

        Raises:
            InvalidArguments: it does not fit.
        """
        try:
            check_tool_arguments(self.call.name, schema, sent)
        except InvalidArguments:
            if not (kept_back := kept_back_by(self.entry)) or not isinstance(schema.document, dict):
                raise
        else:
            return
        check_tool_arguments(self.call.name, leave_out(schema.document, kept_back), given)
        raise InvalidArguments(self.call.name, [_UNFIT])

    @contextmanager
    def speak(self, ref: ServerRef) -> Iterator[None]:
        """Let errors that arise within the block say the bundle's name in place of its server's.

        They are made anew, since others may be told of the same one.
        """
        try:
            yield
        except HubError as error:
            told = error
        else:
            return
        raise self._rename(told, ref) from None

    def _rename(self, error: HubError, ref: ServerRef) -> HubError:
        if isinstance(error, NotFound | NotOffered):
            return NotFound(self.entry.kind, self.call.name)
        server, name = self.entry.server, self.call.bundle
        if isinstance(error, LoginNeeded):
            return self._rename_login(error)
        message = error.message.replace(str(ref.server_ref_id), name).replace(repr(server), repr(name))
        told = type(error).__new__(type(error))
        told.__dict__.update(error.__dict__)
        told.args = (message.replace(f"server login {server}", f"server login {name}"),)
        if isinstance(told, UpstreamError):
            told.server = name
        return told

    def _rename_login(self, error: LoginNeeded) -> LoginNeeded:
        """Lead to the login whoever sees the server; nobody else can log in there."""
        link, is_yours = (error.link, error.is_yours) if self.sees_server else (None, False)
        return LoginNeeded(self.call.bundle, error.reason, link, is_yours=is_yours)


def find_bundled(bundles: Bundles, call: BundleCall, ref: ServerRef, request: UpstreamRequest) -> BundledCall:
    """Find the entry that stands for a call.

    Raises:
        NotFound: there is none any more, or it stands for something else.
    """
    bundle = bundles.by_entry.get(call.entry_id)
    entry = None if bundle is None else bundle.find_entry(call.entry_id)
    if bundle is None or entry is None or not _stands_for(bundle, entry, ref, request):
        raise NotFound(_kind_of(request), call.called_as)
    return BundledCall(call, bundle, entry)


async def look_up_bundled(
    bundles: TtlCache[None, Bundles], call: BundleCall, ref: ServerRef, request: UpstreamRequest
) -> BundledCall:
    """Find the entry that stands for a call in what is known of bundles, or else in what there is now.

    Raises:
        NotFound: as for `find_bundled`.
    """
    try:
        return find_bundled(await bundles(None), call, ref, request)
    except NotFound:
        bundles.forget(None)
    return find_bundled(await bundles(None), call, ref, request)


def refuse_kept_back(kept_back: frozenset[str], name: str, arguments: dict[str, Any]) -> None:
    """Refuse arguments that a bundle fixes or hides.

    Raises:
        InvalidArguments: some are sent; it names them.
    """
    if refused := sorted(kept_back & arguments.keys()):
        raise InvalidArguments(name, [f"{argument!r} is no argument here" for argument in refused])


def _stands_for(bundle: Bundle, entry: BundleEntry, ref: ServerRef, request: UpstreamRequest) -> bool:
    match request:
        case ToolCall():
            return bundle.stands_for(entry, "tool", ref, request.name)
        case PromptGet():
            return bundle.stands_for(entry, "prompt", ref, request.name)
        case ResourceRead():
            return entry.ref == ref and _covers(entry, request.uri)
        case Completion():
            if "name" in request.ref:
                return bundle.stands_for(entry, "prompt", ref, str(request.ref["name"]))
            uri = str(request.ref.get("uri"))
            return entry.ref == ref and (entry.source == uri or _covers(entry, uri))


def _covers(entry: BundleEntry, uri: str) -> bool:
    if entry.kind == "template":
        return entry.source == ALL or Template(entry.source).matches(uri)
    return entry.kind == "resource" and entry.source in {ALL, uri}


def _kind_of(request: UpstreamRequest) -> EntryKind:
    match request:
        case ToolCall():
            return "tool"
        case PromptGet():
            return "prompt"
        case _:
            return "resource"
