"""JSON values, compared and shown at a cost that is counted: `spend` hears of every step and ends what goes too far."""

import json
import math
from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any

Spend = Callable[[int], None]

LONGEST_NAME_SHOWN = 80
MOST_NAMES_SHOWN = 20
_LARGEST_DIVIDED = 1_500
"""Bytes that Python keeps a number in: the time for a division grows with the square of them."""
_MOST_ZEROS = 1_000
_EXACT = Context(prec=10_000, Emax=MAX_EMAX, Emin=MIN_EMIN)


def cost_of(value: Any) -> int:
    """Count the steps that comparing a text or a number takes beyond the first."""
    return len(value) >> 12 if isinstance(value, str) else int(value.__sizeof__()) >> 12


def is_number(value: Any) -> bool:
    """Tell a number of JSON: a bool of Python is none, nor what is called "not a number"."""
    if isinstance(value, Decimal):
        return value.is_finite()
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, int) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Tell a whole number, in whichever form: 1, 1.0, 1e3."""
    if isinstance(value, float):
        return value.is_integer()
    if isinstance(value, Decimal):
        return value.is_finite() and bool(value == value.to_integral_value())
    return is_number(value)


def order(first: Any, second: Any) -> tuple[Any, Any]:
    """Give two numbers as what can be compared: a float beside a decimal stands for what was written, as 0.1."""
    if isinstance(first, float) and isinstance(second, Decimal):
        return Decimal(repr(first)), second
    if isinstance(first, Decimal) and isinstance(second, float):
        return first, Decimal(repr(second))
    return first, second


def is_multiple(value: Any, of: Any, spend: Spend) -> bool | None:
    """Divide as one does on paper, so that 19.99 is a multiple of 0.01; None for what is too large or no divisor."""
    dividend, divisor = _split(value), _split(of)
    if dividend is None or divisor is None or divisor[0] <= 0:
        return None
    zeros = dividend[1] - divisor[1]
    if abs(zeros) > _MOST_ZEROS:
        return None
    above, below = dividend[0] * 10 ** max(zeros, 0), divisor[0] * 10 ** max(-zeros, 0)
    spend(3 + (above.bit_length() * below.bit_length() >> 20))
    return bool(above % below == 0)


def _split(number: Any) -> tuple[int, int] | None:
    """Write a number as digits and a power of ten."""
    if number.__sizeof__() > _LARGEST_DIVIDED:
        return None
    if isinstance(number, int):
        return number, 0
    sign, digits, exponent = Decimal(repr(number) if isinstance(number, float) else number).as_tuple()
    if not isinstance(exponent, int):
        return None  # infinite, or no number
    return int("".join(map(str, digits))) * (-1 if sign else 1), exponent if any(digits) else 0


def equal(first: Any, second: Any, spend: Spend) -> bool:
    """Compare two values as JSON does: 1 is 1.0, and true is not 1."""
    spend(1)
    if isinstance(first, str):
        if not isinstance(second, str) or len(first) != len(second):
            return False
        spend(cost_of(first))
        return first == second
    if is_number(first) and is_number(second):
        spend(cost_of(first))
        one, other = order(first, second)
        return bool(one == other)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(lambda a, b: equal(a, b, spend), first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return len(first) == len(second) and all(
            _has(second, name, spend) and equal(value, second[name], spend) for name, value in first.items()
        )
    return first is second


def _has(members: dict[str, Any], name: str, spend: Spend) -> bool:
    spend(cost_of(name))
    return name in members


def has_repeats(items: list[Any], spend: Spend) -> bool:
    """Look for two equal items, in a time that grows with their size and not with its square."""
    spend(len(items) >> 3)
    if set(map(type, items)) == {str}:
        spend(sum(map(len, items)) >> 12)
        return len(set(items)) < len(items)
    seen: set[str] = set()
    for item in items:
        parts: list[str] = []
        _write(item, parts, spend)
        text = "".join(parts)
        if text in seen:
            return True
        seen.add(text)
    return False


def _write(value: Any, parts: list[str], spend: Spend) -> None:
    """Write a value so that equal ones are the same text; a text's hash can't be aimed at, as a number's can."""
    if isinstance(value, str):
        spend(2 + (len(value) >> 8))
        parts.append(json.dumps(value))
    elif isinstance(value, list):
        spend(2)
        parts.append("[")
        for item in value:
            _write(item, parts, spend)
            parts.append(",")
        parts.append("]")
    elif isinstance(value, dict):
        spend(2 + len(value))
        parts.append("{")
        for name in sorted(value):
            _write(name, parts, spend)
            _write(value[name], parts, spend)
            parts.append(",")
        parts.append("}")
    else:
        spend(2 + (value.__sizeof__() >> 9))
        parts.append(_write_scalar(value))


def _write_scalar(value: Any) -> str:
    if not is_number(value):
        return repr(value)
    if isinstance(value, Decimal) and len(value.as_tuple().digits) > _EXACT.prec:
        return str(value)
    if not isinstance(value, int):
        number = _EXACT.normalize(Decimal(repr(value)) if isinstance(value, float) else value)
        if not (number.is_finite() and number == number.to_integral_value() and number.adjusted() < _MOST_ZEROS):
            return str(number)
        value = int(number)
    return f"{value:x}"


def show(value: Any) -> str:
    """Show a value of a schema in a few characters."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST_NAME_SHOWN else f"{value[:LONGEST_NAME_SHOWN]}..."
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a large number"
    return show(json.dumps(value) if isinstance(value, bool | None) else str(value))


def show_all(values: Any) -> str:
    """Show the first of many values."""
    if not isinstance(values, list):
        return show(values)
    return ", ".join([*map(show, values[:MOST_NAMES_SHOWN]), *(["..."] if len(values) > MOST_NAMES_SHOWN else [])])
