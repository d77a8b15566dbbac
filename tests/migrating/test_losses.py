"""The eight things that geti-sdk loses come back whole; the table in docs/migrating.md says of both what was seen.

That of geti-sdk is compared in tests/sandbox/sc/test_sc_geti_sdk.py, where the real one runs.
"""

from __future__ import annotations

from losses import came_back, column, contents

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
    assert came_back(before, after, {}) == column("`sc_migrate.py`")
