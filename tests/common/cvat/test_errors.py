"""Every failure is plain words and a remedy."""

from __future__ import annotations

import pytest

from common.cvat import errors
from common.exits import Exit, RunEnds, Trouble


def test_every_failure_of_a_question_is_trouble_of_one_item():
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, errors.CvatError):
            assert issubclass(value, Trouble) and not issubclass(value, RunEnds)


@pytest.mark.parametrize(
    "cls", [errors.Unreachable, errors.Forbidden, errors.ServerError, errors.ExportFailed, errors.TooSlow]
)
def test_failures_that_people_can_do_something_about_say_what(cls):
    assert cls.remedy


def test_wrong_credentials_end_the_run_with_12():
    assert errors.CredentialsRefused("x").exit_code == Exit.CREDENTIALS_REFUSED
