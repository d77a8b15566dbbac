"""What people put into SC_HOST."""

from __future__ import annotations

import pytest

from common.sc.address import base_url, origin


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        (
            "https://geti.example.com/organizations/1/workspaces/2/projects/3/annotator?x=1#y",
            "https://geti.example.com",
        ),
        ("geti.example.com", "https://geti.example.com"),
        ("HTTPS://Geti.Example.com:443/", "https://geti.example.com"),
        ("http://10.0.0.1:3000", "http://10.0.0.1:3000"),
        ("[::1]:8443", "https://[::1]:8443"),
    ],
)
def test_a_pasted_page_is_reduced_to_the_host(given, understood):
    assert base_url(given) == understood


@pytest.mark.parametrize("given", ["ftp://x", "https://", "https://a b", "https://user:secret@geti.example.com"])
def test_what_is_no_address_is_refused_without_repeating_secrets(given):
    with pytest.raises(ValueError, match=r"must|names") as caught:
        base_url(given)
    assert "secret" not in str(caught.value)


def test_two_addresses_belong_together_when_scheme_host_and_port_are_the_same():
    assert origin("https://A.example/x") == origin("https://a.example:443/y")
    assert origin("https://a.example") != origin("http://a.example")
