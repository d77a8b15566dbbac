"""The eight things that geti-sdk loses come back whole; the table in docs/migrating.md says of both what was seen.

The column of geti-sdk is written and compared in tests/sandbox/sc/test_sc_geti_sdk.py, where the real one runs.
"""

from __future__ import annotations

import pytest
from losses import BEGIN, END, ROWS, TOOLS, came_back, compare_or_write, contents, on_the_page, told

from sc_client import SCRESTClient


def test_every_known_loss_comes_back_whole_as_the_page_says(sc, tmp_path):
    source, target = sc(samples="losses"), sc(samples="none")
    for server, verb in ((source, "down"), (target, "up"), (target, "up")):  # up twice: nothing comes double
        client = SCRESTClient(server.url, token=server.token, ca_bundle=server.ca_file)
        if verb == "down":
            client.download_all_projects(tmp_path)
        else:
            client.upload_all_projects(tmp_path)
    before = {one.name: contents(one) for one in source.world.projects.values()}
    after = {one.name: contents(one) for one in target.world.projects.values()}
    assert after == before
    assert len(target.world.projects) == len(source.world.projects)
    compare_or_write("`sc_migrate.py`", came_back(before, after, {}))


def test_the_tests_write_the_table_and_leave_the_rest_of_the_page_alone(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{BEGIN}{END}\n\nMore.\n")
    cells = [f"cell {number}" for number in range(len(ROWS))]
    with pytest.raises(AssertionError):
        compare_or_write(TOOLS[0], cells, page)
    monkeypatch.setenv("CVAT_TESTS_WRITE", "1")
    compare_or_write(TOOLS[0], cells, page)
    compare_or_write(TOOLS[1], cells[::-1], page)
    monkeypatch.delenv("CVAT_TESTS_WRITE")
    compare_or_write(TOOLS[0], cells, page)
    with pytest.raises(AssertionError):
        compare_or_write(TOOLS[1], cells, page)
    assert page.read_text() == f"# Title\n\n{BEGIN}{told(on_the_page(page))}{END}\n\nMore.\n"
    assert page.read_text().count("\n| ") == 1 + len(ROWS)
