"""Pieces are cut out of JSON and XML of any shape, and the rest stays byte for byte."""

from __future__ import annotations

import io
import json
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.datasets.cutting import ListCuts, NotSound, json_items, mapped, write_without, xml_elements

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)
ITEMS = st.lists(st.tuples(st.dictionaries(st.text(), VALUES, max_size=3), st.booleans()), max_size=6)


def without(path, cuts):
    stream = io.BytesIO()
    with mapped(path) as content:
        write_without(content, cuts, stream)
    return stream.getvalue()


@given(ITEMS, ITEMS, VALUES, st.sampled_from([None, 1, 4]))
def test_json_lists_without_some_items_are_what_json_says_they_are(tmp_path, images, annotations, other, indent):
    document = {
        "info": other,
        "images": [i for i, _ in images],
        "x": [[{"images": []}]],
        "annotations": [a for a, _ in annotations],
    }
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document, indent=indent), encoding="utf-8")
    kept = iter([*(keep for _, keep in images), *(keep for _, keep in annotations)])
    cuts = ListCuts()
    with mapped(path) as content:
        for item in json_items(content, ["images", "annotations"], "x.json"):
            cuts.see(item, keep=next(kept))
    cuts.finish()
    assert next(kept, None) is None
    left = {
        name: [each for each, keep in pairs if keep]
        for name, pairs in (("images", images), ("annotations", annotations))
    }
    assert json.loads(without(path, cuts.cuts)) == {**document, **left}


@pytest.mark.parametrize("text", ["", '{"images": [{"a": 1}', '{"images": [{"a": "'])
def test_torn_json_is_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(NotSound), mapped(path) as content:
        list(json_items(content, ["images"], "x.json"))


@given(
    st.lists(st.tuples(st.text("abü<>&\"' /", max_size=5), st.integers(0, 3), st.booleans(), st.booleans()), max_size=6)
)
def test_xml_elements_are_found_where_they_are(tmp_path, images):
    root = ElementTree.Element("annotations")
    for name, children, _keep, closed in images:
        image = ElementTree.SubElement(root, "image", name=name, note="a/>b")
        for number in range(children):
            ElementTree.SubElement(image, "box", n=str(number)).text = None if closed else "<x>"
    path = tmp_path / "x.xml"
    path.write_bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
    with mapped(path) as content:
        found = [element for element in xml_elements(content, 1, "x.xml") if element.depth == 1]
        assert [(e.attributes["name"], e.children) for e in found] == [(n, c) for n, c, _, _ in images]
    cuts = [(e.start, e.end) for e, (_, _, keep, _) in zip(found, images, strict=True) if not keep]
    left = ElementTree.fromstring(without(path, cuts))
    assert [each.get("name") for each in left] == [name for name, _, keep, _ in images if keep]


def test_torn_xml_is_refused(tmp_path):
    path = tmp_path / "x.xml"
    path.write_text("<a><b>")
    with pytest.raises(NotSound, match=r"x\.xml is not sound XML"), mapped(path) as content:
        list(xml_elements(content, 1, "x.xml"))
