"""What is said of a dataset that its reader cannot read."""

from __future__ import annotations

from common.migrating.reading import _reasons


def test_the_innermost_reason_is_said_and_none_twice():
    try:
        try:
            raise ValueError("a polygon has two points")
        except ValueError as error:
            raise RuntimeError("item 5") from error
    except RuntimeError as error:
        outer = Exception("Failed to import dataset 'coco'.")
        outer.__cause__ = error
    assert _reasons(outer) == "Failed to import dataset 'coco': a polygon has two points"
    assert _reasons(ValueError("alone")) == "alone" and _reasons(Exception()) == "Exception"
