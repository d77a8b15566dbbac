#!/usr/bin/env python3
"""Sends samples of a FiftyOne dataset to CVAT and loads the labels back, on FiftyOne's own API: edit the names below.

    python examples/cvat_annotation_example.py create      one task in CVAT with the first samples
    python examples/cvat_annotation_example.py load        its labels, into the dataset
    python examples/cvat_annotation_example.py cleanup     deletes the task and the record of the run; labels stay

"python" is one that has FiftyOne, with FIFTYONE_CVAT_URL, FIFTYONE_CVAT_USERNAME and FIFTYONE_CVAT_PASSWORD in its
environment; fiftyone_app.py starts it so, with the settings of .env and .env.local (CVAT_SYNC=true):

    python fiftyone_app.py python examples/cvat_annotation_example.py create

This is the bare API: short, and with its sharp edges (docs/fiftyone.md measures them). It waits without end when CVAT
cannot take an image; a failed create leaves a task and a record behind; polygons of several parts and masks come back
changed. fiftyone_sync.py does the same steps without them.
"""

from __future__ import annotations

import os
import sys
from typing import Any

# --- edit these ---
# An existing dataset. Which there are: python fiftyone_app.py python -- -c "import fiftyone as fo; print(fo.list_datasets())"
DATASET_NAME = "my-dataset"
# The name of this run: letters, digits and _; create refuses one that exists.
ANNO_KEY = "my_annotation_run"
# The field to label: a new one, or one whose labels are to be edited; and what it holds (the table in docs/fiftyone.md).
LABEL_FIELD = "ground_truth"
LABEL_TYPE = "detections"
# Labels of other classes are not sent, and stay as they are.
CLASSES = ["class1", "class2", "class3"]
# None, or "my_project": a project that exists rules over CLASSES, and its labels keep a new attribute for good.
PROJECT_NAME = None
# Only so many, to try it.
SAMPLES = 10
# True opens CVAT in a browser: only for somebody who sits before this machine.
LAUNCH_EDITOR = False
# --- until here ---

NAMES = ("url", "username", "password", "email")


def credentials() -> dict[str, str]:
    """Handed over as arguments, because FiftyOne reads a password 0012345 from the environment as the number 12345."""
    found = {name: os.environ.get(f"FIFTYONE_CVAT_{name.upper()}", "") for name in NAMES}
    if missing := [f"FIFTYONE_CVAT_{name.upper()}" for name in NAMES[:3] if not found[name]]:
        # FiftyOne would ask for them at the keyboard.
        raise SystemExit(f"{', '.join(missing)} must be set; fiftyone_app.py does that when CVAT_SYNC=true (see above)")
    return {name: value for name, value in found.items() if value}


def create(dataset: Any, signing_in: dict[str, str]) -> None:
    if dataset.has_annotation_run(ANNO_KEY):
        raise SystemExit(f"the run {ANNO_KEY} exists: load it, clean it up, or choose another ANNO_KEY")
    view = dataset.take(SAMPLES, seed=51)
    try:
        view.annotate(
            ANNO_KEY,
            backend="cvat",
            label_field=LABEL_FIELD,
            label_type=LABEL_TYPE,
            classes=CLASSES,
            project_name=PROJECT_NAME,
            task_size=500,  # a task is one request, and lies in memory as a whole
            coerce_text_attrs=False,  # or the text "007" of an attribute comes back as the number 7
            launch_editor=LAUNCH_EDITOR,
            **signing_in,
        )
    except Exception:
        print(
            f"It failed: look for a task FiftyOne_{DATASET_NAME} in CVAT. The record of the run is deleted, not the task."
        )
        if dataset.has_annotation_run(ANNO_KEY):
            dataset.delete_annotation_run(ANNO_KEY)
        raise
    print(dataset.get_annotation_info(ANNO_KEY))


def load(dataset: Any, signing_in: dict[str, str]) -> None:
    # "keep": shapes of another kind than the field's go into fields of their own, instead of a question at the keyboard.
    dataset.load_annotations(ANNO_KEY, unexpected="keep", **signing_in)
    print(f"loaded {ANNO_KEY} into {DATASET_NAME}: look at it in the App (docs/fiftyone.md)")


def cleanup(dataset: Any, signing_in: dict[str, str]) -> None:
    results = dataset.load_annotation_results(ANNO_KEY, **signing_in)
    if results is not None:  # else its create failed
        results.cleanup()
    dataset.delete_annotation_run(ANNO_KEY)
    print(
        f"deleted the tasks and the record of {ANNO_KEY}"
        + (f"; the project {PROJECT_NAME} stays" if PROJECT_NAME else "")
    )


STEPS = {"create": create, "load": load, "cleanup": cleanup}


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in STEPS:
        print(__doc__)
        sys.exit(1)
    signing_in = credentials()
    import fiftyone as fo  # here, so that a wrong argument is told at once: this takes seconds

    if not fo.dataset_exists(DATASET_NAME):
        raise SystemExit(f"there is no dataset {DATASET_NAME!r}: edit DATASET_NAME; there are {fo.list_datasets()}")
    STEPS[sys.argv[1]](fo.load_dataset(DATASET_NAME), signing_in)


if __name__ == "__main__":
    main()
