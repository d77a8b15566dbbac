"""`check`: whether everything that a `create` needs is there, without creating anything."""

from __future__ import annotations

from common.annotating import report
from common.annotating.creating import look
from common.annotating.desk import Desk, SyncRun
from common.exits import Exit, RunEnds, Trouble
from common.fiftyone.process import WorkerFailed
from common.log import MASK
from common.run import say
from common.text import plural, printable


def check(run: SyncRun) -> int:
    """Raises Stopped. What fails is a line of its own, and the exit code."""
    desk = Desk(run)
    codes = [_server(desk), _fiftyone(desk)]
    if desk.settings.dataset and codes[1] == Exit.ALL_GOOD:
        codes.append(_dataset(desk, codes[0] == Exit.ALL_GOOD))
    _handed_on(desk)
    bad = [code for code in codes if code != Exit.ALL_GOOD]
    if not bad:
        missing = _not_set(desk)
        say(f"All good so far; create also needs {missing}." if missing else "All good: a create can begin.")
        return Exit.ALL_GOOD
    say(f"{plural(len(bad), 'thing')} to put right, see above. Nothing was created.")
    return bad[0]


def _server(desk: Desk) -> Exit:
    settings = desk.settings
    if not settings.cvat_sync:
        print("CVAT      CVAT_SYNC=false: nothing is sent and nothing is loaded")
        return Exit.ALL_GOOD
    try:
        client = desk.client
    except (RunEnds, Trouble) as error:
        print(f"CVAT      {_sentence(error)}")
        return error.exit_code if isinstance(error, RunEnds) else Exit.NOTHING_WORKED
    where = f", organization {settings.where!r}" if settings.where else ""
    print(f"CVAT      {client.url}, version {desk.server_version}, signed in as {desk.account.username!r}{where}")
    if settings.access_token is not None:
        print("          CVAT_ACCESS_TOKEN is not used here: FiftyOne signs in with user and password only")
    if not settings.verify_tls and settings.ca_bundle is None:
        print("          CVAT_VERIFY_TLS=false: anybody on the way can read the password")
    elif settings.url.startswith("http://"):
        print("          http://: anybody on the way can read the password")
    print("          FiftyOne by itself (in a notebook, in the App) never verifies TLS; this script does")
    return Exit.ALL_GOOD


def _fiftyone(desk: Desk) -> Exit:
    try:
        found = desk.worker.ask({"do": "version"})
    except RunEnds as error:
        print(f"FiftyOne  {_sentence(error)}")
        return error.exit_code
    print(f"FiftyOne  {found['fiftyone']} with Python {found['python']} ({desk.worker.python})")
    if not found["supported"]:
        print("          this version is not supported: install the one that requirements-fiftyone.txt names")
        return Exit.BAD_CONFIGURATION
    return Exit.ALL_GOOD


def _not_set(desk: Desk) -> str:
    """The settings that `create` needs and that are not there."""
    settings = desk.settings
    label = bool(settings.label_field or settings.label_schema)
    needed = {"DATASET": settings.dataset, "ANNO_KEY": settings.anno_key, "LABEL_FIELD": label}
    return ", ".join(f"FIFTYONE_SYNC_{name}" for name, value in needed.items() if not value)


def _dataset(desk: Desk, ask_server: bool) -> Exit:
    """Without `ask_server`, which did not answer before, only FiftyOne is asked."""
    settings = desk.settings
    label = bool(settings.label_field or settings.label_schema)
    whole, findings, seen = settings.cvat_sync and label and ask_server, None, None
    try:
        if not whole or settings.media_dir is not None:
            seen = desk.worker.ask({"do": "describe", "dataset": settings.dataset})
        if whole and (seen is None or seen["exists"]):
            _, findings, _, seen = look(desk, build=False)
    except (RunEnds, Trouble) as error:
        print(f"dataset   {_sentence(error)}")
        return error.exit_code if isinstance(error, RunEnds) else Exit.NOTHING_WORKED
    assert seen is not None
    if not seen["exists"]:
        made = f"; create makes it of {settings.media_dir}" if settings.media_dir else ""
        print(f"dataset   FiftyOne has no {settings.dataset!r}{made}")
        return Exit.ALL_GOOD if made else Exit.BAD_CONFIGURATION
    print(f"dataset   {printable(settings.dataset)}: {plural(seen['samples'], seen['media_type'] or 'sample')}")
    if findings is None:
        return Exit.ALL_GOOD
    report.print_findings(findings.problems, findings.warnings)
    return Exit.BAD_CONFIGURATION if findings.problems else Exit.ALL_GOOD


def _handed_on(desk: Desk) -> None:
    """What FiftyOne gets, as the service and the document have it."""
    names = desk.handed_on
    for name in ("URL", "USERNAME", "PASSWORD", "EMAIL"):
        variable = f"FIFTYONE_CVAT_{name}"
        value = names.get(variable)
        shown = "(not handed on)" if value is None else MASK if name == "PASSWORD" else value
        print(f"          {variable}={shown}")


def _sentence(error: RunEnds | Trouble | WorkerFailed) -> str:
    if isinstance(error, RunEnds):
        return f"{error.why} {error.remedy}".strip()
    return str(error)
