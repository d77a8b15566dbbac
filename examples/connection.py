"""The server of the examples: SC_HOST and SC_TOKEN (or SC_USERNAME and SC_PASSWORD) in the environment.

Also SC_WORKSPACE, SC_CA_BUNDLE and SC_ALLOW_HTTP. Once before: pip install '.[datasets]' in the folder of this program.
"""

from __future__ import annotations

import os

from sc_client import SCRESTClient


def connect() -> SCRESTClient:
    return SCRESTClient(
        host=os.environ["SC_HOST"],
        token=os.environ.get("SC_TOKEN", ""),
        username=os.environ.get("SC_USERNAME", ""),
        password=os.environ.get("SC_PASSWORD", ""),
        workspace=os.environ.get("SC_WORKSPACE", ""),
        allow_http=os.environ.get("SC_ALLOW_HTTP", "").lower() == "true",
        ca_bundle=os.environ.get("SC_CA_BUNDLE") or None,
    )
