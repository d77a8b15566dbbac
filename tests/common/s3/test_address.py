"""The address of an S3 server: what is wrong with one is said in words, and never repeated."""

from __future__ import annotations

import pytest
from botocore.utils import is_valid_uri

from common.s3.address import what_is_wrong_with


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:9000", "https://minio.example.com:9000/base", "http://minio-s3", "http://[::1]:9000",
        "https://s3.eu-west-3.amazonaws.com", "http://MinIO:1", "http://example.com.:80",
    ],
)  # fmt: skip
def test_what_botocore_takes_is_taken(address):
    assert is_valid_uri(address) and what_is_wrong_with(address) == ""


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("minio:9000", "must begin with http"),
        ("http://minio_s3:9000", "an alias without one"),
        ("http://", "names no host"),
        ("http://:9000", "names no host"),
        ("http://a b", "names no host that can be"),
        ("http://a..b", "names no host that can be"),
        ("http://-x", "names no host that can be"),
        ("http://" + "x" * 64, "names no host that can be"),
        ("http://ü.example", "xn--"),
        ("http://[::1", "is no address"),
        ("http://h:p0rt", "is no address"),
        ("http://h:99999", "is no address"),
        ("http://user:open-sesame@a..b", "must not hold a user or a password"),
        ("http://user:open-/sesame@127.0.0.1:9", "must not hold a user or a password"),
        ("http://open-sesame@127.0.0.1:9", "must not hold a user or a password"),
    ],
)
def test_any_other_is_told_what_is_wrong_with_it(address, said):
    wrong = what_is_wrong_with(address)
    assert said in wrong and "sesame" not in wrong
