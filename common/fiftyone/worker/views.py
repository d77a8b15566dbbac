"""The dataset that a request names, and the samples of it that are wanted."""

from __future__ import annotations

from typing import Any

from common.fiftyone.protocol import BAD_REQUEST, Failed


def open_dataset(name: str) -> Any:
    """The dataset. Raises Failed when there is none of that name."""
    import fiftyone as fo

    if not fo.dataset_exists(name):
        near = ", ".join(sorted(fo.list_datasets())[:10]) or "none at all"
        raise Failed(BAD_REQUEST, f"FiftyOne has no dataset {name!r}; it has {near}")
    return fo.load_dataset(name)


def chosen(dataset: Any, wanted: dict[str, Any]) -> tuple[Any, list[str]]:
    """The samples with these `ids`, of them those with one of `tags`, of them the first `limit`; ids that do not exist."""
    view, missing = dataset.view(), []
    ids = list(wanted.get("ids") or ())
    if ids:
        there = set(dataset.values("id"))
        missing = [each for each in ids if each not in there]
        view = view.select([each for each in ids if each in there])
    if wanted.get("tags"):
        view = view.match_tags(list(wanted["tags"]))
    if wanted.get("limit"):
        view = view.limit(int(wanted["limit"]))
    return view, missing
