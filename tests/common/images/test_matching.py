"""Which object a name means: against the rule written down as simply as it can be."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from common.files import is_device
from common.images.gathering import MOST_ROWS
from common.images.names import (
    RESERVED,
    base_and_stem,
    canonical,
    canonical_all,
    file_path,
    folded,
    split_extension,
    stem_of,
)  # fmt: skip
from common.images.plan import Plan
from common.s3.bucket import Listed

PART = st.sampled_from(["a", "b", "A", "img.v1", "ü", "u\u0308", "x y"])
NAME = st.builds(
    lambda stem, ext: stem + ext, PART, st.sampled_from(["", ".jpg", ".png", ".JPG", ".v2", ".txt", ".mp4"])
)
PATH = st.builds(lambda folders, name: "/".join([*folders, name]), st.lists(PART, max_size=2), NAME)
# All of it in memory, or (as with very many) in portions from a file.
FEW_AND_MANY = pytest.mark.parametrize("most_rows", [MOST_ROWS, 3, 0])
ANY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)


def planned(names, keys, **options) -> Plan:
    plan = Plan("bkt", "p/", **options)
    plan.add_names(names)
    plan.add_objects([Listed(key, 1, "e") for key in keys])
    plan.match()
    return plan


KIND = {"": "", ".jpg": "image", ".png": "image", ".JPG": "image", ".txt": "txt", ".mp4": "video"}


def kind(path: str) -> str:
    return KIND[split_extension(path.rpartition("/")[2])[1]]


def alike(name: str, keys: list[str]) -> list[str]:
    """Those of these keys, which all have the name's stem, that are of its kind."""
    if kind(name):
        return [key for key in keys if kind(key) in (kind(name), "")]
    return next((found for each in ("image", "video") if (found := [key for key in keys if kind(key) == each])), keys)


def meant(name: str, keys: list[str]) -> tuple[list[str], int]:
    """The reference: all keys of the first level that has any, and how much of the name was not regarded."""
    for exact in (name, "p/" + name):
        if exact in keys:
            return [exact], 0
    path = canonical(name)
    base = path.rpartition("/")[2]
    for ending, view, choose, lost in (
        ("/" + path, canonical, lambda keys: keys, 0), ("/" + base, canonical, lambda keys: keys, 1),
        ("/" + stem_of(path), lambda key: stem_of(canonical(key)), lambda keys: alike(name, keys), 0),
        ("/" + stem_of(base), lambda key: stem_of(canonical(key)), lambda keys: alike(name, keys), 2),
    ):  # fmt: skip
        if base and (found := choose([key for key in keys if ("/" + view(key)).endswith(ending)])):
            return sorted(found), lost if "/" in path else 0
    return [], 0


@FEW_AND_MANY
@given(names=st.lists(PATH, min_size=1, max_size=6, unique=True), paths=st.lists(PATH, max_size=20, unique=True))
@example(names=["img.v1"], paths=["img.jpg"])
@example(
    names=["a.jpg", "b/a.jpg", "a"],
    paths=[f"{folder}/b/a.{extension}" for folder in "abcdef" for extension in ("jpg", "png")],
)
@example(names=["x/a.jpg", "y/a.jpg", "x/a.png"], paths=["x/a.jpg"])
@example(names=["x/a.jpg", "y/a.png"], paths=["b/a.jpg"])
@example(names=["x/a.png", "y/a.png"], paths=["b/a.jpg"])
def test_a_name_means_what_the_rule_says(most_rows, names, paths):
    keys = [f"p/{path}" for path in paths]
    # Names that stand there twice, and a listing that tells of its first key twice, change nothing.
    rows = list(planned([*names, names[0]], [*keys, *keys[:1]], most_rows=most_rows).everything())
    assert [row[0] for row in rows] == names
    all_meant = {canonical(name): meant(name, keys) for name in names}
    for name, row in zip(names, rows, strict=True):
        found, lost = meant(name, keys)
        _, _, how, key, *_, note = row
        others = [levels for path, (same, levels) in all_meant.items() if same == found and path != canonical(name)]
        if len(found) == 1 and lost and min(others, default=3) <= lost:
            assert (how, key) == ("missing", "") and note.startswith(f"only {found[0]} in another folder fits, and ")
        elif len(found) == 1:
            assert key == found[0]
        else:
            assert key == "" and how == ("ambiguous" if found else "missing")
            assert note.split(" | ") == (found[:10] or [""])


def asked(names: list[str], keys: dict[str, int], rule="skip") -> list[tuple[str, str]]:
    """What each name was found by, and the key."""
    plan = Plan("bkt", "", rule=rule)
    plan.add_names(names)
    plan.add_objects([Listed(key, size, "e") for key, size in keys.items()])
    plan.match()
    return [(how, key) for _, _, how, key, *_ in plan.everything()]


@pytest.mark.parametrize(
    ("name", "keys", "found"),
    [
        ("a.jpg", ["labels/a.txt"], ("missing", "")),
        ("a.jpg", ["a.mp4"], ("missing", "")),
        ("x/a.jpg", ["x/a.txt", "y/a.png"], ("stem", "y/a.png")),
        ("b.jpg", ["x/b.png", "x/b.txt"], ("stem", "x/b.png")),
        ("b.jpg", ["b"], ("stem", "b")),
        ("b", ["x/b.png", "x/b.txt", "b.mp4"], ("stem", "x/b.png")),
        ("b", ["x/b.txt", "b.mp4"], ("stem", "b.mp4")),
        ("b", ["x/b.txt"], ("stem", "x/b.txt")),
        ("b.avi", ["b.mp4", "b.jpg"], ("stem", "b.mp4")),
        ("b.txt", ["b.json", "b.jpg"], ("missing", "")),
        ("b.txt", ["b.json", "b.TXT"], ("stem", "b.TXT")),
    ],
)
@pytest.mark.parametrize("rule", ["skip", "first", "largest"])
def test_what_is_no_image_is_not_taken_for_one_whatever_the_rule(rule, name, keys, found):
    assert asked([name], {key: 1000 if key.endswith("txt") else 1 for key in keys}, rule) == [found]


@pytest.mark.parametrize(
    ("names", "keys", "found"),
    [
        (["val/a.jpg"], ["train/a.jpg"], ["train/a.jpg"]),
        (["train/a.jpg", "val/a.jpg"], ["train/a.jpg"], ["train/a.jpg", ""]),
        (["val/a.jpg", "train/a.jpg"], ["all/a.jpg"], ["", ""]),
        ([r"C:\imgs\a.jpg", "C:/imgs//a.jpg"], ["all/a.jpg"], ["all/a.jpg", "all/a.jpg"]),
        (["val/a.jpg", "a.jpg"], ["all/a.jpg"], ["", "all/a.jpg"]),
        (["val/a.jpg", "train/a.png"], ["all/a.jpg"], ["all/a.jpg", ""]),
        (["train/a.png", "val/a.jpg"], ["train/a.jpg"], ["train/a.jpg", ""]),
        (["a.jpg", "all/a.jpg"], ["all/a.jpg"], ["all/a.jpg", "all/a.jpg"]),
    ],
)
def test_names_of_several_folders_do_not_become_one_image(names, keys, found):
    assert [key for _, key in asked(names, dict.fromkeys(keys, 1))] == found


def test_neither_does_a_rule_make_them_one():
    assert asked(["train/a.jpg", "val/a.jpg"], {"x/a.jpg": 1, "y/a.jpg": 1}, "first") == [("missing", "")] * 2


def test_a_list_of_all_names_says_what_a_rule_chose_from_and_why_a_name_is_missing():
    plan = Plan("bkt", "", rule="first")
    plan.add_names(["c", "x/a.jpg", "y/a.jpg"])
    plan.add_objects([Listed(key, 1, "e") for key in ("1/c.jpg", "2/c\nd/c.jpg", "x/a.jpg")])
    plan.match()
    assert [row[-1] for row in plan.everything()] == [
        "1/c.jpg | 2/c\nd/c.jpg", "", "only x/a.jpg in another folder fits, and x/a.jpg was asked for, too",
    ]  # fmt: skip
    for jobs in plan.jobs():
        plan.settle([job.id for job in jobs], [])
    assert next(plan.everything())[-1] == "1/c.jpg | 2/c\nd/c.jpg"


def test_a_line_break_in_a_key_does_not_make_it_two():
    plan = planned(["c"], ["p/1/c.jpg", "p/2\n3/c.jpg"])
    assert list(plan.ambiguous()) == [("c", ["p/1/c.jpg", "p/2\n3/c.jpg"])]


def test_a_rule_chooses_among_all_that_fit_not_only_among_those_that_are_told_of():
    keys = [f"p/{number:02}/a.jpg" for number in reversed(range(30))]
    for rule, chosen in (("first", "p/00/a.jpg"), ("largest", "p/17/a.jpg")):
        plan = Plan("bkt", "p/", rule=rule)
        plan.add_names(["a"])
        plan.add_objects([Listed(key, 2 if key == "p/17/a.jpg" else 1, "e") for key in keys])
        plan.match()
        [(_, _, how, key, *_)] = plan.everything()
        assert (how, key) == ("stem", chosen) and plan.counts.by_rule == 1


@FEW_AND_MANY
@given(paths=st.lists(PATH, min_size=1, max_size=10, unique=True), keep_folders=st.booleans())
def test_no_two_objects_share_a_file_even_where_case_does_not_count(most_rows, paths, keep_folders):
    keys = [f"p/{path}" for path in paths]
    rows = [row for row in planned(keys, keys, keep_folders=keep_folders, most_rows=most_rows).everything() if row[3]]
    assert len(rows) == len(keys)
    files = {folded(row[6]): row[3] for row in rows}
    assert len(files) == len({row[3] for row in rows})
    for file in files:
        parents = {file.rsplit("/", depth)[0] for depth in range(1, file.count("/") + 1)}
        assert not parents & set(files)


@given(ANY, ANY, st.booleans())
@example("../../etc/passwd", "p/../../etc/passwd", True)
@example("logs", "p/logs", False)
@example("CON.jpg", "p/con.jpg", False)
@example("com0.jpg", "lpt¹.x/com0.jpg", True)
def test_a_file_never_leaves_its_folder_and_every_file_system_takes_its_name(name, key, keep_folders):
    stem = base_and_stem(canonical(name))[1]
    extension = split_extension(canonical(key).rpartition("/")[2])[1]
    path = file_path(stem, extension, f"p/{key}", "p/", keep_folders=keep_folders)
    parts = path.split("/")
    assert keep_folders or len(parts) == 1
    assert parts[0].casefold() not in (".download", "logs", "download_state.json")
    for part in parts:
        assert part not in ("", ".", "..") and len(part.encode()) <= 255
        assert not set(part) & set('\0\n\\:*?"<>|') and not part.endswith((".", " ")) and not is_device(part)


def test_what_a_bucket_has_under_our_own_names_gets_another_one_and_folders_stay_together():
    paths = [file_path(stem, ".jpg", f"p/{folder}/{stem}.jpg", "p/", keep_folders=True)
             for folder in ("logs", "LOGS") for stem in ("one", "two")]  # fmt: skip
    folders = [path.partition("/")[0] for path in paths]
    assert folders[0] == folders[1] != folders[2] == folders[3] and not {"logs", "LOGS"} & set(folders)
    for name in RESERVED:
        assert file_path(name, "", f"p/{name}", "p/", keep_folders=False).casefold() not in RESERVED
    assert ".download_state.json.tmp" in RESERVED  # what is written before it gets its name


@given(st.lists(st.text(st.sampled_from(["a", "ü", ".", "/", "\\", "\n", "\u0308"]), max_size=6), max_size=5))
def test_many_paths_become_canonical_as_each_of_them_does(paths):
    assert list(canonical_all(paths)) == [canonical(path) for path in paths]
    for path in paths:
        base = path.rpartition("/")[2]
        assert base_and_stem(path) == (base, stem_of(base))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([0, MOST_ROWS]))
def test_a_plan_leaves_nothing_in_the_folder_that_its_files_lie_in(tmp_path: Path, most_rows):
    with contextlib.closing(Plan("bkt", "p/", tmp_path, most_rows=most_rows)) as plan:
        plan.add_names(f"{number}.jpg" for number in range(20_000))
        plan.add_objects([Listed(f"p/{number}.jpg", 1, "e" * 2000) for number in range(20_000)])  # more than the cache
        plan.match()
        assert plan.counts.found == 20_000
        assert not list(tmp_path.iterdir())
