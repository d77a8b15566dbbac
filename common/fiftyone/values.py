"""From the server's texts back to FiftyOne's values, without guessing: "007" stays "007"."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any


class NoValue(Exception):
    """The text says that there is no value."""


class NotThisType(Exception):
    """The text cannot be a value of the type that is needed."""


def text_of(value: Any) -> str:
    """A value as FiftyOne writes it into an attribute."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def like_original(text: str, original: Any) -> Any:
    """A changed attribute, in the type it had where the text allows that.

    Raises NoValue where a number was cleared, NotThisType where a list or the like is needed and the text is none.
    """
    if not text.strip() and isinstance(original, (bool, int, float)):
        raise NoValue
    if isinstance(original, bool):
        return _truth(text) if _truth(text) is not None else text
    if isinstance(original, int):
        return _number(text, whole=True)
    if isinstance(original, float):
        number = _number(text, whole=False)
        return float(number) if isinstance(number, (int, float)) else number
    if isinstance(original, str):
        return text
    return _structure(text, type(original))


def of_new_label(text: str, input_type: str, allowed: Sequence[Any] = ()) -> Any:
    """An attribute of a label that had none: typed by its kind of input. Raises NoValue."""
    for value in allowed:
        if text_of(value) == text and (text or value is not None):
            return value
    if input_type == "checkbox":
        return _truth(text) is True
    if input_type == "number":
        if not text:
            raise NoValue
        return _number(text, whole=True)
    if input_type in ("select", "radio") and not text:
        raise NoValue
    return text


def scalar(text: str, kind: type) -> Any:
    """A scalar field's value; None where there is none. Raises NotThisType."""
    if kind is str:
        return text
    if not text.strip():
        return None
    if kind is bool:
        truth = _truth(text)
        if truth is None:
            raise NotThisType(f"{text[:40]!r} is neither true nor false")
        return truth
    number = _number(text, whole=kind is int)
    if kind is int and isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, str) or (kind is int and not isinstance(number, int)):
        raise NotThisType(f"{text[:40]!r} is not a {'whole ' if kind is int else ''}number")
    return kind(number)


def _truth(text: str) -> bool | None:
    return {"true": True, "false": False, "1": True, "0": False}.get(text.strip().lower())


def _number(text: str, whole: bool) -> int | float | str:
    for kind in (int, float) if whole else (float,):
        if "_" not in text:  # Python would read 1_000 as a number, nobody else does
            try:
                return kind(text.strip())
            except ValueError:
                continue
    return text


def _structure(text: str, kind: type) -> Any:
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise NotThisType(f"{text[:40]!r} is not a {kind.__name__}") from None
    if not isinstance(found, kind):
        raise NotThisType(f"{text[:40]!r} is not a {kind.__name__}")
    return found
