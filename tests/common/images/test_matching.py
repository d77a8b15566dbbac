"""Which object a name means: against the rule written down as simply as it can be."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from common.images.names import canonical, file_path, folded, stem_of
from common.images.plan import Plan
from common.s3.bucket import Listed

PART = st.sampled_from(["a", "b", "A", "img.v1", "ü", "u\u0308", "x y"])
NAME = st.builds(lambda stem, ext: stem + ext, PART, st.sampled_from(["", ".jpg", ".png", ".JPG", ".v2"]))
PATH = st.builds(lambda folders, name: "/".join([*folders, name]), st.lists(PART, max_size=2), NAME)
ANY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)


def planned(names, keys, **options) -> Plan:
    plan = Plan("bkt", "p/", **options)
    plan.add_names(names)
    plan.add_objects([Listed(key, 1, "e") for key in keys])
    plan.match()
    plan.make_jobs()
    return plan


def meant(name: str, keys: list[str]) -> list[str]:
    """The reference: all keys of the first level that has any."""
    for exact in (name, "p/" + name):
        if exact in keys:
            return [exact]
    path = canonical(name)
    base = path.rpartition("/")[2]
    for ending, view in (
        ("/" + path, canonical), ("/" + base, canonical),
        ("/" + stem_of(path), lambda key: stem_of(canonical(key))),
        ("/" + stem_of(base), lambda key: stem_of(canonical(key))),
    ):  # fmt: skip
        if base and (found := [key for key in keys if ("/" + view(key)).endswith(ending)]):
            return sorted(found)
    return []


@given(st.lists(PATH, min_size=1, max_size=6, unique=True), st.lists(PATH, max_size=12, unique=True))
@example(["img.v1"], ["img.jpg"])
def test_a_name_means_what_the_rule_says(names, paths):
    keys = [f"p/{path}" for path in paths]
    rows = {row[0]: row for row in planned(names, keys).everything()}
    for name in names:
        found = meant(name, keys)
        _, _, how, key, *_, note = rows[name]
        if len(found) == 1:
            assert key == found[0]
        else:
            assert key == "" and how == ("ambiguous" if found else "missing")
            assert sorted(note.split(" | ")) == (found or [""])


@given(st.lists(st.tuples(PATH), min_size=1, max_size=10, unique=True), st.booleans())
def test_no_two_objects_share_a_file_even_where_case_does_not_count(paths, keep_folders):
    keys = [f"p/{path}" for (path,) in paths]
    rows = [row for row in planned(keys, keys, keep_folders=keep_folders).everything() if row[3]]
    files = {folded(row[6]): row[3] for row in rows}
    assert len(files) == len({row[3] for row in rows})
    for file in files:
        parents = {file.rsplit("/", depth)[0] for depth in range(1, file.count("/") + 1)}
        assert not parents & set(files)


@given(ANY, ANY, st.booleans())
@example("../../etc/passwd", "p/../../etc/passwd", True)
@example("logs", "p/logs", False)
@example("CON.jpg", "p/con.jpg", False)
def test_a_file_never_leaves_its_folder_and_every_file_system_takes_its_name(name, key, keep_folders):
    path = file_path(name, f"p/{key}", "p/", keep_folders=keep_folders)
    parts = path.split("/")
    assert keep_folders or len(parts) == 1
    assert parts[0].casefold() not in (".download", "logs", "download_state.json")
    for part in parts:
        assert part not in ("", ".", "..") and len(part.encode()) <= 255
        assert not set(part) & set('\0\n\\:*?"<>|') and not part.endswith((".", " "))
