"""The exit codes are part of what users build upon: they never change their meaning."""

from __future__ import annotations

from common.exits import Exit, RunEnds


def test_exit_codes_are_what_the_manual_says():
    assert {code.name: code.value for code in Exit} == {
        "ALL_GOOD": 0,
        "NOTHING_WORKED": 1,
        "BAD_CONFIGURATION": 2,
        "SOME_FAILED": 3,
        "LOCKED": 11,
        "CREDENTIALS_REFUSED": 12,
    }


def test_a_run_that_ends_says_why_and_what_to_do():
    error = RunEnds("why", "remedy", Exit.BAD_CONFIGURATION)
    assert (str(error), error.why, error.remedy, error.exit_code) == ("why", "why", "remedy", 2)
    assert RunEnds("why").exit_code == 1
