//! What is wrong, and that it is told: all at once, with place and remedy.

use std::time::Duration;

use super::{KEY, SOUND, file, findings, load, messages, shop, short};
#[cfg(unix)]
use crate::config::AdminListen;
use crate::config::path::KeyPath;
use crate::config::tree::Tree;
use crate::config::{Config, LoadOptions, Origin, Rate, raw};

#[test]
fn nothing_at_all_says_where_to_start() {
    insta::assert_snapshot!(findings(&LoadOptions::default()), @r#"
    cloakroom: 2 problems in the configuration
      keys.master  (not set) no master key; set CLOAKROOM_KEY to what "cloakroom keygen" prints (only the store "memory:" starts without)
      frontends    (not set) there is no frontend; set CLOAKROOM_URL, CLOAKROOM_ISSUER, CLOAKROOM_CLIENT_ID and CLOAKROOM_CLIENT_SECRET, or write a section [frontends.NAME] ("cloakroom demo" needs none)
    "#);
}

#[test]
fn one_variable_of_the_short_form_asks_for_the_others() {
    insta::assert_snapshot!(findings(&LoadOptions::default().variable("CLOAKROOM_URL", "http://localhost:8080")), @r#"
    cloakroom: 4 problems in the configuration
      keys.master                           (not set) no master key; set CLOAKROOM_KEY to what "cloakroom keygen" prints (only the store "memory:" starts without)
      frontends.default.client_id           (not set) the client id is missing; set CLOAKROOM_CLIENT_ID
      frontends.default.provider            (not set) there is no provider; set CLOAKROOM_ISSUER, or write a section [providers.NAME]
      frontends.default.client_auth.secret  (not set) the client secret is missing; set CLOAKROOM_CLIENT_SECRET (a client that has none says so with allow_public_client = true)
    "#);
}

#[test]
fn a_frontend_full_of_mistakes_shows_all_of_them() {
    let sources = file(
        r#"
[server]
listen = "localhost:8080"
admin_listen = 9090
trusted_proxies = ["10.0.0.0/33", "10.0.0.1"]
tls = { cert = "/nowhere/tls.crt" }
drain = "30"
log = "jason"
log_level = "loud"
hosts = ["https://admin.example.com"]
ca_file = "/nowhere/ca.pem"
max_headers = "1KiB"
max_header_count = 7
max_in_flight = 0
max_connections = "many"
login_rate = 600

[keys]
master = ["short", { file = "/nowhere/key" }, { env = "NOWHERE" }, 5]

[store]
url = "postgres://cloakroom:hunter2@db/cloakroom?sslmod=verify-full"
timeout = "0s"
lease = 5
replicas_written = 1

[session]
idle = "13h"
cookie_name = "__Host-mine"
max_per_subject = -1

[providers.corp]
issuer = "https://id.example.com/.well-known/openid-configuration"
clock_skew = "1h"
id_token_alg = "HS256"
trusted_audiences = [""]
acr_order = true
timeout = "fast"

[frontends.shop]
url = "http://shop.example.com/"
base_path = "/"
csrf_header = "Content-Type"
provider = "crop"
client_id = ""
client_auth = { method = "private_key_jwt", secret = "" }
scopes = ["profile"]
response_mode = "fragment"
userinfo = "yes"
allowed_login_parameters = ["promt", "claims"]
assets = { dir = "/nowhere", proxy = "localhost:5173" }
after_logout = "https://evil.example/"
"#,
    );
    insta::assert_snapshot!(findings(&sources), @r#"
    cloakroom: 47 problems in the configuration
      server.listen                               (cloakroom.toml) "localhost:8080" is not an address with a port, such as "127.0.0.1:8080"
      server.admin_listen                         (cloakroom.toml) a number where text in quotes is expected
      server.trusted_proxies[0]                   (cloakroom.toml) "10.0.0.0/33" is not a network, such as "10.0.0.0/8"
      server.tls.key                              (cloakroom.toml) the PEM file is missing; set "key"
      server.tls.cert                             (cloakroom.toml) there is no file "/nowhere/tls.crt"
      server.drain                                (cloakroom.toml) 30 has no unit; write "30s" if seconds are meant
      server.log                                  (cloakroom.toml) "jason" is not known; did you mean "json"?
      server.log_level                            (cloakroom.toml) "loud" is not a log level; write error, warn, info, debug or trace, or "cloakroom=debug,info"
      server.hosts[0]                             (cloakroom.toml) "https://admin.example.com" is not a host name; write it without scheme, port and path
      server.ca_file                              (cloakroom.toml) there is no file "/nowhere/ca.pem"
      server.max_headers                          (cloakroom.toml) is less than 8KiB, which browsers with a few logins under way exceed
      server.max_header_count                     (cloakroom.toml) is less than 40, which browsers behind a few proxies come near to
      server.max_in_flight                        (cloakroom.toml) 0 would let nobody in; leave it out for 10000
      server.max_connections                      (cloakroom.toml) "many" is not a whole number from 0 to 4294967295
      server.login_rate                           (cloakroom.toml) 600 has no time; write "600/1m" if so many a minute are meant
      keys.master[1]                              (cloakroom.toml) there is no file "/nowhere/key"
      keys.master[2]                              (cloakroom.toml) there is no variable "NOWHERE"
      keys.master[3]                              (cloakroom.toml) a secret is "…", { file = "…" } or { env = "…" }
      keys.master[0]                              (cloakroom.toml) not a master key: 32 bytes as 43 characters of base64url are needed; "cloakroom keygen" prints one
      store.url                                   (cloakroom.toml) the parameter "sslmod" is not known; there is application_name, dbname, host, hostaddr, options, password, port, sslcert, sslkey, sslmode, sslrootcert, user
      store.timeout                               (cloakroom.toml) 0s is no time at all; leave it out for 2s
      store.lease                                 (cloakroom.toml) 5 has no unit; write "5s" if seconds are meant
      store.replicas_written                      (cloakroom.toml) only a Redis store knows replicas; leave it out
      session.idle                                (cloakroom.toml) 13h is longer than session.absolute 12h
      session.cookie_name                         (cloakroom.toml) "__Host-mine" is not a cookie name: 1 to 40 letters, digits, "-" and "_"; the prefix is added by itself
      session.max_per_subject                     (cloakroom.toml) "-1" is not a whole number from 0 to 4294967295
      providers.corp.issuer                       (cloakroom.toml) "https://id.example.com/.well-known/openid-configuration" is the issuer's metadata; write "https://id.example.com"
      providers.corp.clock_skew                   (cloakroom.toml) more than 10m would take tokens that ran out long ago
      providers.corp.id_token_alg                 (cloakroom.toml) "HS256" would make the client secret a signing key; have the provider sign with RS256 or ES256
      providers.corp.trusted_audiences[0]         (cloakroom.toml) is empty
      providers.corp.acr_order                    (cloakroom.toml) true or false where a list of texts is expected
      providers.corp.timeout                      (cloakroom.toml) "fast" is not a duration; write a whole number with ms, s, m, h or d, such as "30m"
      frontends.shop.url                          (cloakroom.toml) "http://shop.example.com/" is cleartext, which is for localhost, 127.0.0.1 and [::1] only: cookies would lose their protection; use https
      frontends.shop.base_path                    (cloakroom.toml) "/" would leave no room for the app; write a segment, such as "/bff"
      frontends.shop.csrf_header                  (cloakroom.toml) "Content-Type" is sent by browsers anyway or by foreign pages freely; choose one like "X-CSRF"
      frontends.shop.provider                     (cloakroom.toml) no provider "crop"; there is "corp"
      frontends.shop.client_id                    (cloakroom.toml) is empty
      frontends.shop.client_auth.method           (cloakroom.toml) "private_key_jwt" is not supported by this version yet
      frontends.shop.client_auth.secret           (cloakroom.toml) the secret is empty
      frontends.shop.scopes                       (cloakroom.toml) "openid" is not among them; without it there is no ID token and no login
      frontends.shop.response_mode                (cloakroom.toml) "fragment" is not known; there is "query", "form_post"
      frontends.shop.userinfo                     (cloakroom.toml) "yes" is neither true nor false
      frontends.shop.allowed_login_parameters[0]  (cloakroom.toml) "promt" is not known; did you mean "prompt"?
      frontends.shop.allowed_login_parameters[1]  (cloakroom.toml) "claims" is not known; there is "prompt", "login_hint", "acr_values", "max_age", "ui_locales"
      frontends.shop.assets.proxy                 (cloakroom.toml) there is "dir", too; leave one of them out
      frontends.shop.assets.dir                   (cloakroom.toml) "/nowhere" is not a directory
      frontends.shop.assets.proxy                 (cloakroom.toml) "localhost:5173" is not a URL; did you mean "http://localhost:5173/"?
    "#);
}

#[test]
fn a_route_full_of_mistakes_shows_all_of_them() {
    let sources = shop(
        r#"
[[frontends.shop.routes]]
path = "api/"
upstream = "https://user:hunter2@api.example.com/?key=1"
addresses = ["10.0.0.5", "u@a:1", "http://a:1", ":80", "a:0", "a:1", "A:1", "[::1]:80"]
max_connections = 0
methods = ["get", "TRACE"]
token = "client"
session = "optional"
csrf = "origin"
forward_cookies = ["theme", "cloakroom-8080", "__Host-Http-cloakroom", "a b"]
response_cookies = ["cloakroom-login.0", "cloakrooms"]
timeout = "0s"
idle_timeout = 5
max_body = "10"

[[frontends.shop.routes]]
path = "/open"
upstream = "https://open.example.com"
token = "optional"
session = "required"
methods = []
csrf_reason = "why not"
documents = true
"#,
    );
    insta::assert_snapshot!(findings(&sources), @r#"
    cloakroom: 26 problems in the configuration
      frontends.shop.routes[0].csrf_reason          (cloakroom.toml) csrf = "origin" needs a reason, in one line: why can these calls not send the header?
      frontends.shop.routes[0].path                 (cloakroom.toml) "api/" does not start with "/"
      frontends.shop.routes[0].upstream             (cloakroom.toml) "https://***@api.example.com/?…" holds a user or password; write it without
      frontends.shop.routes[0].addresses[0]         (cloakroom.toml) "10.0.0.5" is not host and port, as in "10.0.0.5:8443"
      frontends.shop.routes[0].addresses[1]         (cloakroom.toml) "***@a:1" is not host and port, as in "10.0.0.5:8443"
      frontends.shop.routes[0].addresses[2]         (cloakroom.toml) "http://a:1" is not host and port, as in "10.0.0.5:8443"
      frontends.shop.routes[0].addresses[3]         (cloakroom.toml) ":80" is not host and port, as in "10.0.0.5:8443"
      frontends.shop.routes[0].addresses[4]         (cloakroom.toml) "a:0" is not host and port, as in "10.0.0.5:8443"
      frontends.shop.routes[0].addresses            (cloakroom.toml) "a:1" is there twice
      frontends.shop.routes[0].max_connections      (cloakroom.toml) no call could be made; leave it out for the default
      frontends.shop.routes[0].methods[0]           (cloakroom.toml) "get" is not a method; did you mean "GET"?
      frontends.shop.routes[0].methods[1]           (cloakroom.toml) "TRACE" is never passed on
      frontends.shop.routes[0].methods              (cloakroom.toml) allows no method at all; leave it out to allow all
      frontends.shop.routes[0].token                (cloakroom.toml) "client" is not supported by this version yet
      frontends.shop.routes[0].session              (cloakroom.toml) "optional" is not known; there is "required"
      frontends.shop.routes[0].forward_cookies[1]   (cloakroom.toml) "cloakroom-8080" is a cookie of ours, which never passes
      frontends.shop.routes[0].forward_cookies[2]   (cloakroom.toml) "__Host-Http-cloakroom" is a cookie of ours, which never passes
      frontends.shop.routes[0].forward_cookies[3]   (cloakroom.toml) "a b" is not a cookie name
      frontends.shop.routes[0].response_cookies[0]  (cloakroom.toml) "cloakroom-login.0" is a cookie of ours, which never passes
      frontends.shop.routes[0].timeout              (cloakroom.toml) 0s is no time at all; leave it out for 30s
      frontends.shop.routes[0].idle_timeout         (cloakroom.toml) 5 has no unit; write "5s" if seconds are meant
      frontends.shop.routes[0].max_body             (cloakroom.toml) 10 has no unit; write "10B" if bytes are meant
      frontends.shop.routes[1].session              (cloakroom.toml) contradicts token = "optional", which lets calls without a session pass
      frontends.shop.routes[1].methods              (cloakroom.toml) allows no method at all; leave it out to allow all
      frontends.shop.routes[1].csrf_reason          (cloakroom.toml) means nothing without csrf = "origin"; leave it out
      frontends.shop.routes[1].documents            (cloakroom.toml) means nothing without csrf = "origin"; leave it out
    "#);
}

#[test]
fn a_route_that_wants_a_stronger_login_needs_a_session_and_an_order() {
    let routes = |order: &str| {
        file(&format!(
            r#"
[store]
url = "memory:"
[providers.corp]
issuer = "https://id.example.com"
acr_order = {order}
[frontends.shop]
url = "https://shop.example.com/"
client_id = "shop"
client_auth = {{ secret = "hunter2" }}
routes = [
  {{ path = "/a", upstream = "https://a.example", min_acr = "urn:loa:3", max_auth_age = "0s" }},
  {{ path = "/b", upstream = "https://b.example", min_acr = "urn:loa:2", token = "none" }},
  {{ path = "/c", upstream = "https://c.example", max_auth_age = "5", token = "optional" }},
  {{ path = "/d", upstream = "https://d.example", max_auth_age = "5m", token = "optional" }},
  {{ path = "/e", upstream = "https://e.example", min_acr = "urn:loa:1 urn:loa:2" }},
  {{ path = "/f", upstream = "https://f.example", min_acr = "urn:loa:2", token = "none", session = "required" }},
]
"#
        ))
    };
    insta::assert_snapshot!(findings(&routes(r#"["urn:loa:1", "urn:loa:2"]"#)), @r#"
    cloakroom: 6 problems in the configuration
      frontends.shop.routes[0].max_auth_age  (cloakroom.toml) 0s is no time at all; leave it out for no limit
      frontends.shop.routes[0].min_acr       (cloakroom.toml) "urn:loa:3" is not in providers.corp.acr_order, which says what is stronger; there is "urn:loa:1", "urn:loa:2"
      frontends.shop.routes[1].min_acr       (cloakroom.toml) says how a session's login has to be; set session = "required", too
      frontends.shop.routes[2].max_auth_age  (cloakroom.toml) 5 has no unit; write "5s" if seconds are meant
      frontends.shop.routes[3].max_auth_age  (cloakroom.toml) contradicts token = "optional", which lets calls without a session pass
      frontends.shop.routes[4].min_acr       (cloakroom.toml) "urn:loa:1 urn:loa:2" is not one acr
    "#);
    insta::assert_snapshot!(findings(&routes("[]")), @r#"
    cloakroom: 8 problems in the configuration
      frontends.shop.routes[0].max_auth_age  (cloakroom.toml) 0s is no time at all; leave it out for no limit
      frontends.shop.routes[0].min_acr       (cloakroom.toml) "urn:loa:3" needs providers.corp.acr_order, which says what is stronger
      frontends.shop.routes[1].min_acr       (cloakroom.toml) says how a session's login has to be; set session = "required", too
      frontends.shop.routes[1].min_acr       (cloakroom.toml) "urn:loa:2" needs providers.corp.acr_order, which says what is stronger
      frontends.shop.routes[2].max_auth_age  (cloakroom.toml) 5 has no unit; write "5s" if seconds are meant
      frontends.shop.routes[3].max_auth_age  (cloakroom.toml) contradicts token = "optional", which lets calls without a session pass
      frontends.shop.routes[4].min_acr       (cloakroom.toml) "urn:loa:1 urn:loa:2" is not one acr
      frontends.shop.routes[5].min_acr       (cloakroom.toml) "urn:loa:2" needs providers.corp.acr_order, which says what is stronger
    "#);
}

#[test]
fn routes_know_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let sources = file(
        r#"
[store]
url = "memory:"
[providers.corp]
issuer = "https://id.example.com"
[frontends.shop]
url = "https://example.com/shop"
client_id = "shop"
client_auth = { secret = "hunter2" }
assets = { dir = "." }
after_logout = "/shop/api/x"
routes = [
  { path = "/api", upstream = "https://api.example.com" },
  { path = "/shop", upstream = "https://api.example.com" },
  { path = "/shop/bff/x", upstream = "https://api.example.com" },
  { path = "/shop/api", upstream = "https://api.example.com" },
  { path = "/shop/api", upstream = "https://api.example.com" },
]
"#,
    )
    .directory(directory.path());
    insta::assert_snapshot!(findings(&sources), @r#"
    cloakroom: 5 problems in the configuration
      frontends.shop.after_logout    (cloakroom.toml) "/shop/api/x" is an endpoint or a route; name a page of the app
      frontends.shop.routes          (cloakroom.toml) two routes for "/shop/api"; the longest path wins, so each can be there once
      frontends.shop.routes[0].path  (cloakroom.toml) "/api" is not below this frontend's /shop/
      frontends.shop.routes[1].path  (cloakroom.toml) "/shop" leaves nothing for the assets; give the API a path of its own
      frontends.shop.routes[2].path  (cloakroom.toml) "/shop/bff/x" is where our own endpoints are (/shop/bff)
    "#);
}

#[test]
fn frontends_do_not_stand_in_each_others_way() {
    let sources = file(
        r#"
[store]
url = "memory:"
[providers.corp]
issuer = "https://id.example.com"
[frontends.main]
url = "https://example.com/"
client_id = "main"
client_auth = { secret = "hunter2" }
routes = [{ path = "/shop/api", upstream = "https://api.example.com" }]
[frontends.shop]
url = "https://example.com/shop"
client_id = "shop"
client_auth = { secret = "hunter2" }
[frontends.twin]
url = "https://EXAMPLE.com:443/shop/"
client_id = "twin"
client_auth = { secret = "hunter2" }
[frontends.under]
url = "https://example.com/bff/"
client_id = "under"
client_auth = { secret = "hunter2" }
"#,
    );
    insta::assert_snapshot!(findings(&sources), @r#"
    cloakroom: 5 problems in the configuration
      frontends.main.base_path       (cloakroom.toml) "/bff" is never reached: frontends.under is at /bff/
      frontends.main.routes[0].path  (cloakroom.toml) "/shop/api" is never reached: frontends.shop is at /shop/
      frontends.main.routes[0].path  (cloakroom.toml) "/shop/api" is never reached: frontends.twin is at /shop/
      frontends.twin.url             (cloakroom.toml) https://example.com/shop/ is the URL of frontends.shop, too: they match the same requests
      frontends.under.url            (cloakroom.toml) /bff/ is where the endpoints of frontends.main are
    "#);
}

#[test]
fn what_later_versions_do_is_refused_by_name() {
    let sources = file(
        r#"
[server]
forward_auth_listen = "127.0.0.1:9091"
[store]
url = "memory:"
[providers.corp]
issuer = "https://id.example.com"
profile = "fapi2"
par = "auto"
dpop = "required"
jar = "auto"
jarm = "auto"
[frontends.shop]
url = "https://shop.example.com/"
client_id = "shop"
client_auth = { method = "private_key_jwt", key = { file = "/run/secrets/shop.pem" } }
[[frontends.shop.routes]]
path = "/api"
upstream = "https://api.example.com"
resource = "https://api.example.com"
scopes = ["a"]
exchange = { audience = "orders" }
"#,
    );
    insta::assert_snapshot!(findings(&sources), @r#"
    cloakroom: 11 problems in the configuration
      server.forward_auth_listen         (cloakroom.toml) "forward_auth_listen" is not supported by this version yet; leave it out
      providers.corp.profile             (cloakroom.toml) "profile" is not supported by this version yet; leave it out
      providers.corp.par                 (cloakroom.toml) "par" is not supported by this version yet; leave it out
      providers.corp.dpop                (cloakroom.toml) "dpop" is not supported by this version yet; leave it out
      providers.corp.jar                 (cloakroom.toml) "jar" is not supported by this version yet; leave it out
      providers.corp.jarm                (cloakroom.toml) "jarm" is not supported by this version yet; leave it out
      frontends.shop.client_auth.key     (cloakroom.toml) "key" is not supported by this version yet; leave it out
      frontends.shop.client_auth.method  (cloakroom.toml) "private_key_jwt" is not supported by this version yet
      frontends.shop.routes[0].resource  (cloakroom.toml) "resource" is not supported by this version yet; leave it out
      frontends.shop.routes[0].scopes    (cloakroom.toml) "scopes" is not supported by this version yet; leave it out
      frontends.shop.routes[0].exchange  (cloakroom.toml) "exchange" is not supported by this version yet; leave it out
    "#);
}

#[test]
fn a_later_key_that_asks_for_nothing_new_is_fine() {
    let text = SOUND.replace("[frontends", "profile = \"default\"\npar = \"off\"\n[frontends");
    load(&file(&text));
}

#[test]
fn values_where_tables_belong_are_told_together() {
    let sources =
        file("server = 3\nkeys = \"hunter2\"\n[frontends.shop]\nroutes = \"hunter2\"\nclient_auth = \"hunter2\"\n");
    insta::assert_snapshot!(findings(&sources), @r#"
    cloakroom: 4 problems in the configuration
      server                      (cloakroom.toml) a number where a table is expected
      keys                        (cloakroom.toml) text where a table is expected
      frontends.shop.routes       (cloakroom.toml) text where a list of tables is expected
      frontends.shop.client_auth  (cloakroom.toml) text where a table is expected
    "#);
}

#[test]
fn a_file_that_is_not_toml_names_the_lines_but_not_their_text() {
    let sources = file("[server]\nlisten = \"127.0.0.1:80\nclient_secret = hunter2\n[store\nurl = 5 6\n");
    let findings = findings(&sources);
    assert!(!findings.contains("hunter2"));
    insta::assert_snapshot!(findings, @r#"
    cloakroom: 3 problems in the configuration
      line 2  (cloakroom.toml) not TOML: invalid basic string, expected `"`
      line 3  (cloakroom.toml) not TOML: string values must be quoted, expected literal string
      line 4  (cloakroom.toml) not TOML: unclosed table, expected `]`
    "#);
}

#[test]
fn a_broken_line_of_dotenv_is_named_but_not_shown() {
    let findings = findings(&short().dotenv("A=1\nCLOAKROOM_CLIENT_SECRET=hunter2 and more\n"));
    assert!(!findings.contains("hunter2"));
    insta::assert_snapshot!(findings, @r##"
    cloakroom: 1 problem in the configuration
      line 2  (.env) cannot be read; write NAME=value, with quotes around a value with blanks, "$" or "#"
    "##);
}

#[test]
fn a_lasting_store_needs_a_key() {
    let sources = short().variable("CLOAKROOM_STORE", "sqlite:cloakroom.db");
    insta::assert_snapshot!(findings(&sources), @r#"
    cloakroom: 1 problem in the configuration
      keys.master  (not set) no master key; set CLOAKROOM_KEY to what "cloakroom keygen" prints (only the store "memory:" starts without)
    "#);
    load(&sources.variable("CLOAKROOM_KEY", KEY));
}

#[test]
fn the_same_key_twice_is_a_finding() {
    let keys = short().variable("CLOAKROOM_KEY", format!("{KEY},{KEY}"));
    assert_eq!(messages(&keys), ["keys.master: the same key twice; a new key joins as second, then becomes first"]);
}

#[test]
fn stores_are_memory_a_file_or_a_server() {
    let url = |url: &str| short().variable("CLOAKROOM_STORE", url).variable("CLOAKROOM_KEY", KEY);
    for good in [
        "memory:",
        "sqlite:cloakroom.db",
        "sqlite:/var/lib/cloakroom/sessions.db",
        "postgres://cloakroom:hunter2@db/cloakroom?sslmode=verify-full",
        "postgresql:///cloakroom?host=/var/run/postgresql",
        "redis://localhost",
        "rediss://cloakroom:hunter2@redis:6380/1",
        "redis-sentinel://one:26379,two:26379/main",
        "rediss-sentinel://one,two/main",
        "redis-cluster://one,two,three",
        "rediss-cluster://:hunter2@one,two,three",
    ] {
        assert_eq!(load(&url(good)).store.url.expose(), good);
    }
    for bad in [
        "",
        "memory",
        "memory:x",
        "sqlite:",
        "sqlite://x",
        "sqlite::memory:",
        "sqlite:x?mode=ro",
        "postgres:x",
        "postgres://db",
        "postgres://db/x?sslmode=yes",
        "redis:x",
        "mysql://x",
        "mysql:x",
        "x",
    ] {
        assert_eq!(messages(&url(bad)).len(), 1, "{bad}");
    }
}

#[test]
fn only_redis_waits_for_replicas() {
    let with = |store: &str| {
        let sources = short().variable("CLOAKROOM_STORE", store).variable("CLOAKROOM_KEY", KEY);
        sources.variable("CLOAKROOM__STORE__REPLICAS_WRITTEN", "1")
    };
    assert_eq!(load(&with("redis://redis")).store.replicas_written, 1);
    for store in ["memory:", "sqlite:x", "postgres://db/x"] {
        assert_eq!(messages(&with(store)), ["store.replicas_written: only a Redis store knows replicas; leave it out"]);
    }
}

#[test]
fn the_admin_listener_needs_its_own_address() {
    for admin in ["127.0.0.1:8080", "0.0.0.0:8080"] {
        assert_eq!(messages(&short().variable("CLOAKROOM_ADMIN_LISTEN", admin)).len(), 1, "{admin}");
    }
    load(&short().variable("CLOAKROOM_LISTEN", "127.0.0.1:0").variable("CLOAKROOM_ADMIN_LISTEN", "127.0.0.1:0"));
    assert_eq!(load(&short().variable("CLOAKROOM_ADMIN_LISTEN", "off")).server.admin_listen, None);
}

#[cfg(unix)]
#[test]
fn the_admin_listener_may_be_a_unix_socket_with_a_path() {
    let with = |listen: &str| short().directory("/srv").variable("CLOAKROOM_ADMIN_LISTEN", listen);
    for (listen, path) in [("unix:/run/admin.sock", "/run/admin.sock"), ("unix:admin.sock", "/srv/admin.sock")] {
        assert_eq!(load(&with(listen)).server.admin_listen, Some(AdminListen::Unix(path.into())), "{listen}");
    }
    for listen in ["unix:", "unix:/run/", "unix:///run/admin.sock", "unix"] {
        assert_eq!(messages(&with(listen)).len(), 1, "{listen}");
    }
    let message = "server.admin_listen: is longer than the path of a Unix socket may be, about 100 bytes";
    assert_eq!(messages(&with(&format!("unix:/{}", "a".repeat(120)))), [message]);
}

#[test]
fn an_admin_token_cannot_be_guessed_can_be_sent_and_is_no_master_key() {
    let with = |token: &str| short().variable("CLOAKROOM_ADMIN_TOKEN", token).variable("CLOAKROOM_KEY", KEY);
    let long = "0123456789abcdef0123456789abcdef";
    assert_eq!(load(&with(long)).server.admin_token, Some(long.into()));
    for (token, expected) in [
        (&long[1..], "is shorter than 32 characters"),
        ("0123456789abcdef 0123456789abcdef", "a bearer token has letters, digits and -._~+/ only"),
        ("0123456789abcdef0123456789abcdéf", "a bearer token has letters, digits and -._~+/ only"),
        (KEY, "is a master key, which nobody is ever sent; make another"),
        ("", "the secret is empty"),
    ] {
        let [message] = messages(&with(token)).try_into().unwrap_or_else(|_| panic!("one finding: {token}"));
        assert!(message.starts_with(&format!("server.admin_token: {expected}")), "{message}");
    }
    let twice = with(long).variable("CLOAKROOM_ADMIN_TOKEN_FILE", "token");
    assert_eq!(messages(&twice), ["server.admin_token: also given by CLOAKROOM_ADMIN_TOKEN; leave one of them out"]);
}

#[test]
fn an_admin_token_that_travels_in_the_clear_is_told() {
    let weakened = |listen: &str| {
        let sources = short().variable("CLOAKROOM_ADMIN_TOKEN", "0123456789abcdef0123456789abcdef");
        load(&sources.variable("CLOAKROOM_ADMIN_LISTEN", listen)).weakened.len()
    };
    assert_eq!(["127.0.0.1:9090", "[::1]:9090", "off", "0.0.0.0:9090", "10.0.0.1:9090"].map(weakened), [0, 0, 0, 1, 1]);
}

#[test]
fn without_a_name_there_must_be_one_provider() {
    let sources = shop("[providers.other]\nissuer = \"https://other.example.com\"");
    assert_eq!(messages(&sources), [r#"frontends.shop.provider: the provider is missing; there is "corp", "other""#]);
}

#[test]
fn the_page_after_logout_is_a_page_of_the_app() {
    let route = "routes = [{ path = \"/api\", upstream = \"https://api.example.com\" }]";
    let with = |target: &str| shop(&format!("after_logout = '{target}'\n{route}"));
    for good in ["/", "/goodbye?a=b#c", "/apix"] {
        assert_eq!(load(&with(good)).frontends[0].after_logout, good);
    }
    for bad in
        ["", "goodbye", "//evil.example", "/\\evil.example", "/..//evil.example", "/a b", "/ü", "/bff/login", "/api/x"]
    {
        assert_eq!(messages(&with(bad)).len(), 1, "{bad}");
    }
}

/// The key is written twice in the code, as a field and as text: this holds them together.
#[test]
fn a_wrong_type_is_told_at_its_own_place() {
    for pattern in raw::all_keys() {
        let path = pattern.replace("providers.NAME", "providers.corp").replace("frontends.NAME", "frontends.shop");
        let path = path.split('.').fold(KeyPath::default(), |path, key| match key.strip_suffix("[]") {
            Some(list) => path.key(list).index(0),
            None => path.key(key),
        });
        let Ok(mut tree) = Tree::from_toml("cloakroom.toml", SOUND) else { panic!("SOUND is sound") };
        assert!(tree.set(&path, toml::Value::Float(1.5), Origin::NotSet).is_ok());
        let text = toml::to_string(&tree.values).unwrap();
        let Err(findings) = Config::load(&file(&text)) else { panic!("{path} took a number:\n{text}") };
        assert!(findings.iter().any(|finding| finding.path.starts_with(&path.to_string())), "{path}: {findings}");
    }
}

#[test]
fn a_listener_with_tls_serves_no_http_frontend() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("tls.pem"), "").unwrap();
    let with_tls = |url: &str| {
        let sources = short().directory(directory.path()).variable("CLOAKROOM_URL", url);
        sources.variable("CLOAKROOM__SERVER__TLS__CERT", "tls.pem").variable("CLOAKROOM__SERVER__TLS__KEY", "tls.pem")
    };
    load(&with_tls("https://localhost:8443"));
    assert_eq!(messages(&with_tls("http://localhost:8080")).len(), 1);
}

#[test]
fn names_are_plain() {
    for name in ["1shop", "sh\u{f6}p", "a b", "a__b", "-a"] {
        let text = SOUND.replace("[frontends.shop]", &format!("[frontends.\"{name}\"]"));
        assert_eq!(messages(&file(&text)).len(), 1, "{name}");
    }
}

#[test]
fn a_variable_inside_a_table_of_the_file_is_its_origin() {
    let text = SOUND.replace("\"hunter2\"", "{ file = \"/nowhere\" }");
    let sources = file(&text).variable("CLOAKROOM__FRONTENDS__SHOP__CLIENT_AUTH__SECRET__FILE", "/nowhere/else");
    insta::assert_snapshot!(findings(&sources), @r#"
    cloakroom: 1 problem in the configuration
      frontends.shop.client_auth.secret  (variable CLOAKROOM__FRONTENDS__SHOP__CLIENT_AUTH__SECRET__FILE) there is no file "/nowhere/else"
    "#);
}

#[test]
fn what_is_wrong_with_an_upstreams_tls_is_told_like_that_of_the_listener() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("api.key"), "hello").unwrap();
    let told = |upstream: &str, rest: &str| {
        let route = format!("{{ path = \"/a\", upstream = \"{upstream}://a.example\", token = \"none\", {rest} }}");
        messages(&shop(&format!("routes = [{route}]")).directory(directory.path()))
            .into_iter()
            .map(|message| message.replace("frontends.shop.routes[0].", ""))
            .collect::<Vec<_>>()
    };
    for (rest, finding) in [
        ("upstream_tls = { key = \"api.key\" }", "upstream_tls.cert: the PEM file is missing; set \"cert\""),
        ("upstream_tls = { cert = \"api.key\" }", "upstream_tls.key: the PEM file is missing; set \"key\""),
        ("upstream_tls = { cert = \"nowhere\", key = \"api.key\" }", "upstream_tls.cert: there is no file \"nowhere\""),
        (
            "upstream_tls = { ca_file = \"api.key\" }",
            "upstream_tls.ca_file: holds no PEM certificate (-----BEGIN CERTIFICATE-----)",
        ),
        (
            "upstream_tls = { server_name = \"https://a\" }",
            "upstream_tls.server_name: \"https://a\" is no name or IP address of a certificate",
        ),
        ("upstream_tls = { ca = \"x\" }", "upstream_tls.ca: unknown key; did you mean \"ca_file\"?"),
        ("http_version = \"3\"", "http_version: \"3\" is not known; there is \"auto\", \"1.1\", \"2\""),
        ("http_version = 2", "http_version: a number where text in quotes is expected"),
    ] {
        assert_eq!(told("https", rest), [finding], "{rest}");
    }
    assert_eq!(
        told("http", "upstream_tls = { server_name = \"a\" }"),
        ["upstream_tls: means nothing to an upstream that is not https; leave it out, or write https"]
    );
}

#[test]
fn a_denied_address_is_a_network() {
    let sources = shop("[server]\ndenied_addresses = [\"169.254.0.0/33\", \"metadata\", \"::1\"]");
    assert_eq!(
        messages(&sources),
        [
            "server.denied_addresses[0]: \"169.254.0.0/33\" is not a network, such as \"10.0.0.0/8\"",
            "server.denied_addresses[1]: \"metadata\" is not a network, such as \"10.0.0.0/8\"",
        ]
    );
}

#[test]
fn a_rate_is_a_number_and_a_time() {
    for (rate, complaint) in [
        ("600", "600 has no time; write \"600/1m\" if so many a minute are meant"),
        ("600/60", "60 has no unit; write \"60s\" if seconds are meant"),
        ("0/1m", "would let nobody log in; write \"off\" for no limit"),
        ("600/0s", "\"600/0s\" is no limit; write \"off\" if none is meant"),
        ("4000000000/1ms", "\"4000000000/1ms\" is no limit; write \"off\" if none is meant"),
        ("often", "\"often\" is neither \"off\" nor a number and a time, such as \"600/1m\""),
        ("-1/1m", "\"-1/1m\" is neither \"off\" nor a number and a time, such as \"600/1m\""),
    ] {
        let messages = messages(&short().variable("CLOAKROOM__SERVER__LOGIN_RATE", rate));
        assert_eq!(messages, [format!("server.login_rate: {complaint}")]);
    }
    let rate = |text: &str| load(&short().variable("CLOAKROOM__SERVER__LOGIN_RATE", text)).server.login_rate;
    assert_eq!(rate("off"), None);
    assert_eq!(rate("30/10s"), Some(Rate { times: 30, per: Duration::from_secs(10) }));
}

#[test]
fn a_limit_that_lets_nobody_in_or_everything_is_told() {
    for (variable, value) in [
        ("CLOAKROOM__SERVER__MAX_HEADER_COUNT", "39"),
        ("CLOAKROOM__SERVER__MAX_HEADER_COUNT", "1001"),
        ("CLOAKROOM__SERVER__MAX_IN_FLIGHT", "0"),
        ("CLOAKROOM__SERVER__MAX_CONNECTIONS", "0"),
        ("CLOAKROOM__SERVER__MAX_CONNECTIONS", "-1"),
    ] {
        assert_eq!(messages(&short().variable(variable, value)).len(), 1, "{variable}={value}");
    }
    let counts = load(&short().variable("CLOAKROOM__SERVER__MAX_HEADER_COUNT", "200")).server.max_header_count;
    assert_eq!(counts, 200);
}
