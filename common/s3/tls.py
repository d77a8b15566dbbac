"""What it means when TLS fails, told from OpenSSL's words: our own connections have an exception of them, botocore their text."""

from __future__ import annotations

import re

from common.exits import Exit, RunEnds
from common.s3.errors import Transient
from common.text import printable

# `[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)`
_WORDS = re.compile(r"\[(?:SSL|X509): (\w+)\] (.*)")
# What came back to our greeting is no TLS. Nothing that passes: the address is wrong.
_NO_TLS = frozenset(("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"))


def tls_words(said: str) -> tuple[str, str]:
    """OpenSSL's name for a failure, which may be empty, and its description."""
    said = re.sub(r"\s*\(_ssl\.c:\d+\)", "", said)
    found = _WORDS.search(said)
    return (found.group(1), printable(found.group(2), 200)) if found else ("", printable(said, 200))


def tls_problem(server: str, said: str) -> RunEnds | Transient:
    """Why no connection came about. `server` is its host and port."""
    name, words = tls_words(said)
    if name in _NO_TLS:
        what = f"{server} does not speak TLS ({name})."
        remedy = "Let --endpoint-url begin with http:// if the server has no TLS, or name another port there."
        return RunEnds(what, remedy, Exit.BAD_CONFIGURATION)
    if name == "CERTIFICATE_VERIFY_FAILED":
        what = f"The certificate of {server} is not trusted: {words.removeprefix('certificate verify failed: ')}."
        remedy = "Name the authority's PEM file in AWS_CA_BUNDLE, or as ca_bundle in ~/.aws/config."
        return RunEnds(what, remedy, Exit.BAD_CONFIGURATION)
    return Transient(f"TLS failed: {words}")
