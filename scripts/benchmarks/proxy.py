"""What one proxied, authenticated call costs, beside nginx `proxy_pass` in the same run.

nginx does the same work as Cloakroom: it drops the cookie, sets a bearer token of the same length and keeps connections to the API
open. Two loads: 32 connections for throughput, one for the time a call takes when nobody waits.
"""
import http.cookiejar
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

from .machine import MEASURED, OTHERS, QUIET, ROOT, Foreign, Rounds, cpu_seconds, free_port, row, table, wait_for
from .servers import Cloakroom, install

TOKEN_LENGTH = 43  # of the access tokens of npm oidc-provider


class Variant:
    def __init__(self, name, url, process, headers=()):
        self.name, self.url, self.process, self.headers = name, url, process, headers


def measure(bench):
    install([], "nginx-light", "wrk")
    subprocess.run(["npm", "ci", "--prefix", ROOT / "tests/real", "--no-audit", "--no-fund"], check=True, stdout=sys.stderr)
    variants = start_variants(bench)
    script = bench.folder / "report.lua"
    script.write_text(REPORT)
    rounds, foreign = Rounds(), Foreign(bench.started)
    for variant in variants:
        load(variant, script, 32, min(2, bench.seconds))  # warm up
    for variant in rounds.turns(bench.rounds, variants):
        for connections in (32, 1):
            with foreign:
                sample = load(variant, script, connections, bench.seconds)
            rounds.add((variant.name, connections), sample)
    report(bench, rounds, foreign, [variant.name for variant in variants])


def start_variants(bench):
    started, folder = bench.started, bench.folder
    api, plain = free_port(), free_port()
    token = secrets.token_urlsafe(64)[:TOKEN_LENGTH]
    answer = f"server {{ listen 127.0.0.1:{api}; return 200 '{'x' * 1024}'; }}"
    upstream = start_nginx(started, OTHERS, folder / "api", answer)
    nginx = start_nginx(started, MEASURED, folder / "nginx", PROXY % {"api": api, "listen": plain, "token": token})
    over = [start_cloakroom(bench, kind, api) for kind in bench.kinds]
    cookie = over[0].headers[0]
    return [
        Variant("API alone", f"http://127.0.0.1:{api}/api/orders", upstream),
        Variant("nginx `proxy_pass`", f"http://127.0.0.1:{plain}/api/orders", nginx, [cookie]),
        *over,
    ]


def start_cloakroom(bench, kind, api):
    store, issuer, cloakroom = bench.stores.new(kind), free_port(), Cloakroom(bench.program)
    start_provider(bench.started, issuer, cloakroom.url)
    cloakroom.start(bench.started, bench.folder, store, f"http://127.0.0.1:{issuer}", f"http://127.0.0.1:{api}")
    headers = [f"Cookie: {log_in(cloakroom.url)}", "X-CSRF: 1"]
    return Variant(f"Cloakroom, {store.name}", f"{cloakroom.url}/api/orders", cloakroom.process, headers)


def start_nginx(started, core, folder, server):
    folder.mkdir()
    (folder / "nginx.conf").write_text(NGINX % {"folder": folder, "server": server})
    process = started.run(core, shutil.which("nginx") or "/usr/sbin/nginx", "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log")
    wait_for(f"http://127.0.0.1:{re.search(r'listen 127.0.0.1:([0-9]+)', server)[1]}/")
    return process


def start_provider(started, port, client_url):
    settings = {
        "PORT": str(port), "CLIENT_URL": client_url, "CLIENT_ID": "bench", "CLIENT_SECRET": "a secret of the benchmark",
        "CONSENT": "given", "AT_TTL": "86400",
    }
    started.run(OTHERS, "node", "provider.mjs", cwd=ROOT / "tests/real", env={**os.environ, **settings}, **QUIET)
    wait_for(f"http://127.0.0.1:{port}/.well-known/openid-configuration")


def log_in(url):
    """Logs in as a person would and says the session cookie."""
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    form = browser.open(f"{url}/bff/login").geturl()
    filled = urllib.parse.urlencode({"prompt": "login", "login": "alice", "password": "any"}).encode()
    hop = browser.open(form, filled).geturl()
    try:
        browser.open(f"{hop}&hop=1")
    except urllib.error.HTTPError as error:  # there is no page at "/" to come back to
        if error.code != 404:
            raise
    name = f"cloakroom-{urllib.parse.urlsplit(url).port}"
    return next(f"{name}={cookie.value}" for cookie in jar if cookie.name == name)


def load(variant, script, connections, seconds):
    headers = [part for header in variant.headers for part in ("-H", header)]
    before = cpu_seconds(variant.process.pid)
    out = subprocess.run(
        ["taskset", "--cpu-list", str(OTHERS), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script, *headers, variant.url],
        check=True, capture_output=True, text=True).stdout
    sample = json.loads(re.search(r"^REPORT (.*)$", out, re.MULTILINE)[1])
    if sample["errors"]:
        sys.exit(f"{variant.name}: {sample['errors']} calls failed")
    return {**sample, "cpu": (cpu_seconds(variant.process.pid) - before) / sample["requests"] * 1e6}


def report(bench, rounds, foreign, names):
    beside = names[1]
    print(f"\n## One authenticated call\n\n{bench.rounds} rounds of {bench.seconds} s, medians; the proxy has one core, load generator, API "
          f"and servers of stores share the other; answers of 1 KiB; {foreign}.\n")
    table("", "requests/s", "×", "CPU µs/request", "×", "p50 ms", "p99 ms", "one at a time: p50 µs", "added µs")
    for name in names:
        rate, cpu = rounds.median((name, 32), "rate"), rounds.median((name, 32), "cpu")
        alone = rounds.median((name, 1), "p50")
        row(name, f"{rate:.0f}", f"{rate / rounds.median((beside, 32), 'rate'):.2f}", f"{cpu:.1f}",
            f"{cpu / rounds.median((beside, 32), 'cpu'):.2f}", f"{rounds.median((name, 32), 'p50') / 1000:.2f}",
            f"{rounds.median((name, 32), 'p99') / 1000:.2f}", f"{alone:.0f}", f"{alone - rounds.median((names[0], 1), 'p50'):.0f}")


NGINX = """
daemon off; worker_processes 1; pid %(folder)s/pid; error_log %(folder)s/error.log warn;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path %(folder)s/body; proxy_temp_path %(folder)s/proxy; fastcgi_temp_path %(folder)s/fastcgi;
  uwsgi_temp_path %(folder)s/uwsgi; scgi_temp_path %(folder)s/scgi;
  %(server)s
}
"""

PROXY = """
upstream api { server 127.0.0.1:%(api)d; keepalive 256; keepalive_requests 1000000000; }
server {
  listen 127.0.0.1:%(listen)d;
  location / {
    proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Cookie "";
    proxy_set_header Authorization "Bearer %(token)s";
  }
}
"""

REPORT = """
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format('REPORT {"requests":%d,"rate":%f,"p50":%d,"p99":%d,"errors":%d}\\n', summary.requests,
    summary.requests / summary.duration * 1e6, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""
