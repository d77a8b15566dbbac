"""What the settings of downloader.py --mode datasets take, and what they refuse."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from pydantic import ValidationError

from common.datasets.run import add_dataset_arguments, download
from common.datasets.settings import DatasetSettings, what_is_missing
from common.exits import Exit, RunEnds

SERVER = {"CVAT_URL": "http://cvat", "CVAT_USERNAME": "u", "CVAT_PASSWORD": "p"}
# What a key of the document's `-o cvat_download.KEY=VALUE` may be, and what null makes of it.
GIVEN = {
    "organization_slug": "x", "project_id": "7", "task_ids": "1", "required_status": "completed", "jobs_completed": "true",
    "subset": "Train", "updated_since": "2026-11-20", "include": "a*", "exclude": "b*", "check_image_exists": "false",
    "dataset_format": "YOLO 1.1", "include_images": "true", "overwrite_existing": "true", "output_dir": "/x", "run_id": "r",
    "merge": "true", "split": "a=1", "concurrency": "5", "request_timeout_hours": "2", "min_free_gb": "9",
}  # fmt: skip


def settings(**values: Any) -> DatasetSettings:
    return DatasetSettings.model_validate(
        SERVER | {f"CVAT_DOWNLOAD_{key.upper()}": text for key, text in values.items()}
    )


def test_every_setting_stands_here():
    ours = {field.alias for field in DatasetSettings.model_fields.values()}
    assert {f"CVAT_DOWNLOAD_{key.upper()}" for key in GIVEN} == {each for each in ours if "DOWNLOAD" in str(each)}


@pytest.mark.parametrize("key", GIVEN)
@pytest.mark.parametrize("text", ["null", " NULL "])
def test_null_is_none_any_or_the_default_for_every_setting(key, text):
    given, null = getattr(settings(**{key: GIVEN[key]}), key), getattr(settings(**{key: text}), key)
    default = DatasetSettings.model_fields[key].default
    assert null == (None if key == "required_status" else default)
    assert given != default or key == "required_status"


@pytest.mark.parametrize("key", GIVEN)
@pytest.mark.parametrize("written", ["", '""', "null"])
def test_a_key_of_the_predecessor_without_a_value_means_the_same(key, written):
    parser = argparse.ArgumentParser()
    add_dataset_arguments(parser)
    found = vars(parser.parse_args(["-o", f"cvat_download.{key}={written}"]))
    text = found[f"CVAT_DOWNLOAD_{key.upper()}"]
    assert getattr(settings(**{key: text}), key) == getattr(settings(**{key: "null"}), key)


def test_a_split_of_null_needs_no_merge():
    problems = what_is_missing(argparse.Namespace(), SERVER | {"CVAT_DOWNLOAD_SPLIT": "null"})
    assert not [problem for problem in problems if "SPLIT" in problem]
    assert [each for each in what_is_missing(argparse.Namespace(), {"CVAT_DOWNLOAD_SPLIT": "a=1"}) if "SPLIT" in each]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"CVAT_URL": None}, "CVAT_URL is not set"),
        ({"CVAT_USERNAME": ""}, "CVAT_USERNAME is not set"),
        ({"CVAT_PASSWORD": None}, "CVAT_PASSWORD is not set"),
        ({"CVAT_DOWNLOAD_SPLIT": "a=1"}, "SPLIT is set without"),
    ],
)
def test_from_python_too_what_is_missing_is_said_before_anything_is_done(tmp_path, changes, said):
    given = SERVER | {"CVAT_DOWNLOAD_OUTPUT_DIR": str(tmp_path / "out")} | changes
    given = {name: value for name, value in given.items() if value is not None}
    with pytest.raises(RunEnds, match=said) as caught:
        download(DatasetSettings.model_validate(given))
    assert caught.value.exit_code == Exit.BAD_CONFIGURATION and not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", ["1,2,1", "[1, 2, 1]", [1, 2, 1], ("1", 2, 1)])
def test_an_id_that_is_named_twice_is_meant_once(given):
    assert settings(task_ids=given).task_ids == (1, 2)


@pytest.mark.parametrize("given", ["[]", ",", "[ , ]", [], ()])
@pytest.mark.parametrize("key", ["task_ids", "include"])
def test_a_list_that_turned_out_empty_does_not_mean_the_whole_server(key, given):
    if (key, given) in (("include", "[]"), ("include", "[ , ]")):
        given = " , "  # brackets are part of a name
    with pytest.raises(ValidationError, match="is an empty list: name what is wanted, or say null for all"):
        settings(**{key: given})


def test_a_subset_may_be_called_none():
    assert settings(subset="none").subset == "none" and settings(run_id="any").run_id == "any"


@pytest.mark.parametrize("text", ["0001-01-01T00:00+10:00", "9999-12-31T23:00-10:00", "yesterday"])
def test_a_date_that_is_none_or_out_of_range_is_a_bad_value(text):
    with pytest.raises(ValidationError, match="is no date"):
        settings(updated_since=text)


def test_whether_jobs_are_completed_is_asked_of_every_task_unless_a_status_is_named():
    assert settings().required_status == "completed"
    assert settings(jobs_completed="true").required_status is None
    assert settings(jobs_completed="true", required_status="completed").required_status == "completed"


def test_a_projects_name_is_answered_with_where_its_id_stands():
    with pytest.raises(ValidationError, match="the number at the end of the project's address in CVAT"):
        settings(project_id="Harbour cranes")
