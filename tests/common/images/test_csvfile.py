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
        ("1,3,img1.jpg\n2,5,img2.jpg\n3,6,img3.jpg\n", "3", ["img1.jpg", "img2.jpg", "img3.jpg"]),
        ("1,2023,img1.jpg\n2,x,img2.jpg\n", "2023", ["x"]),  # there are not so many columns: a title
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
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


HEADS = {"name first": ("filename,label", "{}.jpg,car"), "name last": ("label,filename", "car,{}.jpg"),
         "unknown titles": ("x,y", "{}.jpg,car"), "no extensions": ("filename,label", "{},car"),
         "no titles": ("", "{}.jpg,car")}  # fmt: skip


def table(kind: str, slips: dict[int, str]) -> str:
    """300 rows; those in `slips` have it before the n-th cell (counted from 0)."""
    head, row = HEADS[kind]
    lines = [row.format(f"{number:04}") for number in range(300)]
    for number, at in slips.items():
        cells = lines[number].split(",")
        cells[int(at)] = f'"{cells[int(at)]}'
        lines[number] = ",".join(cells)
    return "\n".join([*([head] if head else []), *lines]) + "\n"


@pytest.mark.parametrize(
    ("text", "column", "title"),
    [
        ("id001,cat\nid002,dog\nid003,cow\n", "1", ""),
        ("img0\nimg1.jpg\nimg2.jpg\n", "", ""),
        ("1;img001\n2;img002.jpg\n", "", ""),
        ("9f86d081-884c,x\n60303ae2-2b98,y\n", "1", ""),
        ('"img9","x"\n"img10","y"\n', "1", ""),
        ("pictures\na.jpg\nb.jpg\n", "", "pictures"),
        ("id,photo\n1,x\n", "2", "photo"),
        ("Column1,n\nimg_1,x\n", "1", "Column1"),
    ],
)
def test_a_first_cell_like_those_below_is_no_title(tmp_path: Path, text: str, column: str, title: str):
    path = tmp_path / "n.csv"
    path.write_text(text)
    layout = layout_of(path, column)
    assert (layout.title, layout.perhaps_title, layout.has_header) == (title, bool(title), False)


ALSO = " If all are, write each row in one line, or leave the column with long texts out."


def refused(path: Path) -> RunEnds:
    with pytest.raises(RunEnds) as ended:
        names(path)
    assert ended.value.exit_code == Exit.BAD_CONFIGURATION
    return ended.value


@pytest.mark.parametrize("cell", ["0", "1"])
@pytest.mark.parametrize("row", [0, 10, 250, 299])
@pytest.mark.parametrize("kind", HEADS)
def test_a_quote_that_is_never_closed_is_named_with_its_line(tmp_path: Path, kind: str, row: int, cell: str):
    path = tmp_path / "n.csv"
    path.write_text(table(kind, {row: cell}))
    ended = refused(path)
    assert f"a quote that opens in line {row + bool(HEADS[kind][0]) + 1} is never closed" in str(ended)
    assert ended.remedy == "Look for a quote that is not closed."


@pytest.mark.parametrize("cell", ["0", "1"])
@pytest.mark.parametrize("rows", [(10, 11), (10, 20), (10, 250), (250, 260)])
@pytest.mark.parametrize("kind", HEADS)
def test_a_quote_that_another_slip_closes_swallows_no_rows(tmp_path: Path, kind: str, rows: tuple[int, int], cell: str):
    path = tmp_path / "n.csv"
    path.write_text(table(kind, dict.fromkeys(rows, cell)))
    ended = refused(path)
    assert f"in line {rows[0] + bool(HEADS[kind][0]) + 1} goes over {rows[1] - rows[0] + 1} lines" in str(ended) or (
        f"the name in line {rows[0] + bool(HEADS[kind][0]) + 1} goes over" in str(ended)
    )
    assert ended.remedy == "Look for a quote that is not closed." + ALSO


@pytest.mark.parametrize(
    "text",
    [
        'n,filename\n"x, y",a.jpg\n"z,b.jpg\n"x, y",c.jpg\n',  # closed by the next row's own quotes
        '"filename","n"\n"a.jpg","x\n"b.jpg","y"\n',
        '"filename,n\na.jpg,"x"\n',
        "filename,n\na.jpg," + '"' + "y\n" * 600 + '"\nb.jpg,x\n',
        'filename\n"a\nb.jpg"\nc.jpg\n',  # one column: this was two names
        'filename\n"a.jpg\nb.jpg\n',
        '"filename\na.jpg\nb.jpg\n',
        'sep=;\nfilename;n\na.jpg;"x\nb.jpg;y\n',
        'filename,n\ra.jpg,"x\rb.jpg,y\r',
    ],
)
def test_quotes_that_lost_their_partner_in_other_ways_are_found_too(tmp_path: Path, text: str):
    path = tmp_path / "n.csv"
    path.write_bytes(text.encode())
    assert refused(path).remedy.removesuffix(ALSO) == "Look for a quote that is not closed."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('filename,text\na.jpg,"a car, red,\nor so, and\nmore"\nb.jpg,x\n', ["a.jpg", "b.jpg"]),
        ('text,filename\n"a car, red,\r\nor so",a.jpg\n"x\ny",b.jpg\n', ["a.jpg", "b.jpg"]),
        ('filename,text\n0001,"a car, red,\nor so, and\nmore"\n0002,x\n', ["0001", "0002"]),
        ('filename,"text\n(short, in English)"\na.jpg,x\n', ["a.jpg"]),
        ('filename,text\na.jpg,"19 inch" monitor\nb.jpg,19" monitor\n', ["a.jpg", "b.jpg"]),
        ('filename,text\n"a.jpg\n",x\nb.jpg,"y"', ["a.jpg", "b.jpg"]),
        ("filename,text\na.jpg," + '"' + "y\n" * 300 + '"\nb.jpg,x\n', ["a.jpg", "b.jpg"]),
    ],
)
def test_cells_of_several_lines_that_are_closed_are_cells(tmp_path: Path, text: str, expected: list[str]):
    path = tmp_path / "n.csv"
    path.write_bytes(text.encode())
    assert names(path) == expected


@pytest.mark.parametrize("before", ["filename,n\n", "x,", "filename,n\n" + "a.jpg,1\n" * 300])
@pytest.mark.parametrize("cell", ["x" * 3_000_000, ("x" * 30_000 + "\n") * 100])
def test_a_cell_of_megabytes_is_a_quote_to_be_looked_for_wherever_it_is(tmp_path: Path, before: str, cell: str):
    path = tmp_path / "n.csv"
    path.write_text(f'{before}"{cell}",1\nb.jpg,2\n')
    ended = refused(path)
    assert "more than 1 MB" in str(ended) and ended.remedy == "Look for a quote that is not closed." + ALSO


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("filename,n\ra.jpg,1\rb.jpg,2\r", ["a.jpg", "b.jpg"]),  # Excel for Mac, long ago
        ("a.jpg\rb.jpg\r", ["a.jpg", "b.jpg"]),
        ("sep=;\r\nfilename;n\r\na.jpg;1,2\r\n", ["a.jpg"]),
        ('\ufeff"sep=|"\nn|filename\n1|a.jpg\n', ["a.jpg"]),
        ("SEP=\t\nfilename\tn\na.jpg\t1\n", ["a.jpg"]),
        ("sep=;\nfilename\na,b.jpg\n", ["a,b.jpg"]),
    ],
)
def test_line_ends_and_first_lines_of_excel_are_understood(tmp_path: Path, text: str, expected: list[str]):
    path = tmp_path / "n.csv"
    path.write_bytes(text.encode())
    assert names(path) == expected


@pytest.mark.parametrize("text", ["filename,n\nTür.jpg,1\n", "日本語.jpg\n日本.jpg\n"])
@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"])
def test_an_encoding_without_its_mark_is_suspected_by_name(tmp_path: Path, encoding: str, text: str):
    path = tmp_path / "n.csv"
    path.write_bytes(text.encode(encoding))
    ended = refused(path)
    assert f"it seems to be {encoding} without its mark" in str(ended) and ended.remedy == "Save it as UTF-8."


@pytest.mark.parametrize(
    "data", [b"filename\na.jpg\0\nb.jpg\n", b"a.jpg\n" * 300_000 + bytes(4096), bytes(range(256)) * 20]
)
def test_what_is_no_text_is_no_list_of_names(tmp_path: Path, data: bytes):
    path = tmp_path / "n.csv"
    path.write_bytes(data)
    assert "it is damaged, or no list of names" in str(refused(path))


def test_half_a_character_behind_a_mark_is_damage_and_not_another_encoding(tmp_path: Path):
    path = tmp_path / "n.csv"
    path.write_bytes("filename\na.jpg\n".encode("utf-16") + b"x")
    assert "begins as UTF-16, and is damaged" in str(refused(path))
