"""OpenStack Swift with its S3 interface: a server that checks signatures. Four processes and memcached, one folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType

PROGRAMS = ("swift-proxy-server", "swift-account-server", "swift-container-server", "swift-object-server",
            "swift-ring-builder", "memcached")  # fmt: skip
KEY, SECRET = "test:tester", "testing"


def why_not() -> str:
    """Why it cannot run here; empty when it can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(missing)} (.ci/s3.sh installs them)" if missing else ""


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Swift:
    """Use as a context manager; `url` is the S3 endpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: _free_port() for name in ("proxy", "account", "container", "object", "memcached")}
        self.url = f"http://127.0.0.1:{self.ports['proxy']}"
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Swift:
        (self.folder / "devices" / "d1").mkdir(parents=True)
        (self.folder / "cache").mkdir()
        (self.folder / "swift.conf").write_text(
            "[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n"
            "[storage-policy:0]\nname = gold\ndefault = yes\n"
        )
        environment = {**os.environ, "SWIFT_CONF_DIR": str(self.folder)}
        for name in ("account", "container", "object"):
            builder = str(self.folder / f"{name}.builder")
            for arguments in (
                ("create", "4", "1", "1"), ("add", f"r1z1-127.0.0.1:{self.ports[name]}/d1", "1"), ("rebalance",),
            ):  # fmt: skip
                subprocess.run(["swift-ring-builder", builder, *arguments], check=False, capture_output=True)
            (self.folder / f"{name}-server.conf").write_text(
                f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {self.ports[name]}\nworkers = 0\nmount_check = false\n"
                f"devices = {self.folder}/devices\nswift_dir = {self.folder}\nuser = {_user()}\nlog_level = ERROR\n"
                f"[pipeline:main]\npipeline = {name}-server\n[app:{name}-server]\nuse = egg:swift#{name}\n"
                f"[{name}-replicator]\n[{name}-auditor]\n[{name}-updater]\n"
            )
        (self.folder / "proxy-server.conf").write_text(
            f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {self.ports['proxy']}\nworkers = 0\nswift_dir = {self.folder}\n"
            f"user = {_user()}\nlog_level = ERROR\n"
            "[pipeline:main]\npipeline = catch_errors cache listing_formats s3api tempauth bulk slo dlo proxy-server\n"
            "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\nallow_account_management = true\n"
            "[filter:catch_errors]\nuse = egg:swift#catch_errors\n"
            f"[filter:cache]\nuse = egg:swift#memcache\nmemcache_servers = 127.0.0.1:{self.ports['memcached']}\n"
            "[filter:listing_formats]\nuse = egg:swift#listing_formats\n"
            "[filter:s3api]\nuse = egg:swift#s3api\ns3_acl = false\nlocation = us-east-1\n"
            "[filter:tempauth]\nuse = egg:swift#tempauth\nuser_test_tester = testing .admin\n"
            "[filter:bulk]\nuse = egg:swift#bulk\n[filter:slo]\nuse = egg:swift#slo\n[filter:dlo]\nuse = egg:swift#dlo\n"
        )
        user = ["-u", _user()] if os.getuid() == 0 else []
        self._start(["memcached", "-l", "127.0.0.1", "-p", str(self.ports["memcached"]), *user], environment)
        for name in ("account", "container", "object", "proxy"):
            self._start([f"swift-{name}-server", str(self.folder / f"{name}-server.conf")], environment)
        try:
            self._await()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self, command: list[str], environment: dict[str, str]) -> None:
        log = open(self.folder / f"{Path(command[0]).name}.log", "wb")  # noqa: SIM115 - the process keeps it
        self._processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))

    def _await(self) -> None:
        # The proxy answers before those behind it do: then it says that it is busy.
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                for port in self.ports.values():
                    socket.create_connection(("127.0.0.1", port), 5).close()
                with urllib.request.urlopen(f"{self.url}/auth/v1.0", timeout=60):
                    return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.1)
        logs = "".join(path.read_text(errors="replace")[-800:] for path in self.folder.glob("*.log"))
        raise AssertionError(f"Swift did not start: {logs}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            process.wait(30)


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name
