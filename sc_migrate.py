#!/usr/bin/env python3
"""Downloads, uploads and migrates projects of Sonoma Creek (SC) and Intel Geti servers, whole or with a list of gaps.

A run: sign in (and find out which generation of server it is), choose the projects, carry each over, compare it with
what the server says, report. A second run goes on where the first one stopped. docs/migrating.md tells the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from common.exits import Exit
from common.migrating import commands
from common.run import Run, frame, leave
from common.sc.settings import ScSettings, missing_server


def cvat_to_sc(run: commands.ScRun) -> int:
    from common.migrating import bridge  # all of the client of CVAT: for these two commands only

    return bridge.cvat_to_sc(run)


def sc_to_cvat(run: commands.ScRun) -> int:
    from common.migrating import bridge

    return bridge.sc_to_cvat(run)


COMMANDS = {
    "list": commands.list_all,
    "download": commands.download,
    "download-all": commands.download,
    "upload": commands.upload,
    "upload-all": commands.upload,
    "migrate": commands.migrate,
    "verify": commands.verify,
    "create-from-dataset": commands.create_from_dataset,
    "configure": commands.configure,
    "export-archive": commands.export,
    "import-archive": commands.import_,
    "cvat-to-sc": cvat_to_sc,
    "sc-to-cvat": sc_to_cvat,
}
EXAMPLES = """
  sc_migrate.py list
  sc_migrate.py download "Weeds"                        into a folder of its own below SC_DIR
  sc_migrate.py download-all --models --predictions
  sc_migrate.py upload sc-projects/6255…_Weeds --name "Weeds 2"
  sc_migrate.py migrate --all                           from SC_HOST to SC_TARGET_HOST
  sc_migrate.py verify sc-projects/6255…_Weeds --server
  sc_migrate.py configure Weeds auto_train=false iterations=500
  sc_migrate.py create-from-dataset coco/ --type detection --labels dog,cat --name Pets
  sc_migrate.py cvat-to-sc "Street scenes"              a project of CVAT_URL, or a backup file of CVAT
  sc_migrate.py sc-to-cvat "Weeds"                      into CVAT_URL; with --into FOLDER only as a backup file
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="sc_migrate.py", description=(__doc__ or "").split("\n")[0], allow_abbrev=False, epilog=f"examples:{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("what", nargs="*", help="projects by name or id; folders; for configure also NAME=VALUE")
    parser.add_argument("--all", action="store_true", help="migrate: every project")
    parser.add_argument(
        "--into", metavar="FOLDER", help="download, export-archive, sc-to-cvat: this folder (default: below SC_DIR)"
    )
    parser.add_argument("--name", help="upload, migrate, import-archive, create-from-dataset: the new project's name")
    there = parser.add_mutually_exclusive_group()
    there.add_argument("--resume", action="store_true", help="a project of that name is there: go on with uploading it")
    there.add_argument("--merge", action="store_true", help="a project of that name is there: add to it")
    parser.add_argument("--models", action="store_true", help="download: model files too (they cannot be uploaded)")
    parser.add_argument("--predictions", action="store_true", help="download: predictions too, as data")
    parser.add_argument("--server", action="store_true", help="verify: also compare with the project on SC_HOST")
    parser.add_argument(
        "--include-models", choices=["all", "none", "latest_active"], default="all", help="export-archive"
    )
    parser.add_argument("--keep-spool", action="store_true", help="migrate: keep the files after a complete migration")
    dataset = parser.add_argument_group("create-from-dataset, cvat-to-sc")
    dataset.add_argument("--type", dest="project_type", choices=commands.PROJECT_TYPES, help="the tasks of the project")
    dataset.add_argument(
        "--format", metavar="FORMAT", help="coco, voc, yolo, datumaro, cvat, imagenet; default: found out"
    )
    dataset.add_argument("--labels", metavar="A,B", help="only these labels; a second task's after a semicolon")
    dataset.add_argument("--images", type=int, default=0, metavar="N", help="so many images at most")
    return frame(ScSettings, parser, argv, run, also_check=what_is_missing)


def what_is_missing(arguments: argparse.Namespace, raw: Mapping[str, str]) -> list[str]:
    """What this call needs and does not have."""
    problems = commands.wrong_arguments(arguments)
    if arguments.command in ("cvat-to-sc", "sc-to-cvat"):
        from common.migrating import bridge

        needs_sc = bridge.needs_sc(arguments.command, arguments.what)
        if bridge.needs_cvat(arguments.command, arguments.what, arguments.into):
            problems += bridge.cvat_problems()
        if arguments.command == "cvat-to-sc" and "_to_" in (arguments.project_type or ""):
            problems.append(f"cvat-to-sc makes one task: --type is one of {', '.join(bridge.TYPES)}")
    else:
        needs_sc = arguments.command != "verify" or arguments.server
    if needs_sc:
        problems += missing_server(raw, "SC_")
    if arguments.command == "migrate":
        problems += missing_server(raw, "SC_TARGET_")
    return problems


def run(run: Run[ScSettings]) -> int:
    """One run of the script."""
    return Exit(COMMANDS[run.arguments.command](run))


if __name__ == "__main__":
    leave(main())
