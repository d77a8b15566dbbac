"""What botocore, boto3's core, decides about a bucket: credentials, profile, region, address. Asks nobody, over no network.

A process loads this while the run loads the rest (`common.s3.opener`), and the run waits for it: what is not needed for
the answer stays out.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
from typing import Any
from urllib.parse import unquote, urlsplit

import botocore.session
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import get_cert_path
from botocore.loaders import JSONFileLoader
from botocore.utils import get_environ_proxies

from common.exits import Exit, RunEnds
from common.s3.address import what_is_wrong_with
from common.s3.reach import Door, Found, Reach
from common.s3.signing import Keys

# Stands for a key in an address that botocore makes for us; then its place in the address is known.
PROBE = "probe-key"
# A profile with such a setting signs in somewhere, which may ask somebody, or runs a program.
_SIGNS_IN = ("role_arn", "sso", "credential_process", "login", "web_identity", "source_profile", "credential_source")


class _Descriptions(JSONFileLoader):  # type: ignore[misc]
    """botocore's descriptions of services, without an OrderedDict for each object in them: a third less time."""

    def load_file(self, file_path: str) -> Any:
        for ending, opener in ((".json", open), (".json.gz", gzip.open)):
            with contextlib.suppress(FileNotFoundError), opener(file_path + ending, "rb") as file:
                return json.loads(file.read())
        return None


def _services(paths: list[str]) -> list[str]:
    """What botocore knows: the names of the folders there. It would look into each of the 400 to find one of them."""
    return sorted({name for path in paths if os.path.isdir(path) for name in os.listdir(path)})  # noqa: PTH112


def find(reach: Reach) -> Found | None:
    """What `open_bucket` needs of botocore, when that can be told: our own connections will do, the keys do not change.

    None in every other case. Asks nobody, over no network: whoever opens the bucket then asks once. Raises RunEnds.
    """
    try:
        session = session_for(reach) if reach.profile or _warm is None else _warm
        keys = None
        if not reach.no_sign_request:
            keys = _plain_keys(session)
            if keys is None:
                return None
            session.set_credentials(keys.access_key, keys.secret_key, keys.token or None)
        client = client_for(session, reach, reach.region)
        if reason_for_boto(reach, session, client) is not None:
            return None
        door = door_of(reach, session, client)
        return Found(door, keys) if isinstance(door, Door) else None
    except (BotoCoreError, ClientError) as error:
        from common.s3.boto import ending_of

        raise ending_of(error) from None


def warm_up() -> None:
    """Does now what the first session and client cost more than the next ones: descriptions are read from the disk."""
    global _warm
    _warm = session_for(Reach("bucket"))
    _warm.set_credentials("a", "b")  # nobody is to be asked for any
    client_for(_warm, Reach("bucket", endpoint_url="http://127.0.0.1"), "us-east-1")


# Made once: it keeps what it has read. And a session without a profile, when there was time to make one ahead.
_loader: Any = None
_warm: Any = None


def session_for(reach: Reach) -> Any:
    """A session of botocore. It knows where to look for credentials, and has not looked yet."""
    global _loader
    session = botocore.session.Session(profile=reach.profile or None)
    if _loader is None:
        _loader = session.get_component("data_loader")
        _loader.file_loader = _Descriptions()
        _loader.list_available_services = lambda type_name: _services(_loader.search_paths)
    session.register_component("data_loader", _loader)
    return session


def client_for(session: Any, reach: Reach, region: str) -> Any:
    """Raises RunEnds when the address of the server holds what does not belong there."""
    config = Config(
        signature_version=UNSIGNED if reach.no_sign_request else None,
        connect_timeout=15,
        read_timeout=reach.timeout_seconds,
        retries={"total_max_attempts": 1},  # how often something is tried again is decided in one place: ours
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=256,
        user_agent_extra="cvat-backups",
    )
    region = region or session.get_config_variable("region") or "us-east-1"
    try:
        client = session.create_client("s3", region_name=region, endpoint_url=reach.endpoint_url or None, config=config)
        address = str(client.meta.endpoint_url)
    except ValueError as error:
        if isinstance(error, BotoCoreError):
            raise
        # Where the address comes from, and which it is, only botocore knows: it may be one of a profile.
        start, _, address = str(error).partition("Invalid endpoint: ")
        raise _wrong_address(reach, (not start and what_is_wrong_with(address)) or "is no address") from None
    if wrong := what_is_wrong_with(address):
        raise _wrong_address(reach, wrong)
    bundle = session.get_config_variable("ca_bundle")
    if address.startswith("https:") and bundle and not os.access(bundle, os.R_OK):
        what = f"AWS_CA_BUNDLE={bundle} cannot be read."
        raise RunEnds(what, "Name a PEM file with certificates.", Exit.BAD_CONFIGURATION)
    return client


def _wrong_address(reach: Reach, wrong: str) -> RunEnds:
    """Says it without the address, in which there may be a password."""
    if reach.endpoint_url:
        return RunEnds(f"--endpoint-url {wrong}.", "Correct it.", Exit.BAD_CONFIGURATION)
    what = f"AWS_ENDPOINT_URL, or endpoint_url in ~/.aws/config, {wrong}."
    return RunEnds(what, "Correct it, or set --endpoint-url, which wins.", Exit.BAD_CONFIGURATION)


def _plain_keys(session: Any) -> Keys | None:
    """Keys that stand in the environment or in a file as they are, where botocore would take these; None otherwise."""
    providers = session.get_component("credential_provider").providers
    found: Any = None
    if providers[0].METHOD == "env":
        found = providers[0].load()
    if found is None and not any(os.environ.get(name) for name in ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN")):
        profile = session.get_scoped_config()
        if not any(word in name for name in profile for word in _SIGNS_IN):
            for provider in providers:
                if found is None and provider.METHOD in ("shared-credentials-file", "config-file"):
                    found = provider.load()
    if type(found) is not Credentials or not found.access_key or not found.secret_key:
        return None
    return Keys(found.access_key, found.secret_key, found.token or "")


def reason_for_boto(reach: Reach, session: Any, client: Any) -> str | None:
    """What our own connections do not know; None when they will do."""
    if reach.transport == "boto3":
        return "CVAT_IMAGES_TRANSPORT says so"
    if reach.bucket.startswith("arn:") or reach.bucket.endswith("--x-s3"):
        return "this kind of bucket has a signature of its own"
    if get_environ_proxies(client.meta.endpoint_url) or client.meta.config.proxies:
        return "there is a proxy"
    if client.meta.config.client_cert:
        return "a client certificate is set"
    if client.meta.config.signature_version not in ("s3v4", UNSIGNED, None, "v4"):
        return f"the signature version {client.meta.config.signature_version} is set"
    return None


def _address_of_a_get(reach: Reach, client: Any) -> str:
    """The address of a request for an object, caught on its way out.

    A presigned address would be another one: botocore makes these for the endpoint of all regions, which a network with
    an endpoint of its own for S3 does not let out.
    """
    seen: list[str] = []

    def catch(request: Any, **_: Any) -> AWSResponse:
        seen.append(str(request.url))
        return AWSResponse(request.url, 200, {"content-length": "0"}, io.BytesIO())

    client.meta.events.register_first("before-send.s3.GetObject", catch)
    try:
        client.get_object(Bucket=reach.bucket, Key=PROBE)
    finally:
        client.meta.events.unregister("before-send.s3.GetObject", catch)
    return seen[0]


def door_of(reach: Reach, session: Any, client: Any) -> Door | str:
    """Where botocore sends a GET of this bucket: virtual host or path, dual stack, FIPS, accelerate, any endpoint.

    A text says why we cannot go there ourselves.
    """
    parts = urlsplit(_address_of_a_get(reach, client))
    path = unquote(parts.path)
    if parts.scheme not in ("http", "https") or not path.endswith("/" + PROBE) or parts.hostname is None:
        return f"the address {parts.scheme}://{parts.netloc}{parts.path} is not understood"
    bundle = session.get_config_variable("ca_bundle")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Door(
        parts.scheme, parts.hostname, port, parts.netloc, path.removesuffix("/" + PROBE), client.meta.region_name,
        bundle or "", get_cert_path(True), reach.timeout_seconds, reach.request_payer,
    )  # fmt: skip
