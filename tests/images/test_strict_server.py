"""The same against a server that checks every signature (only with --all)."""

from __future__ import annotations

import os

import boto3
import pytest
from botocore.config import Config

from tests.images import swift

ODD = {
    "p/a.jpg": b"a", "p/a/../../evil.txt": b"evil", "p/dup": b"file", "p/dup/child.jpg": b"child", "p/Case.jpg": b"C",
    "p/case.jpg": b"c", "p/sp ace+plus&amp;%25=ü.jpg": b"odd", "p/~tilde'(!)*.png": b"marks",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("CVAT_TESTS_ALL"), reason="only with ./run-tests.sh --all")
@pytest.mark.skipif(bool(swift.why_not()), reason=swift.why_not())
def test_a_strict_server_takes_our_signatures_for_every_odd_key_and_refuses_a_wrong_secret(download, tmp_path):
    with swift.Swift(tmp_path / "swift") as server:
        client = boto3.client(
            "s3", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id=swift.KEY,
            aws_secret_access_key=swift.SECRET,
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required",
                          retries={"max_attempts": 10}),
        )  # fmt: skip
        client.create_bucket(Bucket="bkt")
        for key, data in ODD.items():
            client.put_object(Bucket="bkt", Key=key, Body=data)
        big = os.urandom(40 << 20)
        client.put_object(Bucket="bkt", Key="p/big.bin", Body=big)
        credentials = {"AWS_ACCESS_KEY_ID": swift.KEY, "AWS_SECRET_ACCESS_KEY": swift.SECRET}
        names = [key[2:] for key in ODD] + ["big.bin"]
        run = download(server.url, names, "--s3-prefix", "p/", "--keep-folders", "--verify", **credentials)
        assert run.code == 0, run.said
        assert sorted(run.files.values()) == sorted([*ODD.values(), big])
        assert (
            download(server.url, names, "--s3-prefix", "p/", "--keep-folders", **credentials).state["downloaded"] == 0
        )
        wrong = download(server.url, names, "--s3-prefix", "p/", **{**credentials, "AWS_SECRET_ACCESS_KEY": "wrong"})
        assert wrong.code == 12 and "refused the credentials" in wrong.err
