"""Lists as DRF gives them: filters, search, order and pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

Term = Callable[[Any], Any]


class BadFilter(ValueError):
    """A filter the server refuses with 400; `answer` is the JSON body."""

    def __init__(self, answer: Any) -> None:
        super().__init__(str(answer))
        self.answer = answer


class InvalidPage(LookupError):
    pass


def json_logic(text: str, terms: Mapping[str, Term]) -> Callable[[Any], bool]:
    """A predicate from `?filter=`, of the part of JSON logic that CVAT understands."""
    try:
        rule = json.loads(text)
    except ValueError:
        raise BadFilter(["filter: failed to parse the json expression"]) from None

    def value_of(node: Any, item: Any) -> Any:
        if isinstance(node, dict) and set(node) == {"var"}:
            name = node["var"]
            if name not in terms:
                raise BadFilter([f"filter: term '{name}' is not supported"])
            return terms[name](item)
        return node

    def holds(node: Any, item: Any) -> bool:
        if not isinstance(node, dict) or len(node) != 1:
            raise BadFilter(["filter: invalid expression"])
        operator, arguments = next(iter(node.items()))
        if operator == "and":
            return all(holds(one, item) for one in arguments)
        if operator == "or":
            return any(holds(one, item) for one in arguments)
        if operator == "!":
            inner = arguments[0] if isinstance(arguments, list) else arguments
            if isinstance(inner, dict) and set(inner) == {"var"}:
                return not value_of(inner, item)
            return not holds(inner, item)
        if operator == "var":
            return bool(value_of(node, item))
        values = [value_of(one, item) for one in arguments]
        return _compare(operator, values)

    def predicate(item: Any) -> bool:
        return holds(rule, item)

    return predicate


def _compare(operator: str, values: Sequence[Any]) -> bool:
    if operator == "in":
        needle, stack = values
        if stack is None:
            return False
        return str(needle).lower() in stack.lower() if isinstance(stack, str) else needle in stack
    if operator in ("==", "!="):
        same = _comparable(values[0]) == _comparable(values[1])
        return same if operator == "==" else not same
    pairs = list(pairwise(values))
    order: dict[str, Callable[[Any, Any], bool]] = {
        "<=": lambda a, b: a <= b,
        ">=": lambda a, b: a >= b,
        "<": lambda a, b: a < b,
        ">": lambda a, b: a > b,
    }
    if operator not in order:
        raise BadFilter([f"filter: {operator} operation is not supported"])
    try:
        return all(order[operator](_comparable(a), _comparable(b)) for a, b in pairs)
    except TypeError:
        return False


def _comparable(value: Any) -> Any:
    """Dates compare as moments, whatever way they are written."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, str) and len(value) >= 10 and value[4:5] == "-" and value[7:8] == "-":
        try:
            moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            return value
        return moment.timestamp() if moment.tzinfo else moment.astimezone().timestamp()
    return value


def ordered(items: list[Any], sort: str | None, terms: Mapping[str, Term]) -> list[Any]:
    """By `?sort=`, by id descending without one. Unknown terms are ignored, as DRF does."""
    wanted = [part.strip() for part in (sort or "-id").split(",") if part.strip()]
    for part in reversed([p for p in wanted if p.lstrip("-") in terms] or ["-id"]):
        term = terms[part.lstrip("-")]

        def key(item: Any, term: Term = term) -> tuple[bool, Any]:
            value = term(item)
            return (value is not None, value if value is not None else 0)

        items = sorted(items, key=key, reverse=part.startswith("-"))
    return items


def page_of(items: Sequence[Any], query: Mapping[str, str], url: str) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """One page's items, and `count`, `next` and `previous` as DRF writes them."""
    size_text = query.get("page_size", "10")
    count = len(items)
    asked = int(size_text) if size_text.isdigit() else 0
    size = max(1, count) if size_text == "all" else asked or 10
    page_text = query.get("page", "1")
    pages = max(1, -(-count // size))
    page = pages if page_text == "last" else int(page_text) if page_text.isdigit() else 0
    if not 1 <= page <= pages:
        raise InvalidPage
    following = _with_page(url, page + 1) if page < pages else None
    previous = _with_page(url, page - 1) if page > 1 else None
    return items[(page - 1) * size : page * size], {"count": count, "next": following, "previous": previous}


def _with_page(url: str, page: int) -> str:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if page == 1:
        query.pop("page", None)
    else:
        query["page"] = str(page)
    text = urlencode(sorted(query.items()))
    return parts._replace(query=text).geturl() if text else parts._replace(query="").geturl()
