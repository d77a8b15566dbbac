"""nginx plays S3: files at /bucket/key, listings as pages written beforehand. It is never what holds a client up."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType

from bench.measure import Failed

MODULE = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")
PAGE_KEYS = 1000


def why_not() -> str:
    """Why it cannot be started here; empty when it can."""
    if shutil.which("nginx") is None:
        return "nginx is not installed (Debian: nginx-light)"
    return "" if shutil.which("openssl") else "openssl is not installed"


def has_delay() -> bool:
    return MODULE.exists()


class S3Server:
    """Ports 0..3 of `addresses`: plain, TLS, plain with a delay, TLS with a delay. Use as a context manager."""

    def __init__(self, folder: Path, first_port: int = 19700) -> None:
        self.folder = folder
        self.root = folder / "www"
        self.ca = folder / "ca.pem"
        self._port = first_port
        self._process: subprocess.Popen[bytes] | None = None

    def make(self, bucket: str, count: int, size_bytes: int, *, only_listed: bool = False) -> None:
        """A bucket with `x/000000.jpg` and so on, and its listing."""
        folder = self.root / bucket / "x"
        folder.mkdir(parents=True)
        moment = 1_750_000_000
        keys = []
        for number in range(count):
            key = f"x/{number:06}.jpg"
            keys.append(key)
            if not only_listed:
                path = self.root / bucket / key
                with open(path, "wb") as file:
                    for _ in range(0, size_bytes, 1 << 20):
                        file.write(os.urandom(min(size_bytes, 1 << 20)))
                os.utime(path, (moment, moment))
        pages = self.root / "_pages" / bucket
        pages.mkdir(parents=True)
        etag = f"{moment:x}-{size_bytes:x}"  # as nginx makes it
        for page in range(max(1, -(-count // PAGE_KEYS))):
            part = keys[page * PAGE_KEYS : (page + 1) * PAGE_KEYS]
            more = (page + 1) * PAGE_KEYS < count
            following = f"<NextContinuationToken>p{page + 1}</NextContinuationToken>" if more else ""
            contents = "".join(
                f"<Contents><Key>{key}</Key><LastModified>2025-06-15T15:06:40.000Z</LastModified>"
                f"<ETag>&quot;{etag}&quot;</ETag><Size>{size_bytes}</Size><StorageClass>STANDARD</StorageClass></Contents>"
                for key in part
            )
            (pages / f"p{page}.xml").write_text(
                '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<Name>{bucket}</Name><Prefix>x/</Prefix><MaxKeys>1000</MaxKeys><KeyCount>{len(part)}</KeyCount>"
                f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>{following}{contents}"
                "</ListBucketResult>"
            )

    def url(self, *, tls: bool, delay: bool) -> str:
        return f"http{'s' if tls else ''}://127.0.0.1:{self._port + tls + 2 * delay}"

    def __enter__(self) -> S3Server:
        self.root.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=bench",
             "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:TRUE",
             "-keyout", str(self.folder / "key.pem"), "-out", str(self.ca)],
            check=True, capture_output=True,
        )  # fmt: skip
        configuration = self.folder / "nginx.conf"
        configuration.write_text(self._configuration())
        self._process = subprocess.Popen(["nginx", "-e", str(self.folder / "error.log"), "-c", str(configuration)])
        for _ in range(200):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/up", timeout=5):
                    return self
            except OSError:
                time.sleep(0.05)
        self.__exit__(None, None, None)
        raise Failed("nginx did not start")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def _configuration(self) -> str:
        folder = self.folder
        temporary = "\n".join(f"{name}_temp_path {folder}/{name};" for name in
                              ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))  # fmt: skip
        listing = (
            "location ~ ^/(?<bucket>[a-z0-9-]+)/?$ { default_type application/xml; try_files /_pages/$bucket/$page.xml =404; }\n"
            "location = /up { return 200 up; }\n"
        )
        servers = ""
        for delay in (False, True):
            for tls in (False, True):
                port = self._port + tls + 2 * delay
                sure = f"ssl_certificate {self.ca}; ssl_certificate_key {folder}/key.pem;" if tls else ""
                if delay and has_delay():
                    body = "location / { echo_sleep 0.03; echo_exec /_now$uri; }\n"
                    body += f"location /_now/ {{ internal; alias {self.root}/; }}\n"
                else:
                    body = "location / { }\n"
                servers += (
                    f"server {{ listen 127.0.0.1:{port}{' ssl' if tls else ''} backlog=4096; {sure} "
                    f"root {self.root};\n{listing}{body}}}\n"
                )
        load = f"load_module {MODULE};\n" if has_delay() else ""
        return f"""{load}daemon off; worker_processes 2; pid {folder}/pid; error_log {folder}/error.log;
user {"root" if os.getuid() == 0 else "nobody"};
events {{ worker_connections 8192; }}
http {{ access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 10000000; {temporary}
types {{ image/jpeg jpg; application/xml xml; }}
map $args $page {{ default p0; "~continuation-token=(?<token>p[0-9]+)" $token; }}
{servers}}}
"""
