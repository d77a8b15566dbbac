"""What an estimate takes from the run before."""

from __future__ import annotations

import pytest

from common.images.report import last_rate_in


@pytest.mark.parametrize(
    ("state", "rate"),
    [
        ('{"last_rate": 500, "bytes": 0, "fetch_seconds": 0}', 500),
        ('{"bytes": 3000, "fetch_seconds": 1.5}', 2000),  # of an earlier version
        ('{"bytes": 3000, "fetch_seconds": 0.5}', 0),
        ('{"last_rate": -1}', 0),
        ('{"last_rate": Infinity}', 0),
        ('{"last_rate": NaN}', 0),
        ('{"last_rate": null}', 0),
        ("{}", 0),
        ("[]", 0),
        ("torn {", 0),
    ],
)
def test_the_speed_of_an_earlier_run_is_taken_from_its_state_whatever_that_holds(tmp_path, state, rate):
    (tmp_path / "download_state.json").write_text(state)
    assert last_rate_in(tmp_path / "download_state.json") == rate


def test_without_a_run_before_there_is_no_speed(tmp_path):
    assert last_rate_in(tmp_path / "download_state.json") == 0
