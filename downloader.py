#!/usr/bin/env python3
"""Downloads annotations and masks from CVAT (--mode datasets), or the images
that a CSV names from S3 (--mode images).

Each mode has settings of its own: see downloader.py --mode datasets --help, and
downloader.py --mode images --help. docs/downloads.md explains all of them.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from common.exits import Exit

MODES = ("datasets", "images")
EXAMPLES = """examples:
  downloader.py --mode datasets --project-id 5 --dataset-format "COCO 1.0"
  downloader.py --csv-file names.csv --output-dir images --bucket my-bucket
"""


def main(argv: Sequence[str] | None = None) -> int:
    mode = chosen_mode(argv)
    if mode == "images":
        # What is loaded here, and names and objects by the million, hold no cycles: looking for some cost a tenth of the time.
        gc.set_threshold(200_000, 20, 50)
        # pydantic would look into the metadata of every installed package for plugins, of which we use none.
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
        # First of all: what it needs is loaded by another process meanwhile.
        from common.s3.opener import Opener

        opener = Opener()
    import argparse

    from common.run import Run, frame

    parser = argparse.ArgumentParser(
        prog="downloader.py",
        description=__doc__,
        epilog=EXAMPLES,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--mode", choices=MODES, help="what is downloaded; not needed with --csv-file (images) and -o (datasets)"
    )
    # Each mode loads its own room and settings only: nobody who downloads datasets needs what S3 needs.
    if mode == "datasets":
        from common.datasets.run import add_dataset_arguments, run_datasets
        from common.datasets.settings import DatasetSettings, what_is_missing

        add_dataset_arguments(parser)
        return frame(DatasetSettings, parser, argv, run_datasets, also_check=what_is_missing)
    if mode == "images":
        from common.images.settings import ImageSettings, add_image_arguments, what_is_missing, with_address

        add_image_arguments(parser)

        def fetch(run: Run[ImageSettings]) -> int:
            opener.begin(with_address(run.settings).reach)
            from common.images.run import run_images  # takes as long as the answer does

            return run_images(run, opener)

        return frame(ImageSettings, parser, argv, fetch, also_check=what_is_missing)
    parser.parse_known_args(argv)  # says what is wrong with the mode; flags are those of a mode
    parser.print_usage(sys.stderr)
    print("configuration: say what to download: --mode datasets, or --mode images --csv-file FILE", file=sys.stderr)
    return Exit.BAD_CONFIGURATION


def chosen_mode(argv: Sequence[str] | None) -> str | None:
    """The mode that the command line asks for; None when it says nothing, or nonsense, which argparse then names."""
    words = sys.argv[1:] if argv is None else list(argv)
    wanted, implied = None, None
    for word, following in zip(words, [*words, ""][1:], strict=True):
        flag, has_value, value = word.partition("=")
        if flag == "--mode":
            wanted = value if has_value else following
        elif flag == "--csv-file":
            implied = "images"
        elif word.startswith("-o"):
            implied = implied or "datasets"
    mode = wanted or implied
    return mode if mode in MODES else None


if __name__ == "__main__":
    code = main()
    from common.run import leave

    leave(code)
