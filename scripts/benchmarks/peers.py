"""The proxies that are measured: each with a provider of its own, and somebody who is logged in."""
import http.cookiejar
import json
import os
import secrets
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

from . import servers
from .loads import POSTED, SEEN, SMALL, start_nginx
from .machine import MEASURED, OTHERS, QUIET, ROOT, free_port, wait_for, wait_for_port
from .servers import Cloakroom

PEERS = ["apache", "oauth2-proxy-redis", "oauth2-proxy-cookie"]
STORES_OF = {"oauth2-proxy-redis": ["redis"]}
TOKEN_LENGTH = 43  # of the access tokens of npm oidc-provider
CLIENT = {"id": "bench", "secret": "a secret of the benchmark"}
# Pinned, so that figures can be had again; the newest that the Go module proxy gave out when it was.
OAUTH2_PROXY = "v7.8.1"


class Variant:
    """A proxy: its first process, and what a browser sends that is logged in there."""

    def __init__(self, name, url, pid, cookie=None):
        self.name, self.url, self.pid = name, url, pid
        self.headers = {"X-CSRF": "1"} | ({"Cookie": cookie} if cookie else {})


def start(bench, upstream, load, tls):
    starting = {"apache": start_apache, "oauth2-proxy-redis": start_oauth2_proxy, "oauth2-proxy-cookie": start_oauth2_proxy}
    return [
        Variant("API alone", upstream.url, upstream.pid),
        start_plain(bench, upstream, tls),
        *(start_cloakroom(bench, upstream, kind, tls) for kind in bench.kinds),
        *(starting[peer](bench, upstream, load, tls, *STORES_OF.get(peer, [])) for peer in bench.peers),
    ]


def check(variant, load, tls):
    """A call is answered in full, and the API was sent an access token and no cookie."""
    posted = POSTED.encode() if load.method == "POST" else None
    with call(variant, load.path, tls, posted) as answer:
        if (answer.status, len(answer.read())) != (200, load.answer):
            sys.exit(f"{variant.name}: another answer than the API's")
    if variant.name == "API alone":
        return
    with call(variant, SEEN, tls) as answer:
        scheme, _, token = answer.headers.get("Seen-Authorization", "").partition(" ")
        if (scheme, len(token), answer.headers.get("Seen-Cookie")) != ("Bearer", TOKEN_LENGTH, None):
            sys.exit(f"{variant.name}: the API was sent no access token, or a cookie")


def call(variant, path, tls, posted=None):
    request = urllib.request.Request(variant.url + path, headers=variant.headers, data=posted)
    return urllib.request.urlopen(request, context=trusting(tls))


def start_plain(bench, upstream, tls):
    """nginx `proxy_pass`, for whoever brings a cookie of the usual length."""
    listen, folder = free_port(), bench.folder / "nginx"
    over_tls = "ssl; ssl_protocols TLSv1.3; ssl_certificate {}; ssl_certificate_key {}".format(*tls) if tls else ""
    server = PROXY % {"api": upstream.port, "listen": listen, "tls": over_tls, "token": secrets.token_urlsafe(64)[:TOKEN_LENGTH]}
    pid = start_nginx(bench.started, MEASURED, folder, server, listen)
    return Variant("nginx `proxy_pass`", f"{scheme(tls)}://localhost:{listen}", pid, f"cookie={secrets.token_urlsafe(32)}")


def start_cloakroom(bench, upstream, kind, tls):
    store, cloakroom = bench.stores.new(kind), Cloakroom(bench.program, scheme(tls))
    issuer = start_provider(bench.started, cloakroom.url)
    more = dict(zip(("CLOAKROOM__SERVER__TLS__CERT", "CLOAKROOM__SERVER__TLS__KEY"), map(str, tls))) if tls else {}
    cloakroom.start(bench.started, bench.folder, store, issuer, f"{upstream.url}/api", **more)
    cookie = log_in(cloakroom.url, "/bff/login", tls)
    return Variant(f"Cloakroom, {store.name}", cloakroom.url, cloakroom.process.pid, cookie)


def start_apache(bench, upstream, load, tls):
    """Its session cache as Debian ships it, in shared memory. One process, with as many threads as there are connections, and some."""
    listen, folder = free_port(), bench.folder / "apache"
    folder.mkdir()
    url = f"{scheme(tls)}://localhost:{listen}"
    issuer = start_provider(bench.started, url)
    over_tls = "SSLEngine on\nSSLProtocol TLSv1.3\nSSLCertificateFile {}\nSSLCertificateKeyFile {}".format(*tls) if tls else ""
    (folder / "apache.conf").write_text(APACHE % {
        "folder": folder, "listen": listen, "url": url, "issuer": issuer, "api": upstream.url, "tls": over_tls,
        "user": "User www-data\nGroup www-data" if os.geteuid() == 0 else "", "threads": load.connections + 32,
        "passphrase": secrets.token_urlsafe(32), **CLIENT,
    })
    process = bench.started.run(MEASURED, "apache2", "-d", folder, "-f", folder / "apache.conf", "-D", "FOREGROUND", **QUIET)
    wait_for_port(listen)
    return Variant("Apache mod_auth_openidc", url, process.pid, log_in(url, SMALL, tls))


def start_oauth2_proxy(bench, upstream, _load, tls, store=None):
    listen = free_port()
    url = f"{scheme(tls)}://localhost:{listen}"
    issuer = start_provider(bench.started, url)
    address = {"secureBindAddress" if tls else "bindAddress": f"127.0.0.1:{listen}"}
    if tls:
        address["tls"] = {"cert": {"fromFile": str(tls[0])}, "key": {"fromFile": str(tls[1])}}
    kept = ["--session-store-type=redis", f"--redis-connection-url={bench.stores.new(store).url}"] if store else []
    # Not by the option for it, which sends the ID token.
    settings = bench.folder / f"oauth2-proxy-{listen}.yaml"
    settings.write_text(json.dumps({
        "server": address,
        "upstreamConfig": {"upstreams": [{"id": "api", "path": "/", "uri": upstream.url}]},
        "injectRequestHeaders": [{"name": "Authorization", "values": [{"claim": "access_token", "prefix": "Bearer "}]}, {"name": "Cookie"}],
        "providers": [{
            "id": "oidc", "provider": "oidc", "clientID": CLIENT["id"], "clientSecret": CLIENT["secret"], "scope": "openid profile email",
            "code_challenge_method": "S256", "oidcConfig": {"issuerURL": issuer, "emailClaim": "sub", "audienceClaims": ["aud"]},
        }],
    }))
    process = bench.started.run(
        MEASURED, oauth2_proxy(), f"--alpha-config={settings}", f"--redirect-url={url}/bff/callback", "--proxy-prefix=/bff",
        "--email-domain=*", "--skip-provider-button", f"--cookie-secure={str(bool(tls)).lower()}",
        f"--cookie-secret={secrets.token_hex(16)}", "--standard-logging=false", "--auth-logging=false", "--request-logging=false", *kept,
        env={**os.environ, "GOMAXPROCS": "1"}, **QUIET)
    wait_for_port(listen)
    name = f"oauth2-proxy, {servers.STORES[store] if store else 'cookie'}"
    return Variant(name, url, process.pid, log_in(url, SMALL, tls))


def start_provider(started, client_url):
    port = free_port()
    settings = {"PORT": str(port), "CLIENT_URL": client_url, "CLIENT_ID": CLIENT["id"], "CLIENT_SECRET": CLIENT["secret"],
                "CONSENT": "given", "AT_TTL": "86400"}
    started.run(OTHERS, "node", "provider.mjs", cwd=ROOT / "tests/real", env={**os.environ, **settings}, **QUIET)
    wait_for(f"http://127.0.0.1:{port}/.well-known/openid-configuration")
    return f"http://127.0.0.1:{port}"


def log_in(url, first, tls):
    """Logs in as a person would, from the page `first`, and says the cookies."""
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(
        urllib.request.HTTPCookieProcessor(jar), urllib.request.HTTPSHandler(context=trusting(tls)))
    browser.addheaders.append(("Accept", "text/html"))
    form = browser.open(url + first).geturl()
    filled = urllib.parse.urlencode({"prompt": "login", "login": "alice", "password": "any"}).encode()
    last = browser.open(form, filled).geturl()
    if last.startswith(f"{url}/bff/"):  # Cloakroom's callback, which the page itself follows
        try:
            browser.open(f"{last}&hop=1")
        except urllib.error.HTTPError as error:  # there is no page at "/" to come back to
            if error.code != 404:
                raise
    # The provider is at 127.0.0.1.
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar if cookie.domain.startswith("localhost"))


def trusting(tls):
    return ssl.create_default_context(cafile=tls[0] if tls else None)


def scheme(tls):
    return "https" if tls else "http"


def install(names):
    if "apache" in names:
        servers.install([], "apache2", "libapache2-mod-auth-openidc")
    if any(name.startswith("oauth2-proxy") for name in names):
        oauth2_proxy()


def needed(names):
    """The programs without which `install` would fail."""
    return ["go"] if any(name.startswith("oauth2-proxy") for name in names) and not oauth2_proxy_built().exists() else []


def versions():
    """Of those that are there."""
    query = ["dpkg-query", "--show", "--showformat", "${Version}", "libapache2-mod-auth-openidc"]
    package = subprocess.run(query, capture_output=True, text=True).stdout
    found = {"mod_auth_openidc": package, "oauth2-proxy": OAUTH2_PROXY if oauth2_proxy_built().exists() else ""}
    return [f"{name} {version}" for name, version in found.items() if version]


def oauth2_proxy_built():
    return ROOT / "target/peers" / f"oauth2-proxy-{OAUTH2_PROXY}"


def oauth2_proxy():
    """The program, built once."""
    program = oauth2_proxy_built()
    folder = program.parent
    if program.exists():
        return program
    module = "github.com/oauth2-proxy/oauth2-proxy/v7"
    folder.mkdir(parents=True, exist_ok=True)
    # `go install` would ask for all versions there are, which not every module proxy says.
    (folder / "go.mod").write_text(f"module peers\n\ngo 1.23\n\nrequire {module} {OAUTH2_PROXY}\n")
    (folder / "go.sum").unlink(missing_ok=True)
    try:
        subprocess.run(["go", "build", "-mod=mod", "-o", program, module], cwd=folder, check=True, stdout=sys.stderr)
    except subprocess.CalledProcessError as error:
        sys.exit(f"oauth2-proxy {OAUTH2_PROXY} cannot be built ({error}): it needs Go 1.23 or newer; --peers apache leaves it out")
    return program


PROXY = """
upstream api { server 127.0.0.1:%(api)d; keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 1h; }
server {
  listen 127.0.0.1:%(listen)d backlog=4096 %(tls)s;
  location / {
    proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Cookie "";
    proxy_set_header Authorization "Bearer %(token)s"; proxy_max_temp_file_size 0;
  }
}
"""

APACHE = """
DefaultRuntimeDir %(folder)s
PidFile %(folder)s/pid
Mutex file:%(folder)s default
ErrorLog %(folder)s/error.log
LogLevel warn
%(user)s
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authn_core_module /usr/lib/apache2/modules/mod_authn_core.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule authz_user_module /usr/lib/apache2/modules/mod_authz_user.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
LoadModule auth_openidc_module /usr/lib/apache2/modules/mod_auth_openidc.so

ServerLimit 1
StartServers 1
ThreadLimit %(threads)d
ThreadsPerChild %(threads)d
MaxRequestWorkers %(threads)d
MinSpareThreads 1
MaxSpareThreads %(threads)d
MaxKeepAliveRequests 0
KeepAliveTimeout 3600

Listen 127.0.0.1:%(listen)d
ListenBacklog 4096
ServerName %(url)s
UseCanonicalName On
%(tls)s

OIDCProviderMetadataURL %(issuer)s/.well-known/openid-configuration
OIDCClientID "%(id)s"
OIDCClientSecret "%(secret)s"
OIDCScope "openid profile email"
OIDCPKCEMethod S256
OIDCRedirectURI %(url)s/bff/callback
OIDCCryptoPassphrase %(passphrase)s
OIDCSessionInactivityTimeout 86400
OIDCPassClaimsAs environment
OIDCStripCookies mod_auth_openidc_session

ProxyPass /api %(api)s/api
<Location />
  AuthType openid-connect
  Require valid-user
  RequestHeader set Authorization "Bearer %%{OIDC_access_token}e"
</Location>
"""
