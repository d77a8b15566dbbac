"""The names in files as people have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.exits import Exit, RunEnds
from common.images.csvfile import layout_of, names_in


def names(path: Path, column: str = "") -> list[str]:
    return [name for name in names_in(path, layout_of(path, column)) if name]


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("a.jpg\nb.jpg\n", "", ["a.jpg", "b.jpg"]),
        ("a\nb\n", "", ["a", "b"]),
        ("filename\na.jpg\n", "", ["a.jpg"]),
        ("pictures\na.jpg\nb.jpg\n", "", ["pictures", "a.jpg", "b.jpg"]),  # perhaps a title: the bucket will tell
        ("IMG_1\nb.jpg\nc.jpg\n", "", ["IMG_1", "b.jpg", "c.jpg"]),
        ("1;IMG_1\n2;b.jpg\n3;c.jpg\n", "", ["IMG_1", "b.jpg", "c.jpg"]),
        ("id,file_name,label\n1,a.jpg,x\n2,b.jpg,y\n", "", ["a.jpg", "b.jpg"]),
        ("1;a.jpg\n2;b.jpg\n", "", ["a.jpg", "b.jpg"]),
        ("x,y\na.jpg,c.jpg\nb.jpg,d.jpg\n", "y", ["c.jpg", "d.jpg"]),
        ("x,y\na.jpg,c.jpg\n", "2", ["y", "c.jpg"]),
        ('filename,n\n"a,b.jpg",1\n"say ""hi"".jpg",2\n', "", ["a,b.jpg", 'say "hi".jpg']),
        ("a,b.jpg\nc.jpg\n", "", ["a,b.jpg", "c.jpg"]),
        ("\n\na.jpg\n\n", "", ["a.jpg"]),
        ("a.jpg", "", ["a.jpg"]),
        ("=cmd|'x'!A1\n../../x.jpg\n", "", ["=cmd|'x'!A1", "../../x.jpg"]),
    ],
)
def test_names_are_found(tmp_path: Path, text: str, column: str, expected: list[str]):
    path = tmp_path / "n.csv"
    path.write_text(text)
    assert names(path, column) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_every_encoding_that_programs_write_is_read(tmp_path: Path, encoding: str):
    path = tmp_path / "n.csv"
    path.write_bytes("filename;n\r\nTür.jpg;1\r\n".encode(encoding))
    assert names(path) == ["Tür.jpg"]


@pytest.mark.parametrize(("text", "column"), [("a,b\nc,d\n", ""), ("a.jpg,b.jpg\n", ""), ("a,b\nc.jpg,1\n", "z")])
def test_a_column_that_is_not_clear_is_asked_for(tmp_path: Path, text: str, column: str):
    path = tmp_path / "n.csv"
    path.write_text(text)
    with pytest.raises(RunEnds, match="column") as ended:
        layout_of(path, column)
    assert ended.value.exit_code == Exit.BAD_CONFIGURATION and "--csv-column" in ended.value.remedy


def test_a_quote_that_is_never_closed_is_an_error_and_not_one_giant_name(tmp_path: Path):
    path = tmp_path / "n.csv"
    path.write_text('filename,n\n"a.jpg,1\n' + "b.jpg,2\n" * 300_000)
    with pytest.raises(RunEnds, match="line"):
        names(path)
