"""The server's last list is kept whole, compact and in the present division into shards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from common.backups.listed import Listed, lists_in_force, read_listed, write_listed
from tests.common.making import CREATED, a_source

AT = datetime(2026, 11, 21, 2, 3, tzinfo=UTC)


def test_what_is_written_is_read_again(tmp_path):
    sources = (a_source(id=1), a_source(kind="task", id=2, name='naïve \ud800 «"\n»'))
    path = tmp_path / "listed-p.json"
    write_listed(path, Listed("cvat.example.com", "p", AT, "abcd", "1/4", sources))
    found = read_listed(path)
    assert found is not None
    assert (found.mode, found.at, found.run_id, found.shard, found.shards) == ("p", AT, "abcd", "1/4", "4")
    assert [source.key for source in found.sources] == [source.key for source in sources]


def test_a_hundred_thousand_sources_are_a_few_megabytes(tmp_path):
    path = tmp_path / "listed-p.json"
    sources = tuple(a_source(id=number) for number in range(100_000))
    write_listed(path, Listed("cvat.example.com", "p", AT, "abcd", "", sources))
    assert path.stat().st_size < 10_000_000
    found = read_listed(path)
    assert found is not None and len(found.sources) == 100_000


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sources": [[1]]}', '{"mode": "p", "at": "never", "sources": []}'])
def test_a_damaged_list_is_none(tmp_path, text):
    path = tmp_path / "listed-p.json"
    path.write_text(text)
    assert read_listed(path) is None
    assert read_listed(tmp_path / "nowhere.json") is None


def listed(mode="p", shard="", hours=0):
    return Listed("cvat.example.com", mode, AT + timedelta(hours=hours), "abcd", shard, (a_source(created_at=CREATED),))


def test_lists_of_an_earlier_division_into_shards_do_not_count():
    whole, half, other_half, annotations = listed(), listed(shard="0/2", hours=1), listed(shard="1/2"), listed("a")
    assert lists_in_force([whole, half, other_half, annotations]) == [half, other_half, annotations]
    again = listed(hours=2)
    assert lists_in_force([again, half, other_half]) == [again]
