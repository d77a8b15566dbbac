"""What an archive claims must fit before anything is unpacked; hashes of what was unpacked stand in the index."""

from __future__ import annotations

import hashlib
import json
import zipfile

import pytest

from common.backups.archive import BadArchive
from common.datasets.extract import check_archive, extract
from common.files import DiskFull, free_bytes


def test_a_zip_bomb_is_refused_by_what_it_claims_before_it_is_unpacked(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 50_000_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(DiskFull, match=r"50\.0 MB are needed"):
        check_archive(path, free_bytes(tmp_path) - 20_000_000)
    assert check_archive(path, 0) == 1


def test_an_empty_archive_is_no_dataset(tmp_path):
    path = tmp_path / "empty.zip"
    zipfile.ZipFile(path, "w").close()
    with pytest.raises(BadArchive, match="found nothing to export"):
        check_archive(path, 0)


def test_a_disk_that_others_fill_meanwhile_ends_the_extraction(tmp_path, monkeypatch):
    from common.datasets import extract as module

    monkeypatch.setattr(module, "LOOK_EVERY_BYTES", 1000)
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"x" * 5000)
    with pytest.raises(DiskFull, match="are kept free"):
        extract(path, tmp_path / "out", tmp_path / "index", 10**18, lambda: None)


def test_what_was_written_is_listed_with_its_hash(tmp_path):
    path = tmp_path / "x.zip"
    content = {"a b/ü.txt": b"1", "leer": b"", "images/": b"", "big": b"z" * 3_000_000}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    check_archive(path, 0)
    assert extract(path, tmp_path / "out", tmp_path / "index", 0, lambda: None) == 3_000_001
    listed = [json.loads(line) for line in (tmp_path / "index").read_text().splitlines()]
    assert {each["path"]: each["sha256"] for each in listed} == {
        name: hashlib.sha256(data).hexdigest() for name, data in content.items() if not name.endswith("/")
    }
    for name, data in content.items():
        assert name.endswith("/") or (tmp_path / "out" / name).read_bytes() == data
