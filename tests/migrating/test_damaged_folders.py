"""Nothing that was damaged, lost or deleted since passes for whole: it is listed, and the run ends with 3."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from rights import like_anybody, rights

import sc_migrate
from common.exits import Exit
from common.migrating.cvat_writing import write_backup
from common.migrating.download import Wanted, download_project
from common.migrating.folder import BadFolder
from common.migrating.source import open_source
from common.migrating.upload import upload_project
from common.migrating.verify import verify_files
from common.sc.projects import list_projects
from common.waiting import StopSignal
from common.web import errors
from common.web.answers import answer_text, json_of
from tests.migrating.conftest import contents, get, small

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def downloaded(sc, signed_in, tmp_path):
    """A client of an empty server, and the folder of a project."""
    assert get(signed_in(small(sc(samples="none", tls=False))), tmp_path / "x").gaps == []
    return signed_in(sc(samples="none", tls=False)), tmp_path / "x"


def test_a_record_that_lost_lines_is_a_gap_of_the_upload_and_of_verify(downloaded):
    there, folder = downloaded
    ledger = folder / "media.jsonl"
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[:2]))
    for report in (upload_project(there, open_source(folder)), verify_files(folder, StopSignal(), 2)):
        assert report.outcome == "incomplete"
        assert any("media.jsonl has changed" in each for each in report.gaps)


def test_an_image_that_a_disk_has_spoilt_is_not_sent_and_is_a_gap(downloaded):
    there, folder = downloaded
    file = folder / "images" / "Dataset" / "alone.jpg"
    data = bytearray(file.read_bytes())
    data[-20] ^= 0xFF
    file.write_bytes(data)
    report = upload_project(there, open_source(folder))
    assert [each for each in report.gaps if "alone" in each and "has changed since it was downloaded" in each]
    assert report.images == 3
    data[-20] ^= 0xFF
    file.write_bytes(data)
    assert upload_project(there, open_source(folder)).gaps == []


def test_a_spoilt_project_configuration_or_model_is_seen_and_mended_by_another_download(sc, signed_in, tmp_path):
    client = signed_in(sc())
    project_id = next(str(each["id"]) for each in list_projects(client) if each["name"] == "Cars")

    def down():
        return download_project(client, project_id, tmp_path / "x", Wanted(models=True))

    assert down().gaps == []
    [model, *_] = sorted((tmp_path / "x" / "models").glob("*.zip"))
    whole = model.read_bytes()
    model.write_bytes(whole[:-1] + b"x")
    (tmp_path / "x" / "configuration.json").write_text("{}")
    (tmp_path / "x" / "project.json").write_text((tmp_path / "x" / "project.json").read_text() + " ")
    report = verify_files(tmp_path / "x", StopSignal(), 2)
    wrong = ["configuration.json", f"models/{model.name}", "project.json"]
    assert sorted(report.gaps) == [f"{each} has changed since it was written" for each in wrong] and report.remedy
    assert down().gaps == []
    assert model.read_bytes() == whole and verify_files(tmp_path / "x", StopSignal(), 2).gaps == []
    model.unlink()
    assert verify_files(tmp_path / "x", StopSignal(), 2).gaps == [
        f"models/{model.name} cannot be read: No such file or directory"
    ]


def test_a_manifest_of_an_earlier_version_without_these_hashes_is_still_good(downloaded):
    _, folder = downloaded
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(manifest.pop("files")) == ["configuration.json", "project.json"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert verify_files(folder, StopSignal(), 2).gaps == []


def test_annotations_that_were_changed_on_disk_are_sent_and_listed(downloaded):
    there, folder = downloaded
    file = folder / "annotations" / "alone.json"
    scene = json.loads(file.read_text())
    scene["annotations"] = scene["annotations"][:1]
    file.write_text(json.dumps(scene))
    report = upload_project(there, open_source(folder))
    assert report.gaps == [
        "image 'alone': its annotations have changed since they were downloaded; sent as they are now"
    ]
    assert report.scenes == 7


@pytest.mark.parametrize("content", ["[]", "5", '{"version": 1}', '{"normalised": 0, "gaps": 4}', "{", ""])
def test_a_manifest_that_is_none_is_refused_with_a_sentence(downloaded, content):
    _, folder = downloaded
    (folder / "manifest.json").write_text(content)
    with pytest.raises(BadFolder, match=r"manifest\.json"):
        open_source(folder)


def test_a_folder_that_lost_its_manifest_is_not_taken_for_one_of_an_older_tool(downloaded):
    _, folder = downloaded
    (folder / "manifest.json").unlink()
    with pytest.raises(BadFolder, match=r"lost its manifest\.json"):
        open_source(folder)


def test_a_project_that_was_deleted_on_the_target_is_migrated_again(pair, signed_in, tmp_path, monkeypatch):
    source, target = pair("2.x")
    for prefix, server in (("SC_", source), ("SC_TARGET_", target)):
        monkeypatch.setenv(f"{prefix}HOST", server.url)
        monkeypatch.setenv(f"{prefix}TOKEN", server.token)
    monkeypatch.setenv("SC_ALLOW_HTTP", "true")
    monkeypatch.setenv("SC_DIR", str(tmp_path / "sc"))
    monkeypatch.setenv("SC_MIN_FREE_GB", "0")
    assert sc_migrate.main(["migrate", "--all"]) == Exit.ALL_GOOD
    there = signed_in(target)
    [made] = list_projects(there)
    there.send("DELETE", f"{there.home}/projects/{made['id']}")
    assert list_projects(there) == []
    assert sc_migrate.main(["migrate", "--all"]) == Exit.ALL_GOOD
    assert contents(target) == contents(source)


def test_an_image_that_is_gone_or_spoilt_stays_behind_on_the_way_to_cvat_and_no_other(downloaded):
    _, folder = downloaded
    (folder / "images" / "Dataset" / "alone.jpg").unlink()
    spoilt = next((folder / "images" / "Second").iterdir())
    spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"x")
    written = write_backup(open_source(folder), "Small", folder.parent / "made.zip")
    assert (written.images, written.videos) == (2, 1)
    assert len(written.gaps) == 2 and any("'alone'" in each for each in written.gaps)
    assert any("has changed since it was downloaded" in each for each in written.gaps)


def test_a_folder_that_may_not_be_looked_into_does_not_hide_the_others(tmp_path):
    for name in ("a", "closed", "z"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "project.json").write_text("{}")
    (tmp_path / "not a project").mkdir()
    code = "import pathlib, sys; from common.migrating.folder import project_folders as found; "
    code += "print(*(each.name for each in found(pathlib.Path(sys.argv[1]))))"
    with rights(tmp_path / "closed", 0o000):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            preexec_fn=like_anybody,
        )
    # It is tried like the others, and fails by itself.
    assert done.stdout == "a closed z\n", done.stderr


DEEP = "[" * 100_000


def test_json_that_is_nested_without_end_stops_no_other_project(downloaded, capsys):
    _, folder = downloaded
    for name in ("project.json", "manifest.json", "configuration.json", "media.jsonl", "annotations/alone.json"):
        before = (folder / name).read_text()
        (folder / name).write_text(DEEP)
        assert sc_migrate.main(["verify", str(folder)]) in (Exit.NOTHING_WORKED, Exit.SOME_FAILED)
        said = capsys.readouterr()
        assert "fault of the program" not in said.err and "unforeseen" not in said.out
        (folder / name).write_text(before)


def test_an_answer_that_is_nested_without_end_is_no_json():
    response = requests.Response()
    response.request = requests.Request("GET", "https://geti.example.com/x").prepare()
    response._content = DEEP.encode()
    with pytest.raises(errors.NotJson):
        json_of(response)
    assert answer_text(response)[1] is None


def edited(change):
    """What gives the JSON of a file, with one change."""
    return lambda text: json.dumps(change(json.loads(text)))


def with_pipeline(**changes):
    return edited(lambda found: found | {"pipeline": found["pipeline"] | changes})


WRONG_EDITS = (
    ("project.json", edited(lambda found: found | {"name": None}), "it names no project"),
    ("project.json", edited(lambda found: found | {"pipeline": None}), "it has no pipeline"),
    ("project.json", with_pipeline(tasks="x"), "its tasks are not a list"),
    ("project.json", with_pipeline(tasks=[{"title": "a", "task_type": "b", "labels": [3]}]), "labels of task 'a'"),
    ("project.json", with_pipeline(connections=None), "its connections are not a list"),
    ("project.json", edited(lambda found: found | {"datasets": [3]}), "its datasets are not a list"),
    ("configuration.json", lambda text: '{"global": [{"parameters": [3]}]}', "is not as this program writes it"),
    ("configuration.json", lambda text: '{"task_configs": 5}', "is not as this program writes it"),
    ("manifest.json", edited(lambda found: found | {"project": {"name": "x"}}), "it has no pipeline"),
    ("media.jsonl", lambda text: text.replace('"name": "alone"', '"name": 5'), "a line is not as this program"),
)


def test_a_file_that_was_edited_wrongly_is_named(downloaded):
    _, folder = downloaded
    for name, change, said in WRONG_EDITS:
        before = (folder / name).read_text()
        (folder / name).write_text(change(before))
        assert (folder / name).read_text() != before
        with pytest.raises(BadFolder, match=said):
            open_source(folder)
        (folder / name).write_text(before)


def test_annotations_that_are_none_are_named_and_stop_no_other_image(downloaded):
    there, folder = downloaded
    for wrong in ("[]", '{"annotations": [{"shape": 5}]}', '{"annotations": [{"shape": {"type": "X"}, "labels": 5}]}'):
        (folder / "annotations" / "alone.json").write_text(wrong)
        report = upload_project(there, open_source(folder))
        assert [each for each in report.gaps if "annotations/alone.json is not as this program writes it" in each]
        assert report.images == 4
