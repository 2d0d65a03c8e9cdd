"""Arguments of tools and prompts, checked before a job is stored. What is said of them never holds a value."""

from collections.abc import Iterator
from typing import Any

from jsonschema import ValidationError

from nexus_hub.calls.schemas import Schema
from nexus_hub.errors import InvalidArguments

_MOST_PROBLEMS = 10
_LONGEST_PROBLEM = 500


def check_tool_arguments(tool: str, schema: Schema | dict[str, Any], arguments: dict[str, Any]) -> None:
    """Hold arguments against a tool's input schema; one that is broken, or takes too long to follow, checks nothing.

    Raises:
        InvalidArguments: they do not fit; one line per place, at most 10.
    """
    known = schema if isinstance(schema, Schema) else Schema(schema)
    errors = sorted(known.errors(arguments), key=lambda error: [str(part) for part in error.path])
    problems = list(dict.fromkeys(_problem(error)[:_LONGEST_PROBLEM] for error in errors))
    if problems:
        raise InvalidArguments(tool, problems[:_MOST_PROBLEMS])


def check_prompt_arguments(prompt: str, definition: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Hold arguments against a prompt's declared ones: all required ones are there, and each value is a string.

    Raises:
        InvalidArguments: they do not fit.
    """
    declared = definition.get("arguments") or []
    missing = [one["name"] for one in declared if one.get("required") and one["name"] not in arguments]
    known = {one["name"] for one in declared}
    problems = [f"{name!r} is required" for name in missing]
    problems += [
        f"{name!r} must be a string"
        for name in sorted(known & arguments.keys())
        if not isinstance(arguments[name], str)
    ]
    if arguments.keys() - known:
        problems.append(f"unknown arguments; known are: {', '.join(sorted(known)) or 'none'}")
    if problems:
        raise InvalidArguments(prompt, problems[:_MOST_PROBLEMS])


def _problem(error: ValidationError) -> str:
    return f"{'.'.join(_steps(error)) or 'the arguments'}: {_broken(error)}"


def _broken(error: ValidationError) -> str:
    rule: Any = error.validator_value
    instance: Any = error.instance
    schema: Any = error.schema
    match error.validator:
        case "required" if isinstance(rule, list):
            return f"{', '.join(repr(name) for name in rule if name not in instance)} is required"
        case "additionalProperties":
            return f"unknown properties; known are: {', '.join(sorted(schema.get('properties', {}))) or 'none'}"
        case "type":
            return f"must be of type {_listed(rule)}"
        case "enum":
            return f"must be one of {_listed(rule)}"
        case "minimum" | "maximum" | "minLength" | "maxLength" | "minItems" | "maxItems" | "const":
            return f"must satisfy {error.validator} {rule!r}"
        case _:
            return f"must satisfy {error.validator}" if error.validator else "is not allowed"


def _steps(error: ValidationError) -> Iterator[str]:
    """The way to the place: names that the schema itself knows and positions; any other name shows as `*`."""
    known = {str(part) for part in error.absolute_schema_path}
    for step in error.absolute_path:
        yield str(step) if isinstance(step, int) or str(step) in known else "*"


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
