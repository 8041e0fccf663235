"""What is asked of a proxy and how often, what asks it, and the API behind it."""
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys

from .machine import OTHERS, QUIET, cpu_seconds, free_port, wait_for_port

KIB, MIB = 2**10, 2**20


@dataclasses.dataclass(frozen=True)
class Load:
    """Calls of one kind, on so many connections, each of which waits for an answer before it makes the next call."""
    title: str
    path: str
    answer: int
    connections: int = 32
    method: str = "GET"
    tls: bool = False

    @property
    def is_bulk(self):
        return self.answer > 64 * KIB

    def columns(self):
        """Keys of a sample, with their headings."""
        time = "µs" if self.connections == 1 else "ms"
        throughput, cpu = ("MB/s", "CPU ms/GB") if self.is_bulk else ("requests/s", "CPU µs/request")
        return {"throughput": throughput, "cpu": cpu, "p50": f"p50 {time}", "p99": f"p99 {time}", "memory": "memory MiB"}

    def sample(self, said, cpu):
        """What wrk said, times in microseconds, and CPU seconds for all of it, in the units of the columns."""
        bulk, unit = self.is_bulk, 1 if self.connections == 1 else 1000
        return {
            "requests": said["requests"], "errors": said["errors"],
            "throughput": said["bytes"] / 1e6 / said["seconds"] if bulk else said["requests"] / said["seconds"],
            "cpu": cpu * 1e3 / (said["bytes"] / 1e9) if bulk else cpu * 1e6 / said["requests"],
            "p50": said["p50"] / unit, "p99": said["p99"] / unit,
        }


SMALL, MIDDLE, LARGE = "/api/orders", "/api/report", "/api/film"
SEEN = "/api/seen"

LOADS = {
    "1k": Load("1 KiB, 32 connections", SMALL, KIB),
    "1k-1": Load("1 KiB, 1 connection", SMALL, KIB, connections=1),
    "1k-1000": Load("1 KiB, 1000 connections", SMALL, KIB, connections=1000),
    "100k": Load("100 KiB, 32 connections", MIDDLE, 100 * KIB),
    "10m": Load("10 MiB, 8 connections", LARGE, 10 * MIB, connections=8),
    "post": Load("POST of 1 KiB, 32 connections", SMALL, KIB, method="POST"),
    "tls": Load("1 KiB over TLS, 32 connections", SMALL, KIB, tls=True),
}
POSTED = "x" * KIB


class Upstream:
    """The API: nginx, with large answers from files. It says at `SEEN` what it was sent."""

    def __init__(self, started, folder):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        files = folder / "files"
        (files / "api").mkdir(parents=True)
        for path, size in ((MIDDLE, 100 * KIB), (LARGE, 10 * MIB)):
            (files / path.removeprefix("/")).write_bytes(b"x" * size)
        server = API % {"listen": self.port, "files": files, "small": SMALL, "answer": "x" * KIB, "seen": SEEN}
        self.pid = start_nginx(started, OTHERS, folder, server, self.port)


def start_nginx(started, core, folder, server, port):
    folder.mkdir(exist_ok=True)
    (folder / "nginx.conf").write_text(NGINX % {"folder": folder, "server": server})
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    process = started.run(core, program, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log")
    wait_for_port(port)
    return process.pid


class Wrk:
    """The load generator. Over TLS it offers one cipher, so that all variants take the same."""

    def __init__(self, folder, load):
        self.load, self.script, self.openssl = load, folder / "wrk.lua", folder / "openssl.cnf"
        body = f'wrk.method = "{load.method}"\nwrk.body = "{POSTED}"' if load.method == "POST" else ""
        self.script.write_text(body + REPORT)
        self.openssl.write_text(OPENSSL)

    def run(self, variant, seconds):
        headers = [part for header in variant.headers.items() for part in ("-H", ": ".join(header))]
        before = cpu_seconds(variant.pid)
        settings = {**os.environ, "OPENSSL_CONF": str(self.openssl)}
        command = ["taskset", "--cpu-list", str(OTHERS), "wrk", "-t1", f"-c{self.load.connections}", f"-d{seconds}s", "--timeout", "30s",
                   "-s", self.script, *headers, variant.url + self.load.path]
        out = subprocess.run(command, check=True, capture_output=True, text=True, env=settings).stdout
        said = json.loads(re.search(r"^REPORT (.*)$", out, re.MULTILINE)[1])
        if said["requests"] <= said["errors"]:
            sys.exit(f"{variant.name}: all calls failed")
        return self.load.sample(said, cpu_seconds(variant.pid) - before)


def certificate(folder):
    """A new self-signed one for localhost, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
               "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-out", certificate, "-keyout", key]
    subprocess.run(command, check=True, **QUIET)
    return certificate, key


NGINX = """
daemon off; worker_processes 1; worker_rlimit_nofile 16384; pid %(folder)s/pid; error_log %(folder)s/error.log warn;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
  client_body_temp_path %(folder)s/body; proxy_temp_path %(folder)s/proxy; fastcgi_temp_path %(folder)s/fastcgi;
  uwsgi_temp_path %(folder)s/uwsgi; scgi_temp_path %(folder)s/scgi;
  %(server)s
}
"""

API = """
server {
  listen 127.0.0.1:%(listen)d backlog=4096; root %(files)s; sendfile on; tcp_nopush on; open_file_cache max=10;
  location = %(small)s { return 200 '%(answer)s'; }
  location = %(seen)s { add_header Seen-Authorization $http_authorization; add_header Seen-Cookie $http_cookie; return 200; }
}
"""

OPENSSL = """
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = one
[one]
MinProtocol = TLSv1.3
Ciphersuites = TLS_AES_128_GCM_SHA256
"""

REPORT = """
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format('REPORT {"requests":%d,"bytes":%.0f,"seconds":%f,"p50":%d,"p99":%d,"errors":%d}\\n',
    summary.requests, summary.bytes, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""
