"""Opens a bucket: botocore, boto3's core, decides about credentials, profile, region and address; then the bytes go
over our own connections where these know how, and through botocore where they do not.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import botocore.session
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

from common.exits import Exit, RunEnds
from common.s3.boto import BotoBucket, ending_of
from common.s3.bucket import Bucket
from common.s3.errors import LOG_IN_AGAIN, CredentialsRefused
from common.s3.fast import FastBucket, Place
from common.s3.reach import Door, Found, Reach
from common.s3.signing import Keys

# Stands for a key in an address that botocore makes for us; then its place in the address is known.
PROBE = "probe-key"
CREDENTIALS_FOR_SECONDS = 1.0
# A profile with such a setting signs in somewhere, which may ask somebody, or runs a program.
_SIGNS_IN = ("role_arn", "sso", "credential_process", "login", "web_identity", "source_profile", "credential_source")


def _services(paths: list[str]) -> list[str]:
    """What botocore knows: the names of the folders there. It would look into each of the 400 to find one of them."""
    return sorted({name for path in paths if os.path.isdir(path) for name in os.listdir(path)})  # noqa: PTH112


def open_bucket(reach: Reach) -> Bucket:
    """Raises RunEnds: no credentials, an unknown profile, settings that contradict each other."""
    try:
        return _open(reach, reach.region)
    except (BotoCoreError, ClientError) as error:
        raise ending_of(error) from None


def find(reach: Reach) -> Found | None:
    """What `open_bucket` needs of botocore, when that can be told: our own connections will do, the keys do not change.

    None in every other case. Asks nobody, over no network: whoever opens the bucket then asks once. Raises RunEnds.
    """
    try:
        session = _session(reach)
        keys = None
        if not reach.no_sign_request:
            keys = _plain_keys(session)
            if keys is None:
                return None
            session.set_credentials(keys.access_key, keys.secret_key, keys.token or None)
        client = _client(session, reach, reach.region)
        if _reason_for_boto(reach, session, client) is not None:
            return None
        door = _door_of(reach, session, client)
        return Found(door, keys) if isinstance(door, Door) else None
    except (BotoCoreError, ClientError) as error:
        raise ending_of(error) from None


def warm_up() -> None:
    """Does now what the first client costs more than the next ones: its description is read from the disk."""
    session = _session(Reach("bucket"))
    session.set_credentials("a", "b")
    _client(session, Reach("bucket", endpoint_url="http://127.0.0.1"), "us-east-1")


# Made once: it keeps what it has read.
_loader: Any = None


def _session(reach: Reach) -> Any:
    global _loader
    session = botocore.session.Session(profile=reach.profile or None)
    if _loader is None:
        _loader = session.get_component("data_loader")
        _loader.list_available_services = lambda type_name: _services(_loader.search_paths)
    session.register_component("data_loader", _loader)
    return session


def _client(session: Any, reach: Reach, region: str) -> Any:
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
    client = session.create_client("s3", region_name=region, endpoint_url=reach.endpoint_url or None, config=config)
    address = urlsplit(client.meta.endpoint_url)
    if address.username is not None or address.password is not None:
        _hide(address.password or "")
        what = f"The address of the S3 server holds a user or a password (before {address.hostname})."
        raise RunEnds(what, "Leave it out of --endpoint-url: S3 signs with access keys.", Exit.BAD_CONFIGURATION)
    bundle = session.get_config_variable("ca_bundle")
    if address.scheme == "https" and bundle and not os.access(bundle, os.R_OK):
        what = f"AWS_CA_BUNDLE={bundle} cannot be read."
        raise RunEnds(what, "Name a PEM file with certificates.", Exit.BAD_CONFIGURATION)
    return client


def _hide(*secrets: str | None) -> None:
    from common import log  # not at the top: `find` works without it, in a process that is to be quick

    for secret in secrets:
        if secret:
            log.hide(secret)


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


def _open(reach: Reach, region: str) -> Bucket:
    from common import log

    session = _session(reach)
    client = _client(session, reach, region)
    credentials = None if reach.no_sign_request else session.get_credentials()
    if credentials is None and not reach.no_sign_request:
        raise CredentialsRefused(
            "No AWS credentials were found.",
            "Run: aws sso login, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "
            "for a public bucket add --no-sign-request.",
        )
    keys = _frozen(credentials)
    keys()  # expired credentials show here, before anything is begun
    why_not = _reason_for_boto(reach, session, client)
    if why_not is None:
        door = _door_of(reach, session, client)
        if isinstance(door, Door):
            renews = isinstance(credentials, RefreshableCredentials)
            return FastBucket(reach.bucket, door.place(), keys, mover(reach), renews=renews)
        why_not = door
    log.get().info("transport", transport="boto3", reason=why_not)
    return BotoBucket(reach.bucket, client, payer=reach.request_payer)


def mover(reach: Reach) -> Callable[[str], Place | None]:
    """Finds the same bucket in another region, as S3 told us; None when our own connections cannot go there."""

    def moved(region: str) -> Place | None:
        bucket = _open(reach, region)
        return bucket.place if isinstance(bucket, FastBucket) else None

    return moved


def _frozen(credentials: Any) -> Callable[[], Keys | None]:
    """Gives the keys that are valid now. botocore renews temporary ones; it is asked once a second, not per object."""
    lock = threading.Lock()
    asked_at = 0.0
    kept: Keys | None = None

    def keys() -> Keys | None:
        nonlocal asked_at, kept
        if credentials is None:
            return None
        if kept is not None and time.monotonic() - asked_at < CREDENTIALS_FOR_SECONDS:
            return kept
        with lock:
            try:
                frozen = credentials.get_frozen_credentials()
            except (BotoCoreError, ClientError) as error:
                raise ending_of(error) from None
            if not frozen.access_key or not frozen.secret_key:
                raise CredentialsRefused("The AWS credentials are not complete.", LOG_IN_AGAIN)
            _hide(frozen.secret_key, frozen.token)
            kept = Keys(frozen.access_key, frozen.secret_key, frozen.token or "")
            asked_at = time.monotonic()
            return kept

    return keys


def _reason_for_boto(reach: Reach, session: Any, client: Any) -> str | None:
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


def _door_of(reach: Reach, session: Any, client: Any) -> Door | str:
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
