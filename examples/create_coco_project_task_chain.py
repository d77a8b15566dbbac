#!/usr/bin/env python3
"""A project with two tasks: dogs are found, then outlined as "dog shape".

python create_coco_project_task_chain.py [COCO FOLDER]
"""

from __future__ import annotations

import sys

from connection import connect

FOLDER = sys.argv[1] if len(sys.argv) > 1 else "coco"

report = connect().create_task_chain_project_from_dataset(
    "COCO dog detection to segmentation",
    "detection_to_segmentation",
    FOLDER,
    label_names_task_1=["dog"],
    label_names_task_2=["dog=dog shape"],
    data_format="coco",
    number_of_images_to_upload=50,
)
print(f"{report.name}: {report.images} images, {report.shapes} shapes, {report.where}")
