"""Opens a bucket: botocore, boto3's core, decides about credentials, profile, region and address; then the bytes go
over our own connections where these know how, and through botocore where they do not.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

from common import log
from common.exits import Exit, RunEnds
from common.s3.boto import BotoBucket, ending_of
from common.s3.bucket import Bucket
from common.s3.errors import LOG_IN_AGAIN, CredentialsRefused
from common.s3.fast import FastBucket, Place
from common.s3.settings import S3Settings
from common.s3.signing import Keys, Signer
from common.s3.wire import Address

# Stands for a key in an address that botocore makes for us; then its place in the address is known.
PROBE = "probe-key"
CREDENTIALS_FOR_SECONDS = 1.0


def _services(paths: list[str]) -> list[str]:
    """What botocore knows: the names of the folders there. It would look into each of the 400 to find one of them."""
    return sorted({name for path in paths if os.path.isdir(path) for name in os.listdir(path)})  # noqa: PTH112


def open_bucket(settings: S3Settings) -> Bucket:
    """Raises RunEnds: no credentials, an unknown profile, settings that contradict each other."""
    try:
        return _open(settings, settings.region)
    except (BotoCoreError, ClientError) as error:
        raise ending_of(error) from None


def _open(settings: S3Settings, region: str) -> Bucket:
    session = botocore.session.Session(profile=settings.profile or None)
    loader = session.get_component("data_loader")
    loader.list_available_services = lambda type_name: _services(loader.search_paths)
    region = region or session.get_config_variable("region") or "us-east-1"
    config = Config(
        signature_version=UNSIGNED if settings.no_sign_request else None,
        connect_timeout=15,
        read_timeout=settings.http_timeout_seconds,
        retries={"total_max_attempts": 1},  # how often something is tried again is decided in one place: ours
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=256,
        user_agent_extra="cvat-backups",
    )
    client = session.create_client("s3", region_name=region, endpoint_url=settings.endpoint_url or None, config=config)
    address = urlsplit(client.meta.endpoint_url)
    if address.username is not None or address.password is not None:
        log.hide(address.password or "")
        what = f"The address of the S3 server holds a user or a password (before {address.hostname})."
        raise RunEnds(what, "Leave it out of --endpoint-url: S3 signs with access keys.", Exit.BAD_CONFIGURATION)
    credentials = None if settings.no_sign_request else session.get_credentials()
    if credentials is None and not settings.no_sign_request:
        raise CredentialsRefused(
            "No AWS credentials were found.",
            "Run: aws sso login, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "
            "for a public bucket add --no-sign-request.",
        )
    keys = _frozen(credentials)
    keys()  # expired credentials show here, before anything is begun
    bundle = session.get_config_variable("ca_bundle")
    if address.scheme == "https" and bundle and not os.access(bundle, os.R_OK):
        what = f"AWS_CA_BUNDLE={bundle} cannot be read."
        raise RunEnds(what, "Name a PEM file with certificates.", Exit.BAD_CONFIGURATION)
    why_not = _reason_for_boto(settings, session, client)
    if why_not is None:
        place = _place_of(settings, session, client)
        if isinstance(place, Place):
            return FastBucket(settings.bucket, place, keys, lambda other: _moved(settings, other))
        why_not = place
    log.get().info("transport", transport="boto3", reason=why_not)
    return BotoBucket(settings.bucket, client, payer=settings.request_payer)


def _moved(settings: S3Settings, region: str) -> Place | None:
    """The same bucket in another region, as S3 told us; None when our own connections cannot go there."""
    bucket = _open(settings, region)
    return bucket.place if isinstance(bucket, FastBucket) else None


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
            for secret in (frozen.secret_key, frozen.token):
                if secret:
                    log.hide(secret)
            kept = Keys(frozen.access_key, frozen.secret_key, frozen.token or "")
            asked_at = time.monotonic()
            return kept

    return keys


def _reason_for_boto(settings: S3Settings, session: Any, client: Any) -> str | None:
    """What our own connections do not know; None when they will do."""
    if settings.transport == "boto3":
        return "CVAT_IMAGES_TRANSPORT says so"
    if settings.bucket.startswith("arn:") or settings.bucket.endswith("--x-s3"):
        return "this kind of bucket has a signature of its own"
    if get_environ_proxies(client.meta.endpoint_url) or client.meta.config.proxies:
        return "there is a proxy"
    if client.meta.config.client_cert:
        return "a client certificate is set"
    if client.meta.config.signature_version not in ("s3v4", UNSIGNED, None, "v4"):
        return f"the signature version {client.meta.config.signature_version} is set"
    return None


def _place_of(settings: S3Settings, session: Any, client: Any) -> Place | str:
    """Where botocore sends a GET of this bucket: virtual host or path, dual stack, FIPS, accelerate, any endpoint.

    A text says why we cannot go there ourselves.
    """
    url = client.generate_presigned_url("get_object", Params={"Bucket": settings.bucket, "Key": PROBE})
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.scheme not in ("http", "https") or not path.endswith("/" + PROBE) or parts.hostname is None:
        return f"the address {parts.scheme}://{parts.netloc}{parts.path} is not understood"
    tls = None
    if parts.scheme == "https":
        bundle = session.get_config_variable("ca_bundle")
        tls = ssl.create_default_context()
        try:
            tls.load_verify_locations(bundle or get_cert_path(True))
        except (OSError, ssl.SSLError) as error:
            what = f"AWS_CA_BUNDLE={bundle} cannot be read: {error}"
            raise RunEnds(what, "Name a PEM file with certificates.", Exit.BAD_CONFIGURATION) from None
        tls.set_alpn_protocols(["http/1.1"])
    address = Address(parts.hostname, parts.port or (443 if tls else 80), tls, settings.http_timeout_seconds)
    region = client.meta.region_name
    extra = {"x-amz-request-payer": "requester"} if settings.request_payer else {}
    return Place(address, f"{parts.scheme}://{parts.netloc}", path.removesuffix("/" + PROBE),
                 Signer(parts.netloc, region), extra)  # fmt: skip
