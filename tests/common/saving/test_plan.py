"""From the server's list to what is saved: everything is decided about exactly once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.backups.journal import History
from common.backups.store import Store
from common.cvat.client import Account
from common.cvat.errors import CvatError
from common.cvat.listing import Inventory
from common.exits import Exit, RunEnds
from common.saving.plan import known_format, make_plan, offered_formats, require_something
from common.saving.settings import BackupSettings
from common.text import now
from sandbox.cvat import Fault
from tests.common.making import a_source, a_state

ADMIN, WORKER = Account(1, "admin", True), Account(2, "worker", False)
STATES = [
    a_state(a_source(id=1, name="road")),
    a_state(a_source(id=2, name="test road")),
    a_state(a_source(kind="task", id=3, name="loose")),
    a_state(a_source(kind="task", id=4, name="no data"), has_images=False),
]
LISTED = Inventory(STATES, 2, 2)


def planned(tmp_path, modes, listed=LISTED, histories=None, force=False, **changes):
    settings = BackupSettings.model_validate({"CVAT_BACKUP_DIR": str(tmp_path)} | changes)
    store = Store(settings.dir, "cvat.example.com")
    store.learn()
    formats = {"CVAT for images 1.1": "2d"}
    return make_plan(listed, modes, settings, store, formats, histories or {}, now(), force=force), settings


def names(plan):
    return [(each.mode, str(each.state.source)) for each in plan.candidates]


def test_mode_p_saves_projects_and_loose_tasks(tmp_path):
    plan, _ = planned(tmp_path, ["p"])
    assert names(plan) == [("p", "project 1"), ("p", "project 2"), ("p", "task 3")]
    assert plan.tallies["p"].counts["without data"] == 1 and plan.tallies["p"].listed == 4


def test_loose_tasks_can_be_left_to_mode_t(tmp_path):
    plan, _ = planned(tmp_path, ["p"], CVAT_BACKUP_STANDALONE_TASKS="false")
    assert plan.tallies["p"].listed == 2


def test_with_p_and_t_in_one_call_each_source_has_one_line(tmp_path):
    plan, _ = planned(tmp_path, ["t", "p"])
    assert names(plan) == [("p", "project 1"), ("p", "project 2"), ("t", "task 3")]
    assert (plan.tallies["t"].listed, plan.tallies["p"].listed) == (2, 2)


def test_mode_a_saves_beside_the_others(tmp_path):
    plan, _ = planned(tmp_path, ["p", "a"])
    assert len(plan.candidates) == 6


def test_filters_leave_out_and_the_sum_still_adds_up(tmp_path):
    plan, _ = planned(tmp_path, ["p"], CVAT_BACKUP_INCLUDE="*road*", CVAT_BACKUP_EXCLUDE="test*")
    assert names(plan) == [("p", "project 1")]
    assert plan.tallies["p"].excluded == 3 and plan.tallies["p"].missing == 1


def test_what_was_postponed_comes_first(tmp_path):
    histories = {"p": History(frozenset({STATES[2].source.key}), {}, 0)}
    plan, _ = planned(tmp_path, ["p"], histories=histories)
    assert names(plan)[0] == ("p", "task 3")


@given(
    st.lists(st.sampled_from(["p", "a", "t"]), min_size=1, unique=True),
    st.sampled_from(["", "*road*", "project:1", "x"]),
)
def test_candidates_and_lines_and_exclusions_are_all_that_was_listed(tmp_path, modes, include):
    plan, _ = planned(tmp_path, modes, CVAT_BACKUP_INCLUDE=include)
    for mode, tally in plan.tallies.items():
        assert tally.missing == sum(each.mode == mode for each in plan.candidates)


def refused(tmp_path, listed, account=ADMIN, modes=("p",), **changes):
    plan, settings = planned(tmp_path, modes, listed, **changes)
    with pytest.raises(RunEnds) as caught:
        require_something(listed, plan, account, settings)
    return caught.value


def test_an_account_that_sees_nothing_is_told_which_rights_it_lacks(tmp_path):
    error = refused(tmp_path, Inventory([], 0, 0), WORKER)
    assert "'worker' sees no project and no task on this server" in error.why
    assert "no superuser" in error.remedy and "maintainer or owner" in error.remedy
    assert error.exit_code == Exit.NOTHING_WORKED


def test_an_empty_server_is_an_error_for_a_superuser_too(tmp_path):
    assert "is empty" in refused(tmp_path, Inventory([], 0, 0)).remedy


def test_an_organization_without_anything_is_named(tmp_path):
    assert "in organization 'lab'" in refused(tmp_path, Inventory([], 0, 0), CVAT_ORGANIZATION="lab").why


def test_filters_that_leave_nothing_are_a_wrong_configuration(tmp_path):
    error = refused(tmp_path, LISTED, CVAT_BACKUP_INCLUDE="nothing like this")
    assert error.exit_code == Exit.BAD_CONFIGURATION and "leave none of the 4 sources" in error.why


def test_a_server_without_loose_tasks_is_nothing_unusual_for_mode_t(tmp_path):
    listed = Inventory(STATES[:2], 2, 0)
    plan, settings = planned(tmp_path, ["t"], listed)
    require_something(listed, plan, WORKER, settings)
    assert plan.tallies["t"].listed == 0


def test_a_server_without_projects_is_unusual_for_mode_p(tmp_path):
    listed = Inventory(STATES[2:], 0, 2)
    error = refused(tmp_path, listed, modes=("p",), CVAT_BACKUP_STANDALONE_TASKS="false")
    assert "nothing that these modes deal with" in error.why


def test_something_to_save_is_no_error(tmp_path):
    plan, settings = planned(tmp_path, ["p"])
    require_something(LISTED, plan, WORKER, settings)


def test_formats_are_those_that_the_server_offers(sandbox, signed_in):
    server = sandbox()
    client = signed_in(server)
    formats = offered_formats(client)
    assert formats["CVAT for images 1.1"] == "2d" and "3d" in formats.values()
    server.faults.add(Fault("annotation/formats", "status", status=200, body={"importers": []}))
    with pytest.raises(CvatError, match="list of dataset formats"):
        offered_formats(client)


def test_a_format_is_known_in_any_case_and_a_wrong_one_gets_the_nearest():
    offered = {"CVAT for images 1.1": "2d", "COCO 1.0": "2d"}
    assert known_format("coco 1.0", offered) == "COCO 1.0"
    with pytest.raises(RunEnds, match=r"did you mean 'CVAT for images 1\.1'") as caught:
        known_format("CVAT for image", offered)
    assert caught.value.exit_code == Exit.BAD_CONFIGURATION
    with pytest.raises(RunEnds, match=r"server; it offers: COCO 1\.0, CVAT for images 1\.1$"):
        known_format("zzz", offered)


KINDS = ("Classification", "Detection", "Detection Track", "Oriented Bounding Boxes", "Pose", "Segmentation")
ULTRALYTICS = [f"Ultralytics YOLO {kind} 1.0" for kind in KINDS]
FORMATS = dict.fromkeys((*ULTRALYTICS, "YOLO 1.1", "COCO 1.0", "COCO Keypoints 1.0", "PASCAL VOC 1.1", "MOT 1.1"), "2d")


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("YOLOv8", ULTRALYTICS),
        ("yolo11", ULTRALYTICS),
        ("yolo v5 pose", ["Ultralytics YOLO Pose 1.0"]),
        ("Ultralytics", ULTRALYTICS),
        ("yolo1.1", ["YOLO 1.1"]),
        ("yolo", [*ULTRALYTICS, "YOLO 1.1"]),
        ("coco_instances", ["COCO 1.0", "COCO Keypoints 1.0"]),
        ("Pascal-VOC", ["PASCAL VOC 1.1"]),
        ("pasqal", ["PASCAL VOC 1.1"]),
    ],
)
def test_every_format_that_may_be_meant_is_named_and_all_that_there_are(wanted, meant):
    with pytest.raises(RunEnds) as caught:
        known_format(wanted, FORMATS)
    named = caught.value.why.partition("did you mean ")[2].partition("? It offers: ")
    assert named[0].split(" or ") == [repr(name) for name in meant] and named[2] == ", ".join(sorted(FORMATS))
