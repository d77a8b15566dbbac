"""As whom and on which way a bucket is reached: without a signature, as the one who pays, over TLS, through a proxy."""

from __future__ import annotations

import ssl
import time

import pytest
import trustme

from tests.images.fake_s3 import FakeS3

OBJECTS = {"p/a.jpg": b"a", "p/b.jpg": b"b" * 100_000}
NAMES = ["a.jpg", "b.jpg"]
FILES = {"a.jpg": b"a", "b.jpg": b"b" * 100_000}


@pytest.mark.parametrize("transport", ["auto", "boto3"])
def test_a_public_bucket_is_read_without_credentials_and_without_a_signature(download, transport):
    with FakeS3(OBJECTS) as server:
        run = download(server.url, NAMES, "--s3-prefix", "p/", "--no-sign-request", "--transport", transport,
                       AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")  # fmt: skip
    assert run.code == 0 and run.files == FILES, run.said
    assert len(server.headers) == 3 and not any("authorization" in headers for headers in server.headers)


@pytest.mark.parametrize("transport", ["auto", "boto3"])
def test_who_pays_for_the_requests_says_so_in_each_of_them_and_signs_it(download, transport):
    with FakeS3(OBJECTS) as server:
        run = download(server.url, NAMES, "--s3-prefix", "p/", "--request-payer", "--transport", transport)
    assert run.code == 0 and run.files == FILES, run.said
    for headers in server.headers:
        assert headers["x-amz-request-payer"] == "requester"
        assert "x-amz-request-payer" in headers["authorization"]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_of(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize("transport", ["auto", "boto3"])
def test_an_authority_of_ones_own_is_trusted_when_its_file_is_named_and_only_then(
    download, tmp_path, authority, transport
):
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    with FakeS3(OBJECTS, tls=tls_of(authority)) as server:
        refused = download(server.url, NAMES, "--s3-prefix", "p/", "--transport", transport)
        assert refused.code == 2 and "AWS_CA_BUNDLE" in refused.err and not refused.files
        assert not server.asked
        run = download(server.url, NAMES, "--s3-prefix", "p/", "--transport", transport, AWS_CA_BUNDLE=str(bundle))
    assert run.code == 0 and run.files == FILES, run.said
    nowhere = download(server.url, NAMES, "--s3-prefix", "p/", "--transport", transport, AWS_CA_BUNDLE="/no/such.pem")
    assert nowhere.code != 0 and "/no/such.pem" in nowhere.err


@pytest.mark.parametrize("transport", ["auto", "boto3"])
def test_a_server_without_tls_that_is_asked_for_tls_is_a_wrong_setting_and_no_wrong_certificate(download, transport):
    with FakeS3(OBJECTS) as server:
        address = server.url.replace("http://", "https://")
        began = time.monotonic()
        run = download(address, NAMES, "--s3-prefix", "p/", "--transport", transport)
    assert time.monotonic() - began < 50  # it is not tried again for two minutes
    assert run.code == 2 and "does not speak TLS (WRONG_VERSION_NUMBER)" in run.err, run.said
    assert "--endpoint-url" in run.err and "certificate" not in run.err


def test_where_there_is_a_proxy_botocore_fetches_through_it(download):
    with FakeS3(OBJECTS) as proxy:
        run = download("http://s3.example.test", NAMES, "--s3-prefix", "p/", HTTP_PROXY=proxy.url)
    assert run.code == 0 and run.files == FILES, run.said
    assert "there is a proxy" in run.err and run.state["transport"] == "boto3"
    assert [headers[""].startswith("http://s3.example.test/bkt") for headers in proxy.headers] == [True] * 3
