"""What CVAT's answers mean, whatever shape they have."""

from __future__ import annotations

import pytest
import requests
import responses

from common.web.answers import answer_text, plain_cause

BASE = "http://cvat.example.com"


@responses.activate
@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b'{"detail": "No Project matches."}', "application/vnd.cvat+json", "No Project matches."),
        (b'["Invalid export request id"]', "application/vnd.cvat+json", "Invalid export request id"),
        (b'"The exported file has expired"', "application/vnd.cvat+json", "The exported file has expired"),
        (b'{"non_field_errors": ["a", "b"], "x": {"y": 1}}', "application/json", "a; b; x: y: 1"),
        (b"There is no request with specified id", "text/html", "There is no request with specified id"),
        (b"<html><title>502 Bad\nGateway</title>x</html>", "text/html", "502 Bad Gateway"),
        (b"<html><body><b>Oops</b></body></html>", "text/html", "Oops"),
        (b"\xff\x00\x1b[31m plain", "text/plain", "\ufffd [31m plain"),
        (b"", "text/plain", ""),
        (b"x" * 30_000, "text/plain", "x" * 299 + "…"),
    ],
)
def test_whatever_shape_an_error_has_it_becomes_one_line(body, kind, said):
    responses.add(responses.GET, f"{BASE}/api/x", body=body, status=400, content_type=kind)
    assert answer_text(requests.get(f"{BASE}/api/x", timeout=5))[0] == said


@pytest.mark.parametrize(
    ("error", "plain"),
    [(ConnectionRefusedError(111, "Connection refused"), "connection refused"), (TimeoutError("timed out"), "no answer in time"),
     (ConnectionResetError(104, "Connection reset by peer"), "connection cut"), (ValueError(), "ValueError")],
)  # fmt: skip
def test_causes_of_broken_connections_are_plain_words(error, plain):
    assert plain_cause(requests.ConnectionError(error)) == plain
