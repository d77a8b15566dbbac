"""Texts of the server as values of FiftyOne, and which edits are allowed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.fiftyone.permissions import KINDS, permissions_of
from common.fiftyone.values import NotThisType, NoValue, like_original, of_new_label, scalar, text_of


@given(st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()))
def test_a_value_comes_back_as_what_it_was(value: Any) -> None:
    if value != "":
        back = like_original(text_of(value), value)
        assert back == value and type(back) is type(value)


@pytest.mark.parametrize("text", ["007", "true", "1e3", "12.50", "None", "", " x "])
def test_text_stays_text(text: str) -> None:
    assert like_original(text, "before") == text
    assert of_new_label(text, "text") == text
    assert scalar(text, str) == text


@pytest.mark.parametrize(
    ("text", "original", "expected"),
    [("8", 7, 8), ("8.5", 7, 8.5), ("8", 7.5, 8.0), ("1_000", 7, "1_000"), ("many", 7, "many"), ("false", True, False),
     ("maybe", True, "maybe"), ("['a']", ["b"], ["a"])],
)  # fmt: skip
def test_a_changed_value_takes_the_original_type_where_it_can(text: str, original: Any, expected: Any) -> None:
    got = like_original(text, original)
    assert got == expected and type(got) is type(expected)


def test_a_cleared_number_is_no_value_and_a_list_is_not_made_of_words() -> None:
    with pytest.raises(NoValue):
        like_original("", 7)
    with pytest.raises(NotThisType):
        like_original("a, b", ["a"])


@pytest.mark.parametrize(
    ("text", "kind", "allowed", "expected"),
    [("true", "checkbox", (), True), ("false", "checkbox", (True, False), False), ("", "checkbox", (), False),
     ("2", "radio", [1, 2], 2), ("2", "select", ["1", "2"], "2"), ("12", "number", (), 12), ("1.5", "number", (), 1.5),
     ("other", "select", ["a"], "other")],
)  # fmt: skip
def test_values_of_new_labels_are_those_of_the_schema(text: str, kind: str, allowed: Any, expected: Any) -> None:
    got = of_new_label(text, kind, allowed)
    assert got == expected and type(got) is type(expected)


@pytest.mark.parametrize("kind", ["number", "select", "radio"])
def test_what_was_never_chosen_is_no_value(kind: str) -> None:
    with pytest.raises(NoValue):
        of_new_label("", kind)


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [("7", int, 7), ("7.0", int, 7), ("7", float, 7.0), ("true", bool, True), ("0", bool, False), (" ", int, None)],
)
def test_scalars_have_the_type_of_their_field(text: str, kind: type, expected: Any) -> None:
    got = scalar(text, kind)
    assert got == expected and type(got) is type(expected)


@pytest.mark.parametrize(("text", "kind"), [("abc", int), ("7.5", int), ("abc", float), ("maybe", bool), ("nan", int)])
def test_scalars_that_are_none_are_refused(text: str, kind: type) -> None:
    with pytest.raises(NotThisType):
        scalar(text, kind)


def test_permissions_of_a_field_go_before_those_for_all_and_those_of_the_schema() -> None:
    told = {"allow_deletions": False, "boxes": {"deletions": True, "additions": False}}
    boxes = permissions_of("boxes", told, {"allow_label_edits": False})
    others = permissions_of("others", told, {})
    assert [boxes.allow(kind) for kind in KINDS] == [False, True, False, True, True]
    assert [others.allow(kind) for kind in KINDS] == [True, False, True, True, True]
    assert boxes.allow(None)
