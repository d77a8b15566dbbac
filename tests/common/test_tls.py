"""What kind of failure OpenSSL's words tell of, as Python 3.11 to 3.14 and OpenSSL 3.0 to 3.6 say them."""

from __future__ import annotations

import pytest

from common.tls import TlsTrouble, tls_trouble, tls_words


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", TlsTrouble.NO_TLS),
        ("[SSL] record layer failure (_ssl.c:1033)", TlsTrouble.NO_TLS),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1)", TlsTrouble.UNTRUSTED),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch, not valid for 'eof'",
         TlsTrouble.UNTRUSTED),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch, not valid for 'alert.x'",
         TlsTrouble.UNTRUSTED),
        ("hostname 'a' doesn't match 'b'", TlsTrouble.UNTRUSTED),
        ("[X509: NO_CERTIFICATE_OR_CRL_FOUND] no certificate or crl found (_ssl.c:4149)", TlsTrouble.UNTRUSTED),
        ("EOF occurred in violation of protocol (_ssl.c:1006)", TlsTrouble.CUT),
        ("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol (_ssl.c:1006)", TlsTrouble.CUT),
        ("[SSL: UNEXPECTED_EOF_WHILE_READING] unexpected eof while reading (_ssl.c:2650)", TlsTrouble.CUT),
        ("TLS/SSL connection has been closed (EOF) (_ssl.c:1)", TlsTrouble.CUT),
        ("[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC] decryption failed or bad record mac (_ssl.c:1)", TlsTrouble.CUT),
        ("[SSL: SSLV3_ALERT_BAD_RECORD_MAC] ssl/tls alert bad record mac (_ssl.c:1)", TlsTrouble.CUT),
        ("[SSL: TLSV1_ALERT_INTERNAL_ERROR] tlsv1 alert internal error (_ssl.c:1)", TlsTrouble.CUT),
        ("[SSL: TLSV1_ALERT_PROTOCOL_VERSION] tlsv1 alert protocol version (_ssl.c:1)", TlsTrouble.REFUSED),
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:1)", TlsTrouble.REFUSED),
        ("[SSL: UNSUPPORTED_PROTOCOL] unsupported protocol (_ssl.c:1)", TlsTrouble.REFUSED),
    ],
)  # fmt: skip
def test_what_kind_of_failure_it_is(said, trouble):
    assert tls_trouble(said) is trouble


def test_the_name_and_the_words_are_told_apart():
    assert tls_words("[SSL: NO_SHARED_CIPHER] no shared cipher (_ssl.c:1)") == ("NO_SHARED_CIPHER", "no shared cipher")
    assert tls_words("EOF occurred (_ssl.c:1)") == ("", "EOF occurred")
