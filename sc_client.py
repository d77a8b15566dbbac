"""SC and Geti projects from Python: `from sc_client import SCRESTClient`, after `pip install .`

    client = SCRESTClient(host="https://geti.example.com", username="user", password="…")   # or token="…"
    client.download_project("Weeds")                      # into the folder Weeds of the present folder
    client.upload_project("Weeds", project_name="Weeds 2")

Every method does what the command of sc_migrate.py of that name does: it goes on where an earlier call was broken off,
compares what it carried with what the server says, and raises Incomplete rather than leave anything out silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import SecretStr

from common import log
from common.exits import Trouble
from common.lock import Locked
from common.migrating.commands import known_folder, project_from_dataset
from common.migrating.download import Wanted, download_project
from common.migrating.folder import project_folders
from common.migrating.making import Order
from common.migrating.names import project_folder
from common.migrating.report import Report
from common.migrating.source import open_source
from common.migrating.upload import upload_project
from common.migrating.upload_job import IfThere
from common.sc import configuration
from common.sc.address import base_url
from common.sc.projects import Project, choose, get_project, list_projects
from common.sc.settings import Server
from common.sc.signing_in import connect
from common.waiting import StopSignal

__all__ = ["Incomplete", "Report", "SCRESTClient"]


class Incomplete(Trouble):
    """Something is missing: `reports` say what of which project (`report.gaps`, one sentence each)."""

    def __init__(self, reports: Sequence[Report]) -> None:
        bad = [each for each in reports if each.gaps]
        super().__init__("; ".join(f"{each.name}: {each.gaps[0]} (of {len(each.gaps)})" for each in bad))
        self.reports = list(reports)


def _whole(report: Report) -> Report:
    if report.gaps:
        raise Incomplete([report])
    return report


class SCRESTClient:
    """A signed-in connection to one workspace of an SC 1.1, Geti 1.x or Geti 2.x server.

    host: address of the server; a pasted page address is understood; http:// only with `allow_http`.
    username, password: a user; or token: a personal access token (Geti 1.x and 2.x).
    workspace: name or id, needed where there are several. ca_bundle: PEM file with the certificates to trust.
    timeout_seconds: longest silence on a connection; wait_seconds: how long a server that is down is waited for.
    connections: most requests under way at the same time; more than 10 only while that makes it faster.

    Raises RunEnds (common.exits): credentials refused, no such server, no such workspace.
    """

    def __init__(
        self,
        host: str,
        username: str = "",
        password: str = "",
        *,
        token: str = "",
        workspace: str = "",
        verify_certificate: bool = True,
        ca_bundle: str | Path | None = None,
        allow_http: bool = False,
        timeout_seconds: float = 60,
        wait_seconds: float = 300,
        connections: int = 20,
    ) -> None:
        log.set_up_for_library()
        url = base_url(host)
        if url.startswith("http://") and not allow_http:
            raise ValueError(
                "host is plain http: credentials would travel in the clear; say allow_http=True to permit it"
            )
        server = Server(
            url, "SC_", SecretStr(token) if token else None, username, SecretStr(password) if password else None,
            workspace, verify_certificate, Path(ca_bundle) if ca_bundle else None, timeout_seconds, wait_seconds,
            connections,
        )  # fmt: skip
        self._client = connect(server, StopSignal())

    def list_projects(self) -> list[Project]:
        """Every project of the workspace as the server lists it: dicts with id, name, pipeline."""
        return list_projects(self._client)

    # --- down -----------------------------------------------------------------------------------------------

    def download_project(
        self,
        project_name: str,
        target_folder: str | Path | None = None,
        *,
        models: bool = False,
        predictions: bool = False,
    ) -> Report:
        """Downloads a project, by name or id, to `target_folder` (default: its name, in the present folder).

        Everything: parameters, configuration, all datasets, images, videos, annotations of images and of every frame;
        with `models` and `predictions` those too. The report counts images, videos, scenes, shapes and bytes.
        Raises Incomplete when anything is missing, Trouble, RunEnds (no such project, or several of the name).
        """
        project = choose(list_projects(self._client), project_name)
        folder = Path(target_folder) if target_folder else Path(open_name(str(project["name"])))
        return _whole(
            download_project(self._client, str(project["id"]), folder.absolute(), Wanted(predictions, models))
        )

    def download_all_projects(
        self, target_folder: str | Path = ".", *, models: bool = False, predictions: bool = False
    ) -> list[Report]:
        """Downloads every project into a folder <id>_<name> of its own below `target_folder`. Raises Incomplete."""
        base = Path(target_folder).absolute()
        wanted = Wanted(predictions, models)
        return self._all(
            (str(each["name"]), lambda each=each: download_project(
                self._client, str(each["id"]),
                known_folder(base, base / project_folder(str(each["id"]), str(each["name"])), each), wanted))
            for each in list_projects(self._client)
        )  # fmt: skip

    # --- up -------------------------------------------------------------------------------------------------

    def upload_project(
        self,
        target_folder: str | Path,
        project_name: str | None = None,
        *,
        enable_auto_train: bool | None = None,
        if_there: IfThere = "refuse",
    ) -> Report:
        """Makes a project of a downloaded folder (also of those that older tools wrote), called `project_name`.

        A second call goes on with the same project and sends nothing twice. `enable_auto_train`: how auto-training is
        left; None: as it was in the source. `if_there`: what a project of that name that this folder was not uploaded
        to means: "refuse", "resume" or "merge". Raises Incomplete, Trouble.
        """
        source = open_source(Path(target_folder).absolute())
        return _whole(
            upload_project(self._client, source, project_name or "", if_there, auto_training=enable_auto_train)
        )

    def upload_all_projects(self, target_folder: str | Path) -> list[Report]:
        """Uploads every direct subfolder that holds a project.json. Raises Incomplete."""
        return self._all(
            (folder.name, lambda folder=folder: upload_project(self._client, open_source(folder)))
            for folder in project_folders(Path(target_folder).absolute())
        )

    def _all(self, work: Iterable[tuple[str, object]]) -> list[Report]:
        reports = []
        for name, do in work:
            try:
                reports.append(do())  # type: ignore[operator]
            except (Trouble, Locked, OSError) as error:  # one that fails never stops the others
                reports.append(Report(name, "locked" if isinstance(error, Locked) else "failed", gaps=[str(error)]))
            except (LookupError, TypeError, ValueError, AttributeError) as error:  # an answer that nobody foresaw
                log.get().warning("unexpected_error", project=name, reason=str(error), exc_info=True)
                reports.append(Report(name, "failed", gaps=[f"unexpected answer ({type(error).__name__}: {error})"]))
        if any(each.gaps for each in reports):
            raise Incomplete(reports)
        return reports

    # --- from datasets --------------------------------------------------------------------------------------

    def create_project_single_task_from_dataset(
        self,
        project_name: str,
        project_type: str,
        path_to_dataset: str | Path,
        *,
        labels: Sequence[str] | str = (),
        data_format: str = "",
        number_of_images_to_upload: int = 0,
        number_of_images_to_annotate: int = 0,
        enable_auto_train: bool = False,
        work_folder: str | Path = "sc-datasets",
    ) -> Report:
        """Makes a project with one task of a dataset on disk (COCO, VOC, YOLO, Datumaro, CVAT, folder per class).

        project_type: detection, segmentation, classification, anomaly, rotated_detection, instance_segmentation or
        keypoint. labels: those of the dataset to take (default: all), "name=new name" renames; for anomaly
        "normal,…;anomalous,…". Numbers of images: 0 = all. `work_folder` keeps the project's files for a second call.
        Shapes are mapped (a polygon becomes its box in a detection task); what has no counterpart stands in
        `report.notes`. Needs datumaro (pip install 'cvat-backups[datasets]'). Raises Incomplete, Trouble.
        """
        chosen = labels if isinstance(labels, str) else ",".join(labels)
        return self._from_dataset(
            project_name, project_type, path_to_dataset, chosen, data_format, number_of_images_to_upload,
            number_of_images_to_annotate, enable_auto_train, work_folder,
        )  # fmt: skip

    def create_task_chain_project_from_dataset(
        self,
        project_name: str,
        project_type: str,
        path_to_dataset: str | Path,
        *,
        label_names_task_1: Sequence[str],
        label_names_task_2: Sequence[str] = (),
        data_format: str = "",
        number_of_images_to_upload: int = 0,
        number_of_images_to_annotate: int = 0,
        enable_auto_train: bool = False,
        work_folder: str | Path = "sc-datasets",
    ) -> Report:
        """Makes a project with two tasks: detection_to_segmentation or detection_to_classification.

        A single label of the first task stands for all of the second's ("animal" for horse, dog, cat); with several,
        each is a label of the dataset. Labels of both tasks must differ: "dog=dog shape" renames. Otherwise like
        create_project_single_task_from_dataset.
        """
        chosen = ",".join(label_names_task_1) + ";" + ",".join(label_names_task_2)
        return self._from_dataset(
            project_name, project_type, path_to_dataset, chosen, data_format, number_of_images_to_upload,
            number_of_images_to_annotate, enable_auto_train, work_folder,
        )  # fmt: skip

    def _from_dataset(
        self, name: str, project_type: str, path: str | Path, labels: str, data_format: str, images: int, annotated: int,
        auto_train: bool, work_folder: str | Path,
    ) -> Report:  # fmt: skip
        return _whole(
            project_from_dataset(
                self._client, Path(work_folder).absolute(), Path(path).absolute(), name, project_type,
                data_format=data_format, labels=labels, order=Order(images, annotated), auto_training=auto_train,
            )
        )  # fmt: skip

    # --- configuration --------------------------------------------------------------------------------------

    def set_project_auto_train(self, project_name: str, auto_train: bool) -> None:
        """Switches auto-training of all tasks of a project. Raises Trouble, RunEnds."""
        self.configure(project_name, auto_train=auto_train)

    def configure(self, project_name: str, **values: object) -> None:
        """Sets values for all tasks that have them: auto_train, iterations, or a name as the server writes it."""
        project = get_project(self._client, str(choose(list_projects(self._client), project_name)["id"]))
        configuration.set_everywhere(self._client, project, values)


def open_name(name: str) -> str:
    """The folder of a project by its name alone."""
    return project_folder("", name).lstrip("_") or "project"
