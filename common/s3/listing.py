"""The XML of ListObjectsV2, read fast in the form that servers write, and completely in any other."""

from __future__ import annotations

import html
import re
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from common.s3.bucket import Listed, Page
from common.text import printable

# AWS, Ceph, MinIO, Swift and nginx's canned pages write their fields in this order; what differs is read by expat.
_CONTENTS = re.compile(
    rb"<Contents>\s*<Key>([^<]*)</Key>(?:(?!</Contents>|<ETag>).)*<ETag>([^<]*)</ETag>"
    rb"(?:(?!</Contents>|<Size>).)*<Size>(\d+)</Size>"
    rb"(?:(?:(?!</Contents>|<StorageClass>).)*<StorageClass>([^<]*)</StorageClass>)?",
    re.DOTALL,
)
_FAST = re.compile(
    rb"<Contents><Key>([^<]*)</Key><LastModified>[^<]*</LastModified><ETag>([^<]*)</ETag>"
    rb"(?:<Checksum\w+>[^<]*</Checksum\w+>)*<Size>(\d+)</Size>"
    rb"(?:<Owner>(?:<ID>[^<]*</ID>)?(?:<DisplayName>[^<]*</DisplayName>)?</Owner>)?"
    rb"(?:<StorageClass>([^<]*)</StorageClass>)?"
)
_TOKEN = re.compile(rb"<NextContinuationToken>([^<]*)</NextContinuationToken>")
_TRUNCATED = re.compile(rb"<IsTruncated>\s*true\s*</IsTruncated>", re.IGNORECASE)


def parse_page(body: bytes) -> Page:
    """Raises ValueError when this is no listing."""
    if b"ListBucketResult" not in body[:1000]:
        raise ValueError(f"the server's answer is no listing: {printable(body[:80].decode('utf-8', 'replace'))}")
    if b"</ListBucketResult>" not in body[-100:]:
        raise ValueError("the server's listing is cut off")
    count = body.count(b"<Contents>")
    found = _FAST.findall(body)
    if len(found) != count:
        found = _CONTENTS.findall(body)
    if len(found) != count or b"<!" in body:
        return _parse_slowly(body)
    url_encoded = b"<EncodingType>url</EncodingType>" in body
    objects = [
        Listed(_key(key, url_encoded), int(size), _etag(etag), storage.decode("latin-1"))
        for key, etag, size, storage in found
    ]
    token = _TOKEN.search(body)
    return Page(objects, html.unescape(token.group(1).decode()) if token else None, bool(_TRUNCATED.search(body)))


def _key(raw: bytes, url_encoded: bool) -> str:
    text = raw.decode("utf-8", "replace")
    if "&" in text:
        text = html.unescape(text)
    return unquote_plus(text) if url_encoded and ("%" in text or "+" in text) else text


def _etag(raw: bytes) -> str:
    return raw.decode("latin-1").replace("&quot;", "").replace("&#34;", "").strip('"')


def _parse_slowly(body: bytes) -> Page:
    try:
        # Expat expands no external entities, and since 2.4 refuses the bombs of internal ones.
        root = ElementTree.fromstring(body)  # noqa: S314
    except ElementTree.ParseError as error:
        raise ValueError(f"the server's listing is not XML: {error}") from None
    space = root.tag[: root.tag.find("}") + 1]
    url_encoded = root.findtext(f"{space}EncodingType") == "url"
    objects = []
    for element in root.iter(f"{space}Contents"):
        key = element.findtext(f"{space}Key")
        size = element.findtext(f"{space}Size") or ""
        if key is None or not size.isdecimal():
            raise ValueError("the server's listing has an object without a key or a size")
        objects.append(
            Listed(
                unquote_plus(key) if url_encoded else key,
                int(size),
                (element.findtext(f"{space}ETag") or "").strip('"'),
                element.findtext(f"{space}StorageClass") or "",
            )
        )
    truncated = (root.findtext(f"{space}IsTruncated") or "").strip().lower() == "true"
    return Page(objects, root.findtext(f"{space}NextContinuationToken") or None, truncated)
