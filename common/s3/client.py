"""Opens a bucket: botocore, boto3's core, decides about credentials, profile, region and address; then the bytes go
over our own connections where these know how, and through botocore where they do not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from botocore.credentials import RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError

from common import log
from common.s3.boto import BotoBucket, ending_of
from common.s3.bucket import Bucket
from common.s3.errors import LOG_IN_AGAIN, CredentialsRefused
from common.s3.fast import FastBucket, Place
from common.s3.reach import Door, Reach
from common.s3.resolve import client_for, door_of, reason_for_boto, session_for
from common.s3.signing import Keys

CREDENTIALS_FOR_SECONDS = 1.0


def open_bucket(reach: Reach) -> Bucket:
    """Raises RunEnds: no credentials, an unknown profile, settings that contradict each other."""
    try:
        return _open(reach, reach.region)
    except (BotoCoreError, ClientError) as error:
        raise ending_of(error) from None


def _open(reach: Reach, region: str) -> Bucket:
    session = session_for(reach)
    client = client_for(session, reach, region)
    credentials = None if reach.no_sign_request else session.get_credentials()
    if credentials is None and not reach.no_sign_request:
        raise CredentialsRefused(
            "No AWS credentials were found.",
            "Run: aws sso login, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "
            "for a public bucket add --no-sign-request.",
        )
    keys = _frozen(credentials)
    keys()  # expired credentials show here, before anything is begun
    why_not = reason_for_boto(reach, session, client)
    if why_not is None:
        door = door_of(reach, session, client)
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
            for secret in (frozen.secret_key, frozen.token or ""):
                log.hide(secret)
            kept = Keys(frozen.access_key, frozen.secret_key, frozen.token or "")
            asked_at = time.monotonic()
            return kept

    return keys
