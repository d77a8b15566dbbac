"""What it means when TLS fails, told from OpenSSL's words. The classes of its exceptions say less, and less reliably:
where a connection is cut off, Python 3.11 raises SSLEOFError and 3.13 a plain SSLError.
"""

from __future__ import annotations

import re
from enum import Enum

from common.text import printable

# `[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)`
_WORDS = re.compile(r"\[(?:SSL|X509): (\w+)\] (.*)")
_PLACE = re.compile(r"\s*\(_ssl\.c:\d+\)")
# What came back to our greeting is no TLS. Nothing that passes: the address is wrong.
_NO_TLS = re.compile(r"wrong.version.number|http.request|unknown.protocol|record.layer.failure", re.IGNORECASE)
# Also a file of certificates that holds none, and urllib3's own words about the host's name.
_UNTRUSTED = re.compile(r"certificate|hostname .* doesn't match|\[X509|PEM lib", re.IGNORECASE)
_ALERT = re.compile(r"\balert\b|_ALERT_", re.IGNORECASE)
_CUT = re.compile(r"\beof\b|eof.while.reading|bad.record.mac|internal.error|I/O error", re.IGNORECASE)


class TlsTrouble(Enum):
    """What kind of failure it is. Only a connection that was cut off, or went wrong on its way, is worth another try."""

    NO_TLS = "no TLS"
    UNTRUSTED = "untrusted"
    CUT = "cut"
    REFUSED = "refused"


def tls_trouble(said: str) -> TlsTrouble:
    """`said` is the text of an exception of ssl, or of a library that passes it on."""
    if _ALERT.search(said):  # what the other side says about us, our certificate perhaps
        return TlsTrouble.CUT if _CUT.search(said) else TlsTrouble.REFUSED
    if _UNTRUSTED.search(said):
        return TlsTrouble.UNTRUSTED
    if _NO_TLS.search(said):
        return TlsTrouble.NO_TLS
    return TlsTrouble.CUT if _CUT.search(said) else TlsTrouble.REFUSED


def tls_words(said: str) -> tuple[str, str]:
    """OpenSSL's name for a failure, which may be empty, and its description."""
    said = _PLACE.sub("", said)
    found = _WORDS.search(said)
    return (found.group(1), printable(found.group(2), 200)) if found else ("", printable(said, 200))
