"""Our signature is botocore's, for any key, query, token and header."""

from __future__ import annotations

import calendar
import time

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from common.s3.signing import Keys, Signer, quoted_path, quoted_query

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(key=TEXT, prefix=st.none() | TEXT, token=st.sampled_from(["", "session/token=="]), payer=st.booleans())
def test_the_signature_is_that_of_botocore(key: str, prefix: str | None, token: str, payer: bool):
    path = quoted_path(f"/bkt/{key}")
    query = quoted_query({"prefix": prefix, "list-type": "2"}) if prefix else ""
    extra = {"x-amz-request-payer": "requester"} if payer else {}
    url = f"http://s3.example.com:9000{path}" + (f"?{query}" if query else "")
    request = AWSRequest("GET", url, headers=dict(extra))
    auth = S3SigV4Auth(Credentials("AKIA", "secret", token or None), "s3", "eu-west-1")
    auth.add_auth(request)
    at = calendar.timegm(time.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
    ours = Signer("s3.example.com:9000", "eu-west-1").headers(
        "GET", path, query, Keys("AKIA", "secret", token), extra, at
    )
    assert f"authorization: {request.headers['Authorization']}\r\n" in ours


def test_what_a_signer_remembers_does_not_last_longer_than_it_is_true():
    signer = Signer("s3.example.com", "eu-west-1")
    keys, others = Keys("AKIA", "secret"), Keys("AKIA", "another")
    payer = {"x-amz-request-payer": "requester"}
    asked = [("/a", keys, {}, 1e9), ("/b", keys, {}, 1e9 + 0.5), ("/a", others, {}, 1e9), ("/a", others, payer, 1e9),
             ("/a", others, payer, 1e9 + 1), ("/a", others, payer, 1e9 + 86400), ("/a", keys, {}, 1e9)]  # fmt: skip
    said = [signer.headers("GET", path, "", key, extra, at) for path, key, extra, at in asked]
    assert said == [
        Signer("s3.example.com", "eu-west-1").headers("GET", path, "", key, extra, at) for path, key, extra, at in asked
    ]
    assert len(set(said)) == len(said) - 1


def test_keys_never_show_their_secrets():
    assert "hush" not in repr(Keys("AKIA", "hush-secret", "hush-token"))
