"""The dataset's fields: their types, and those that a load makes."""

from __future__ import annotations

from typing import Any

import fiftyone.core.fields as fof
import fiftyone.core.labels as fol

from common.fiftyone.schema import SCALAR, SEGMENTATION, Field
from common.fiftyone.values import NotThisType, scalar
from common.fiftyone.worker.labels import STORED
from common.fiftyone.worker.originals import FRAMES

SCALARS: dict[type, Any] = {int: fof.IntField, float: fof.FloatField, bool: fof.BooleanField, str: fof.StringField}


class FieldRefused(ValueError):
    """Labels cannot go into this field."""

    kind = "bad_request"


def label_class(field: Field) -> Any:
    """FiftyOne's class of a field's values."""
    if field.kind == SEGMENTATION:
        return fol.Segmentation
    return getattr(fol, STORED[field.kind][0 if field.single else 1])


def holds(dataset: Any, path: str, field: Field) -> bool | None:
    """Whether the dataset's field can hold what `field` holds; None: there is no such field."""
    there = dataset.get_field(path)
    if there is None:
        return None
    if field.kind == SCALAR:
        return isinstance(there, tuple(SCALARS.values()))
    return isinstance(there, fof.EmbeddedDocumentField) and issubclass(there.document_type, label_class(field))


def scalar_type(dataset: Any, path: str) -> type | None:
    """The type of a scalar field's values; None: there is no such field yet."""
    there = dataset.get_field(path)
    return next((kind for kind, of in SCALARS.items() if isinstance(there, of)), None)


def guessed_type(text: str) -> type:
    """The type of a new scalar field by its first value."""
    for kind in (int, float, bool):
        try:
            if text.strip() and scalar(text, kind) is not None:
                return kind
        except NotThisType:
            continue
    return str


def make(dataset: Any, path: str, field: Field, kind: type | None = None) -> None:
    """Makes a field, for samples or for frames by its name."""
    add = dataset.add_frame_field if path.startswith(FRAMES) else dataset.add_sample_field
    name = path.removeprefix(FRAMES)
    if field.kind == SCALAR:
        add(name, SCALARS[kind or str])
    else:
        add(name, fof.EmbeddedDocumentField, embedded_doc_type=label_class(field))


def unmake(dataset: Any, path: str) -> bool:
    """Takes a field away that a load made, unless it holds something by now."""
    there = dataset.get_field(path)
    if there is None:
        return False
    name = path.removeprefix(FRAMES)
    of_frames = path.startswith(FRAMES)
    collection = dataset._frame_collection if of_frames else dataset._sample_collection
    if collection.find_one({there.db_field or name: {"$ne": None}}, {"_id": 1}) is not None:
        return False
    (dataset.delete_frame_field if of_frames else dataset.delete_sample_field)(name)
    return True
