"""The forms answers have: JSON, refusals with a code, the pages that stand where JSON was expected."""

from __future__ import annotations

import json
from typing import Any

from sandbox.http import Answered, Request, Response, text_response

INDEX_PAGE = (
    '<!doctype html><html lang="en" dir="ltr"><head><meta charset="utf-8"/><title>Intel Geti</title></head>'
    '<body><noscript>You need to enable JavaScript to run this app.</noscript><div id="root"></div></body></html>'
)


def answer(value: Any, status: int = 200, headers: list[tuple[str, str]] | None = None) -> Response:
    content = (json.dumps(value, separators=(",", ":")) + "\n").encode()
    return Response(status, [("Content-Type", "application/json"), *(headers or [])], content)


def index_page() -> Response:
    """What an unknown address or a stranger gets: the page of the user interface, with status 200."""
    return text_response(INDEX_PAGE, 200, "text/html")


def nothing() -> Response:
    return Response(204)


def success() -> Response:
    return answer({"result": "success"})


def refusal(status: int, code: str, message: str) -> Answered:
    return Answered(answer({"http_status": status, "error_code": code, "message": message}, status))


def bad_request(message: str) -> Answered:
    return refusal(400, "bad_request", message)


def not_found(kind: str, identifier: str) -> Answered:
    return refusal(404, f"{kind}_not_found", f"The requested {kind} could not be found. {kind} ID: `{identifier}`.")


def body_json(request: Request) -> Any:
    """The request's body; an empty one is {}."""
    content = request.body
    if not content.strip():
        return {}
    try:
        return json.loads(content)
    except ValueError as error:
        raise bad_request(f"The request body is not valid JSON: {error}") from None


def body_object(request: Request) -> dict[str, Any]:
    raw = body_json(request)
    if not isinstance(raw, dict):
        raise bad_request("The request body must be a JSON object.")
    return raw


def number(query: dict[str, str], name: str, default: int, low: int, high: int) -> int:
    """An integer of the query; outside its limits it is refused, not cut."""
    text = query.get(name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        raise bad_request(f"'{name}' must be an integer, got '{text}'.") from None
    if not low <= value <= high:
        raise bad_request(f"'{name}' must be between {low} and {high}, got {value}.")
    return value
