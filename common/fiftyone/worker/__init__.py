"""The side of the wall that has FiftyOne: `python -m common.fiftyone.worker`. Standard library and fiftyone only."""
