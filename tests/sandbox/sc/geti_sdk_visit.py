"""Run by the Python that has geti-sdk: copies projects through a folder and says as JSON how each copy went.

python geti_sdk_visit.py URL TOKEN FOLDER PROJECT_ID…  ->  {"listed": [names], "copies": {id: error or null}}
A copy is called "copy of <id>"; the last project is uploaded twice.
"""

import json
import logging
import os
import sys
import warnings
from pathlib import Path

for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
    os.environ.pop(name, None)
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")

from geti_sdk import Geti  # noqa: E402
from geti_sdk.rest_clients import ProjectClient  # noqa: E402


def main() -> None:
    url, token, folder, *wanted = sys.argv[1:]
    geti = Geti(host=url, token=token, verify_certificate=False)
    projects = ProjectClient(session=geti.session, workspace_id=geti.workspace_id).get_all_projects()
    copies = {}
    for identifier in wanted:
        target = str(Path(folder) / identifier)
        try:
            project = next(one for one in projects if one.id == identifier)
            geti.download_project_data(project=project, target_folder=target)
            for _ in range(2 if identifier == wanted[-1] else 1):
                geti.upload_project_data(target_folder=target, project_name=f"copy of {identifier}")
            copies[identifier] = None
        except Exception as error:  # noqa: BLE001 what goes wrong is what is to be told
            copies[identifier] = f"{type(error).__name__}: {error}"
    print("\n" + json.dumps({"listed": [one.name for one in projects], "copies": copies}))


main()
