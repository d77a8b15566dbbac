"""What people paste into CVAT_URL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.cvat.address import base_url, server_key


@pytest.mark.parametrize(
    ("pasted", "meant"),
    [
        ("https://cvat.example.com", "https://cvat.example.com"),
        ("https://cvat.example.com/", "https://cvat.example.com"),
        ("  https://CVAT.Example.com//  ", "https://cvat.example.com"),
        ("https://cvat.example.com/projects/12?page=2&search=a%40b", "https://cvat.example.com"),
        ("https://cvat.example.com/tasks/7/jobs/9#frame", "https://cvat.example.com"),
        ("https://cvat.example.com/auth/login?next=/projects", "https://cvat.example.com"),
        ("https://cvat.example.com/api/", "https://cvat.example.com"),
        ("https://cvat.example.com/projects?search=a@b", "https://cvat.example.com"),
        ("https://example.com/tools/cvat/", "https://example.com/tools/cvat"),
        ("https://example.com/tools/cvat/projects", "https://example.com/tools/cvat"),
        ("https://cvat.example.com:443", "https://cvat.example.com"),
        ("http://cvat.example.com:80/", "http://cvat.example.com"),
        ("http://cvat.example.com:8080/tasks", "http://cvat.example.com:8080"),
        ("cvat.example.com", "https://cvat.example.com"),
        ("cvat.example.com:8443/projects", "https://cvat.example.com:8443"),
        ("localhost:8080", "http://localhost:8080"),
        ("127.0.0.1:8080/projects", "http://127.0.0.1:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443"),
        ("HTTPS://cvat.example.com", "https://cvat.example.com"),
    ],
)
def test_a_pasted_page_is_understood(pasted, meant):
    assert base_url(pasted) == meant
    assert base_url(base_url(pasted)) == meant


@pytest.mark.parametrize(
    "wrong",
    ["", "https://", "ftp://cvat.example.com", "file:///etc/passwd", "https://a b", "https://cvat.example.com:99999", "http://[::1",
     "https:///projects", "https://host:port"],
)  # fmt: skip
def test_what_is_no_address_is_refused(wrong):
    with pytest.raises(ValueError, match=r".+"):
        base_url(wrong)


@given(st.text(st.characters(blacklist_characters="?/", blacklist_categories=("Cs",)), min_size=3))
def test_credentials_in_the_address_are_refused_and_never_repeated(password):
    secret = f"q{password}q"
    with pytest.raises(ValueError, match="must not hold a user name or password") as caught:
        base_url(f"https://bob:{secret}@cvat.example.com")
    assert secret not in str(caught.value)


@given(st.text())
def test_any_text_is_an_address_or_is_refused(text):
    try:
        url = base_url(text)
    except ValueError:
        return
    assert url.startswith(("http://", "https://")) and not url.endswith("/")
    assert base_url(url) == url


def test_a_server_is_the_same_over_http_and_https():
    assert server_key(base_url("http://cvat.example.com/")) == server_key(base_url("https://cvat.example.com"))
