"""Listings of every kind of server are read completely, and a server that goes in circles is left."""

from __future__ import annotations

from urllib.parse import quote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.s3.bucket import Listed, Page, pages
from common.s3.listing import parse_page

KEY = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@given(
    st.lists(st.tuples(KEY, st.integers(0, 10**13)), max_size=5),
    st.booleans(),
    st.sampled_from(["aws", "odd", "spaced"]),
)
def test_every_key_comes_out_as_it_went_in(objects, url_encoded, form):
    def contents(key: str, size: int) -> str:
        name = escape(quote_plus(key) if url_encoded else key)
        if form == "aws":
            fields = f"<LastModified>x</LastModified><ETag>&quot;e&quot;</ETag><Size>{size}</Size>"
            return f"<Contents><Key>{name}</Key>{fields}</Contents>"
        if form == "spaced":
            return f"<Contents>\n <Key>{name}</Key>\n <ETag>&quot;e&quot;</ETag>\n <Size>{size}</Size>\n</Contents>"
        return f'<Contents><Size>{size}</Size><ETag>"e"</ETag><Key>{name}</Key></Contents>'

    encoding = "<EncodingType>url</EncodingType>" if url_encoded else ""
    body = f"<?xml version='1.0'?><ListBucketResult>{encoding}<IsTruncated>false</IsTruncated>"
    body += "".join(contents(*each) for each in objects) + "</ListBucketResult>"
    page = parse_page(body.encode())
    assert [(each.key, each.size_bytes, each.etag) for each in page.objects] == [(k, s, "e") for k, s in objects]


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"<ListBucketResult><Contents><Key>a</Key>"])
def test_half_a_listing_is_none(body):
    with pytest.raises(ValueError, match="listing"):
        parse_page(body)


def _server(keys: list[str], *, knows_after: bool, tells_token: bool = True, lies: bool = False):
    """A server of pages of two."""

    def ask(prefix: str, *, token: str | None, after: str) -> Page:
        begin = int(token) if token else sum(key <= after for key in keys) if knows_after else 0
        page = keys[begin : begin + 2]
        more = begin + 2 < len(keys)
        following = str(begin + 2) if more and tells_token else None
        return Page([Listed(key, 1, "e") for key in page], following, more and not lies)

    return ask


@pytest.mark.parametrize("tells_token", [True, False])
@pytest.mark.parametrize("lies", [True, False])
def test_all_pages_come_also_when_the_token_is_forgotten_or_a_full_page_is_called_the_last(tells_token, lies):
    keys = list("abcdefg")
    ask = _server(keys, knows_after=True, tells_token=tells_token, lies=lies)
    assert [each.key for page in pages(ask, "", full_page=2) for each in page] == keys


def test_a_server_without_start_after_ends_the_listing_and_does_not_begin_anew_for_ever():
    ask = _server(list("abcd"), knows_after=False)
    assert [each.key for page in pages(ask, "", full_page=2) for each in page] == list("abcd")
    with pytest.raises(ValueError, match="more follows"):
        list(pages(_server(list("abcd"), knows_after=False, tells_token=False), "", full_page=2))
