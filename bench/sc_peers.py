"""Run by the Python that has geti-sdk: `sc_peers.py down|up URL TOKEN FOLDER`, as its documentation shows."""

import logging
import os
import sys
import warnings

for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
    os.environ.pop(name, None)  # with these, geti-sdk's verify_certificate=False has no effect
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")

from geti_sdk import Geti  # type: ignore[import-not-found]  # noqa: E402


def main() -> None:
    what, url, token, folder = sys.argv[1:]
    geti = Geti(host=url, token=token, verify_certificate=False)
    if what == "down":
        project = geti.get_project(project_name="Many images")
        geti.download_project_data(project=project, target_folder=folder)
    else:
        geti.upload_project_data(target_folder=folder)


main()
