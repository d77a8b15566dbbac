#!/usr/bin/env python3
"""A project with one task, of the images of COCO that show a dog.

python create_coco_project_single_task.py [COCO FOLDER] [detection|segmentation|classification]
"""

from __future__ import annotations

import sys

from connection import connect

FOLDER = sys.argv[1] if len(sys.argv) > 1 else "coco"
PROJECT_TYPE = sys.argv[2] if len(sys.argv) > 2 else "detection"
# A classification project needs two labels: dog or cat.
LABELS = ["dog", "cat"] if PROJECT_TYPE == "classification" else ["dog"]

report = connect().create_project_single_task_from_dataset(
    f"COCO dog {PROJECT_TYPE}", PROJECT_TYPE, FOLDER, labels=LABELS, data_format="coco", number_of_images_to_upload=50
)
print(f"{report.name}: {report.images} images, {report.shapes} shapes, {report.where}")
