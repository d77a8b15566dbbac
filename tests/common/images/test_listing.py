"""What is said of listings that hold nothing, or that another region has."""

from __future__ import annotations

import itertools

import pytest

from common.exits import Exit, RunEnds
from common.images.listing import PAGES_OF_FOLDERS, folders_near, listed, nothing_listed
from common.s3.bucket import Listed, Page
from common.s3.errors import OtherRegion, S3Error
from common.waiting import StopSignal


class Shelf:
    """A bucket with these keys, two of them to a page."""

    name, where, transport = "bkt", "http://here", "fake"

    def __init__(self, keys: list[str], trouble: Exception | None = None) -> None:
        self.keys = sorted(keys)
        self.trouble = trouble
        self.asked = 0

    def page(self, prefix: str, *, token: str | None = None, after: str = "") -> Page:
        self.asked += 1
        if self.trouble:
            raise self.trouble
        found = [key for key in self.keys if key.startswith(prefix) and key > after]
        return Page([Listed(key, 1, "e") for key in found[:2]], None, len(found) > 2)

    def reader(self):
        raise AssertionError


FOLDERS = [f"{folder}/{number}.jpg" for folder in ("bar", "folder", "zoo") for number in range(50)]


@pytest.mark.parametrize(
    ("prefix", "keys", "near"),
    [
        ("foldr/", FOLDERS, ["folder/", "zoo/", "bar/"]),
        ("data/foldr/x/", [f"data/{key}" for key in FOLDERS], ["data/folder/", "data/zoo/", "data/bar/"]),
        ("other/foldr/", FOLDERS, ["folder/", "zoo/", "bar/"]),
        ("foldr/", ["a.jpg", "b.jpg", "c.jpg"], []),
        ("foldr/", [], []),
    ],
)
def test_the_folders_most_like_one_that_is_not_there_are_named(prefix, keys, near):
    assert sorted(folders_near(Shelf(keys), prefix)) == sorted(near)
    assert folders_near(Shelf(keys), prefix)[:1] == near[:1]


def test_looking_for_folders_asks_a_few_times_and_takes_no_for_an_answer():
    shelf = Shelf([f"{number:04}/a.jpg" for number in range(500)])
    assert len(folders_near(shelf, "0003x/")) == 5 and shelf.asked == PAGES_OF_FOLDERS
    assert folders_near(Shelf(FOLDERS, S3Error("no", "AccessDenied")), "foldr/") == []


def test_where_nothing_lies_the_prefix_or_the_bucket_is_named():
    ends = nothing_listed(Shelf(FOLDERS), "foldr/", StopSignal())
    assert (str(ends), ends.exit_code) == ("Nothing lies under foldr/ in bkt.", Exit.BAD_CONFIGURATION)
    assert ends.remedy.startswith("Check --s3-prefix. These are there: folder/, ")
    assert str(nothing_listed(Shelf([]), "", StopSignal())) == "The bucket bkt at http://here is empty."


def test_a_bucket_of_another_region_names_it():
    shelf = Shelf(
        [], OtherRegion("the server says that it is in the region eu-central-1: check --region", "eu-central-1")
    )
    with pytest.raises(RunEnds, match="in the region eu-central-1") as ended:
        list(itertools.islice(listed(shelf, "", StopSignal()), 1))
    assert ended.value.exit_code == Exit.BAD_CONFIGURATION and "--region eu-central-1" in ended.value.remedy
