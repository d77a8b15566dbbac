"""The address of an S3 server as people write it, looked at before botocore does, which says little of what is wrong."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# What botocore takes (botocore.utils.is_valid_endpoint_url), and addresses of IPv6.
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_AWS = re.compile(r"(?:.*\.)?(amazonaws\.com(?:\.cn)?)(?::\d+)?", re.ASCII)
_HOST = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\.?|[0-9a-f]*:[0-9a-f:.]+(?:%[\w.-]+)?", re.ASCII)


def what_is_wrong_with(address: str) -> str:
    """To be said after the name of the setting; empty when nothing is. Repeats nothing of it: there may be a password."""
    if not address.startswith(("http://", "https://")):
        return "must begin with http:// or https://"
    if "@" in address:
        return "must not hold a user or a password: S3 signs with access keys"
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "is no address; expected something like https://minio.example.com:9000"
    if not host:
        return "names no host; expected something like https://minio.example.com:9000"
    if "_" in host:
        return (
            "names a host with an underscore, which boto3 refuses: give the server an alias without one (in docker compose "
            "under networks: aliases:), or use its IP address"
        )
    if not host.isascii():
        return "names a host with other letters than a to z: write it in its form with xn--"
    if not _HOST.fullmatch(host) or len(host) > 253 or any(character.isspace() for character in address):
        return "names no host that can be; expected something like https://minio.example.com:9000"
    return ""


def source_of(where: str, bucket: str) -> str:
    """One name for a bucket, however its server is addressed: by botocore or by us, by any way that AWS has to itself.

    There names of buckets are the same in all regions; elsewhere the address counts without the bucket in it.
    """
    scheme, _, rest = where.partition("://")
    host = rest.partition("/")[0].lower().removeprefix(f"{bucket.lower()}.")
    if aws := _AWS.fullmatch(host):
        scheme, host = "https", f"s3.{aws[1]}"
    return f"{scheme}://{host} {bucket}"
