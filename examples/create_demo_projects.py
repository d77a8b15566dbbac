#!/usr/bin/env python3
"""Six demo projects, one for each kind of task, of a COCO folder.

python create_demo_projects.py [COCO FOLDER] [IMAGES PER PROJECT]
"""

from __future__ import annotations

import sys

from connection import connect

FOLDER = sys.argv[1] if len(sys.argv) > 1 else "coco"
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 50
SINGLE = (
    ("Segmentation demo", "segmentation", "dog,person"),
    ("Detection demo", "detection", "horse,cat"),
    ("Classification demo", "classification", "horse,dog,cat"),
    ("Anomaly classification demo", "anomaly", "dog,cat,horse,cow,sheep,bird;car,bicycle"),
)
CHAINS = (
    ("Animal detection to segmentation demo", "detection_to_segmentation"),
    ("Animal detection to classification demo", "detection_to_classification"),
)

client = connect()
for name, project_type, labels in SINGLE:
    report = client.create_project_single_task_from_dataset(
        name, project_type, FOLDER, labels=labels, data_format="coco", number_of_images_to_upload=COUNT
    )
    print(f"{report.name}: {report.images} images, {report.shapes} shapes, {report.where}")
for name, project_type in CHAINS:
    report = client.create_task_chain_project_from_dataset(
        name, project_type, FOLDER, label_names_task_1=["animal"], label_names_task_2=["horse", "dog", "cat"],
        data_format="coco", number_of_images_to_upload=COUNT,
    )  # fmt: skip
    print(f"{report.name}: {report.images} images, {report.shapes} shapes, {report.where}")
