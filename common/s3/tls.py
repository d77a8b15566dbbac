"""What it means to a run when TLS with S3 fails: our own connections have an exception of it, botocore its text."""

from __future__ import annotations

from common.exits import Exit, RunEnds
from common.s3.errors import Transient
from common.tls import TlsTrouble, tls_trouble, tls_words


def tls_problem(server: str, said: str) -> RunEnds | Transient:
    """Why no connection came about. `server` is its host and port."""
    name, words = tls_words(said)
    match tls_trouble(said):
        case TlsTrouble.NO_TLS:
            what = f"{server} does not speak TLS ({name or words})."
            remedy = "Let --endpoint-url begin with http:// if the server has no TLS, or name another port there."
            return RunEnds(what, remedy, Exit.BAD_CONFIGURATION)
        case TlsTrouble.UNTRUSTED:
            cause = words.removeprefix("certificate verify failed: ")
            what = f"The certificate of {server} is not trusted: {cause}."
            remedy = "Name the authority's PEM file in AWS_CA_BUNDLE, or as ca_bundle in ~/.aws/config."
            return RunEnds(what, remedy, Exit.BAD_CONFIGURATION)
    return Transient(f"TLS failed: {words}")
