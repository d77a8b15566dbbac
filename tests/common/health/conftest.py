"""What the tests of health share."""

from __future__ import annotations

import pytest

from tests.common.health.shelves import Shelves


@pytest.fixture
def shelves(tmp_path):
    return Shelves(tmp_path)
