"""The folder of a project, as this program writes it."""

from __future__ import annotations

from pathlib import Path

from common.migrating.folder import ProjectFolder


def test_a_new_run_clears_away_what_a_killed_one_was_writing(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images" / "Dataset").mkdir(parents=True)
    half = tmp_path / "annotations" / ".a_frame_5.json.140084787541696.tmp"
    half.touch()
    kept = [tmp_path / "annotations" / "a.json", tmp_path / "images" / "Dataset" / ".m1.part"]
    for path in kept:
        path.touch()
    ProjectFolder(tmp_path).begin({"project_id": "1"})
    assert not half.exists()
    assert all(path.exists() for path in kept)
