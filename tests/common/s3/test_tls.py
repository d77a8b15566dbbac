"""Why TLS failed: what a wrong address is to blame for, what a certificate is, and what may pass."""

from __future__ import annotations

import pytest

from common.exits import Exit, RunEnds
from common.s3.errors import Transient
from common.s3.tls import tls_problem


@pytest.mark.parametrize(
    ("said", "why", "remedy"),
    [
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)",
         "h:9 does not speak TLS (WRONG_VERSION_NUMBER).", "--endpoint-url"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1006)",
         "The certificate of h:9 is not trusted: self-signed certificate.", "AWS_CA_BUNDLE"),
    ],
)  # fmt: skip
def test_what_does_not_pass_ends_the_run(said, why, remedy):
    problem = tls_problem("h:9", said)
    assert isinstance(problem, RunEnds) and problem.exit_code == Exit.BAD_CONFIGURATION
    assert problem.why == why and remedy in problem.remedy


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("EOF occurred in violation of protocol (_ssl.c:1007)", "TLS failed: EOF occurred in violation of protocol"),
        ("[SSL: TLSV1_ALERT_INTERNAL_ERROR] tlsv1 alert internal error (_ssl.c:1)", "TLS failed: tlsv1 alert internal error"),
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_again(said, why):
    problem = tls_problem("h:9", said)
    assert isinstance(problem, Transient) and str(problem) == why
