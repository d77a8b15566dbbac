"""What it means when TLS fails, told from OpenSSL's words. The classes of its exceptions say less, and less reliably:
where a connection is cut off, Python 3.11 raises SSLEOFError and 3.13 a plain SSLError.
"""

from __future__ import annotations

import re
from enum import Enum

from common.text import printable

# Compiled when they are needed, which is seldom: a download of a second would wait for that at its start.
# `[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)`
_WORDS = r"\[(?:SSL|X509): (\w+)\] (.*)"
_PLACE = r"\s*\(_ssl\.c:\d+\)"
# What came back to our greeting is no TLS. Nothing that passes: the address is wrong.
_NO_TLS = r"wrong.version.number|http.request|unknown.protocol|record.layer.failure"
# Also a file of certificates that holds none, and urllib3's own words about the host's name. What the other side says
# about a certificate of ours ("alert certificate required") is none of these.
_UNTRUSTED = r"certificate.verify.failed|hostname .* doesn't match|\[X509|PEM lib"
_CUT = r"\beof\b|eof.while.reading|bad.record.mac|internal.error|I/O error"


class TlsTrouble(Enum):
    """What kind of failure it is. Only a connection that was cut off, or went wrong on its way, is worth another try."""

    NO_TLS = "no TLS"
    UNTRUSTED = "untrusted"
    CUT = "cut"
    REFUSED = "refused"


def tls_trouble(said: str) -> TlsTrouble:
    """`said` is the text of an exception of ssl, or of a library that passes it on."""
    # In this order: after "certificate verify failed" may come the name of a host, which may be any word.
    for pattern, trouble in ((_UNTRUSTED, TlsTrouble.UNTRUSTED), (_NO_TLS, TlsTrouble.NO_TLS), (_CUT, TlsTrouble.CUT)):
        if re.search(pattern, said, re.IGNORECASE):
            return trouble
    return TlsTrouble.REFUSED


def tls_words(said: str) -> tuple[str, str]:
    """OpenSSL's name for a failure, which may be empty, and its description."""
    said = re.sub(_PLACE, "", said)
    found = re.search(_WORDS, said)
    return (found.group(1), printable(found.group(2), 200)) if found else ("", printable(said, 200))
