"""A bucket is opened by another process that has botocore loaded: when it may, and that all else is left to this one."""

from __future__ import annotations

import errno
import os
import signal
import sys

import pytest

from common.exits import Exit, RunEnds
from common.s3 import client, opener, resolve
from common.s3.fast import FastBucket
from common.s3.opener import Opener
from common.s3.reach import Reach
from common.s3.signing import Keys

HERE = Reach("bkt", "http://127.0.0.1:9")


@pytest.fixture(autouse=True)
def aws(monkeypatch, tmp_path):
    """`aws({"config": "[default]…", "credentials": "…"}, AWS_PROFILE="x")`: nothing of this machine's own settings is left."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(resolve, "_warm", None)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))

    def set_up(files: dict[str, str] | None = None, **environment: str) -> None:
        for name, text in (files or {}).items():
            (tmp_path / name).write_text(text)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return set_up


def test_keys_of_the_environment_and_of_files_are_found_with_the_address(aws):
    aws({"credentials": "[default]\naws_access_key_id=A\naws_secret_access_key=B\naws_session_token=C\n"})
    found = resolve.find(HERE)
    assert found and found.keys == Keys("A", "B", "C")
    assert (found.door.scheme, found.door.host, found.door.port, found.door.path) == ("http", "127.0.0.1", 9, "/bkt")
    aws(AWS_ACCESS_KEY_ID="E", AWS_SECRET_ACCESS_KEY="F")
    found = resolve.find(HERE)
    assert found and found.keys == Keys("E", "F")  # as with botocore, the environment comes first


def test_a_profile_that_is_asked_for_by_name_wins_over_the_environment(aws):
    aws({"config": "[profile x]\naws_access_key_id=A\naws_secret_access_key=B\nregion=eu-west-3\n"},
        AWS_ACCESS_KEY_ID="E", AWS_SECRET_ACCESS_KEY="F")  # fmt: skip
    found = resolve.find(Reach("bkt", profile="x"))
    assert found and found.keys == Keys("A", "B") and found.door.region == "eu-west-3"
    assert found.door.host == "bkt.s3.eu-west-3.amazonaws.com" and found.door.path == ""


@pytest.mark.parametrize(
    ("config", "bucket", "address"),
    [
        ("", "bkt", "https://bkt.s3.eu-west-3.amazonaws.com"),
        ("", "with.dots", "https://s3.eu-west-3.amazonaws.com/with.dots"),
        ("region = us-east-1", "bkt", "https://bkt.s3.amazonaws.com"),
        ("region = cn-north-1", "bkt", "https://bkt.s3.cn-north-1.amazonaws.com.cn"),
        ("s3 =\n  addressing_style = path", "bkt", "https://s3.eu-west-3.amazonaws.com/bkt"),
        ("s3 =\n  use_accelerate_endpoint = true", "bkt", "https://bkt.s3-accelerate.amazonaws.com"),
        ("use_fips_endpoint = true", "bkt", "https://bkt.s3-fips.eu-west-3.amazonaws.com"),
        ("use_dualstack_endpoint = true", "bkt", "https://bkt.s3.dualstack.eu-west-3.amazonaws.com"),
        ("endpoint_url = https://s3.example.org:8443/base", "bkt", "https://s3.example.org:8443/base/bkt"),
    ],
)
@pytest.mark.parametrize("warm", [False, True])
def test_the_address_is_the_one_that_botocore_sends_a_get_to(aws, config, bucket, address, warm):
    region = "" if config.startswith("region") else "region = eu-west-3\n"
    aws({"config": f"[default]\n{region}{config}\n"}, AWS_ACCESS_KEY_ID="E", AWS_SECRET_ACCESS_KEY="F")
    if warm:
        resolve.warm_up()
    found = resolve.find(Reach(bucket))
    assert found is not None
    door = found.door
    assert f"{door.scheme}://{door.netloc}{door.path}" == address


def test_what_was_loaded_ahead_brings_no_keys_and_no_address_of_its_own(aws):
    resolve.warm_up()
    assert resolve.find(HERE) is None  # there are no keys
    public = resolve.find(HERE._replace(no_sign_request=True))
    assert public and public.keys is None and public.door.port == 9
    aws(AWS_ACCESS_KEY_ID="E", AWS_SECRET_ACCESS_KEY="F")
    found = resolve.find(HERE)
    assert found and found.keys == Keys("E", "F") and found.door.path == "/bkt"


def test_a_public_bucket_needs_no_keys():
    found = resolve.find(Reach("bkt", "http://127.0.0.1:9", no_sign_request=True))
    assert found and found.keys is None


@pytest.mark.parametrize(
    "profile",
    [
        "credential_process = {program}",
        "role_arn = arn:aws:iam::1:role/x\nsource_profile = y",
        "sso_start_url = https://x\nsso_region = eu-west-1\nsso_account_id = 1\nsso_role_name = r",
        "web_identity_token_file = /x\nrole_arn = arn:aws:iam::1:role/x",
        "region = eu-west-1",
        "aws_access_key_id = A\naws_secret_access_key = B\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = default",
    ],
)
def test_what_asks_somebody_or_runs_a_program_or_is_not_there_is_left_to_the_run(aws, tmp_path, profile):
    ran = tmp_path / "ran"
    program = f"{sys.executable} -c \"open('{ran}', 'w')\""
    other = f"[profile y]\ncredential_process = {program}\n"
    aws({"config": f"[default]\n{profile.format(program=program)}\n{other}"})
    assert resolve.find(HERE) is None
    assert not ran.exists()


def test_where_botocore_has_to_fetch_it_is_left_to_the_run(aws):
    aws(AWS_ACCESS_KEY_ID="E", AWS_SECRET_ACCESS_KEY="F")
    assert resolve.find(Reach("bkt", "http://127.0.0.1:9", transport="boto3")) is None
    aws(HTTP_PROXY="http://127.0.0.1:8")
    assert resolve.find(Reach("bkt", "http://example.org:9")) is None


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://minio_s3:9000", "underscore"),
        ("http://user:open-sesame@a..b", "password"),
        ("http://user:open-/sesame@127.0.0.1:9", "password"),
        ("http://[::1", "is no address"),
    ],
)
@pytest.mark.parametrize("place", ["environment", "profile", "flag"])
def test_an_address_that_is_none_is_a_wrong_setting_wherever_it_comes_from(aws, address, said, place):
    aws({"config": f"[default]\nendpoint_url = {address}\n"} if place == "profile" else {},
        AWS_ACCESS_KEY_ID="E", AWS_SECRET_ACCESS_KEY="F",
        **({"AWS_ENDPOINT_URL": address} if place == "environment" else {}))  # fmt: skip
    for ask in (resolve.find, client.open_bucket):
        with pytest.raises(RunEnds) as ended:
            ask(Reach("bkt", address if place == "flag" else ""))
        assert ended.value.exit_code == Exit.BAD_CONFIGURATION
        assert said in ended.value.why and "sesame" not in ended.value.why
        assert ("--endpoint-url" if place == "flag" else "AWS_ENDPOINT_URL") in ended.value.why


@pytest.mark.skipif(sys.platform != "linux", reason="a process is forked on Linux only")
class TestOpener:
    @pytest.fixture(autouse=True)
    def alone(self, monkeypatch):
        """What other tests have left running holds nothing that opening a bucket takes."""
        monkeypatch.setattr(opener, "can_fork", lambda: True)

    def test_it_gives_the_bucket_that_is_opened_here(self, aws):
        aws(AWS_ACCESS_KEY_ID="E", AWS_SECRET_ACCESS_KEY="F")
        there, here = Opener()(HERE), client.open_bucket(HERE)
        assert isinstance(there, FastBucket) and isinstance(here, FastBucket)
        assert (there.where, there.place.path, there.keys()) == (here.where, here.place.path, here.keys())
        assert not there.renews

    def test_what_is_wrong_is_said_as_it_is_said_here(self, aws):
        aws(AWS_ACCESS_KEY_ID="E", AWS_SECRET_ACCESS_KEY="F")
        for wrong in (Reach("bkt", profile="nobody"), Reach("bkt", "http://user:open-sesame@127.0.0.1:9")):
            with pytest.raises(RunEnds) as there:
                Opener()(wrong)
            with pytest.raises(RunEnds) as here:
                client.open_bucket(wrong)
            assert (there.value.why, there.value.remedy, there.value.exit_code) == (
                here.value.why, here.value.remedy, here.value.exit_code,
            )  # fmt: skip
            assert "open-sesame" not in there.value.why

    def test_where_the_system_grants_no_process_all_is_done_here(self, aws, monkeypatch):
        def full() -> int:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        aws(AWS_ACCESS_KEY_ID="E", AWS_SECRET_ACCESS_KEY="F")
        monkeypatch.setattr(os, "fork", full)
        assert Opener()(HERE).where == "http://127.0.0.1:9"

    def test_when_the_other_process_is_killed_or_too_slow_all_is_done_here(self, aws, monkeypatch):
        aws(AWS_ACCESS_KEY_ID="E", AWS_SECRET_ACCESS_KEY="F")
        killed = Opener()
        assert killed._forked is not None
        os.kill(killed._forked.pid, signal.SIGKILL)
        assert killed(HERE).where == "http://127.0.0.1:9"
        slow = Opener()
        assert slow._forked is not None
        pid = slow._forked.pid
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(opener, "PATIENCE_SECONDS", 0.05)
        assert slow(HERE).where == "http://127.0.0.1:9"
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
