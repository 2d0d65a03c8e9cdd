"""Arguments of tools and prompts, checked before a job is stored. What is said of them never holds a value."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from nexus_hub.calls.evaluation import Violation
from nexus_hub.calls.json_values import MOST_NAMES_SHOWN, show, show_all
from nexus_hub.calls.schemas import Schema
from nexus_hub.errors import InvalidArguments
from nexus_hub.telemetry.bus import emit
from nexus_hub.telemetry.events import ArgumentsUnchecked

_MOST_PROBLEMS = 10
_LONGEST_PROBLEM = 500
_MOST_DECLARED = 1_000


def check_tool_arguments(tool: str, schema: Schema | dict[str, Any], arguments: dict[str, Any]) -> None:
    """Hold arguments against a tool's input schema; an event says if that took too long to be done in full.

    Raises:
        InvalidArguments: they do not fit; one line per place, at most 10.
    """
    known = schema if isinstance(schema, Schema) else Schema(schema)
    findings = known.check(arguments)
    _refuse(tool, (_describe(problem) for problem in sorted(findings.problems, key=lambda found: found.place)))
    if not findings.is_complete:
        emit(ArgumentsUnchecked(tool))


def check_prompt_arguments(prompt: str, definition: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Hold arguments against a prompt's declared ones: all required ones are there, and each value is a string.

    A prompt that declares more than 1,000 is left to its server.

    Raises:
        InvalidArguments: they do not fit.
    """
    declared = definition.get("arguments") or []
    if not isinstance(declared, list) or len(declared) > _MOST_DECLARED:
        emit(ArgumentsUnchecked(prompt))
        return
    known = {one["name"]: one for one in declared if isinstance(one, dict) and isinstance(one.get("name"), str)}
    _refuse(prompt, _describe_prompt(known, arguments))


def _refuse(name: str, problems: Iterator[str]) -> None:
    """Raise `InvalidArguments` with the first problems, each once."""
    if found := list(islice(dict.fromkeys(problem[:_LONGEST_PROBLEM] for problem in problems), _MOST_PROBLEMS)):
        raise InvalidArguments(name, found)


def _describe_prompt(known: dict[str, Any], arguments: dict[str, Any]) -> Iterator[str]:
    for name, declared in known.items():
        if declared.get("required") and name not in arguments:
            yield f"{show(name)!r} is required"
    for name in known:
        if name in arguments and not isinstance(arguments[name], str):
            yield f"{show(name)!r} must be a string"
    if len(arguments) > len(known) or arguments.keys() - known:
        yield f"unknown arguments; known are: {_list_names(tuple(map(show, islice(known, MOST_NAMES_SHOWN + 1))))}"


def _describe(problem: Violation) -> str:
    return f"{'.'.join(problem.place) or 'the arguments'}: {_describe_rule(problem)}"


def _describe_rule(problem: Violation) -> str:
    rule = problem.rule
    match problem.keyword:
        case "required":
            return f"{_list_names(tuple(map(repr, problem.names)))} is required"
        case "additionalProperties":
            return f"unknown properties; known are: {_list_names(problem.names)}"
        case "type":
            return f"must be of type {show_all(rule)}"
        case "enum":
            return f"must be one of {show_all(rule)}"
        case None:
            return "is not allowed"
        case keyword:
            return f"must satisfy {keyword}" + ("" if rule is None else f" {show(rule)}")


def _list_names(names: tuple[str, ...]) -> str:
    """List the first names, with a sign that there are more."""
    shown = ", ".join(names[:MOST_NAMES_SHOWN])
    return (f"{shown}, ..." if len(names) > MOST_NAMES_SHOWN else shown) or "none"
