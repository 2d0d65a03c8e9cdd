"""Arguments of tools and prompts, checked before a job is stored. What is said of them never holds a value."""

from collections.abc import Iterator
from typing import Any

from jsonschema import ValidationError
from jsonschema.exceptions import SchemaError
from jsonschema.validators import Draft202012Validator, validator_for

from nexus_hub.errors import InvalidArguments

_MOST_PROBLEMS = 10


def check_tool_arguments(tool: str, schema: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Hold arguments against a tool's input schema; a schema that is itself broken checks nothing.

    Raises:
        InvalidArguments: they do not fit; one line per place, at most 10.
    """
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError:
        return
    errors = sorted(kind(schema).iter_errors(arguments), key=lambda error: [str(part) for part in error.path])
    problems = list(dict.fromkeys(_problem(error) for error in errors))
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
    rule: Any = error.validator_value
    instance: Any = error.instance
    schema: Any = error.schema
    place = ".".join(_steps(error)) or "the arguments"
    match error.validator:
        case "required":
            missing = [name for name in rule if name not in instance]
            return f"{place}: {', '.join(map(repr, missing))} is required"
        case "additionalProperties" | "unevaluatedProperties":
            known = ", ".join(sorted(schema.get("properties", {}))) or "none"
            return f"{place}: unknown properties; known are: {known}"
        case "type":
            return f"{place}: must be of type {_listed(rule)}"
        case "enum":
            return f"{place}: must be one of {_listed(rule)}"
        case (
            "minimum" | "maximum" | "minLength" | "maxLength" | "minItems" | "maxItems" | "pattern" | "format" | "const"
        ):
            return f"{place}: must satisfy {error.validator} {rule!r}"
        case _:
            return f"{place}: must satisfy {error.validator}"


def _steps(error: ValidationError) -> Iterator[str]:
    """The way to the place: names that the schema itself knows and positions; any other name shows as `*`."""
    known = {str(part) for part in error.absolute_schema_path}
    for step in error.absolute_path:
        yield str(step) if isinstance(step, int) or str(step) in known else "*"


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
