//! `[server]`: listeners, TLS, log.

use std::fmt;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tracing::level_filters::LevelFilter;

use super::raw::{self, Leaf};
use super::reader::Section;
use super::values::{self, shown};
use crate::secret::Secret;

/// `[server]`
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Server {
    /// The public listener.
    pub listen: SocketAddr,
    /// `/healthz`, `/readyz`, `/metrics` and the operators' verbs. None with `"off"`.
    pub admin_listen: Option<AdminListen>,
    /// What operators prove themselves with over TCP: 32 characters at least, a bearer token by its form (RFC 6750 §2.1).
    pub admin_token: Option<Secret<String>>,
    /// Whose `Forwarded` / `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Certificate chain and key in PEM files.
    pub tls: Option<Tls>,
    /// How long requests under way may take after SIGTERM.
    pub drain: Duration,
    /// Log lines for people or machines.
    pub log: LogFormat,
    /// What is logged beyond the default: `debug`, or `target=level` with commas between. Already checked.
    pub log_level: Option<String>,
    /// Further names the admin listener answers to.
    pub hosts: Vec<String>,
    /// Extra roots for provider and upstreams: PEM certificates, as read.
    pub ca_pem: Option<Arc<[u8]>>,
    /// Networks in which no upstream and no provider is called, whatever names resolve to.
    pub denied_addresses: Vec<IpNet>,
    /// Largest request head, in bytes.
    pub max_headers: u64,
    /// Most header fields of a request; cookies count as one.
    pub max_header_count: u32,
    /// Most requests that are answered at once, until the last byte of the answer; open WebSockets count.
    pub max_in_flight: u32,
    /// Most connections of clients at once.
    pub max_connections: u32,
    /// How often one client may begin to log in. None with `"off"`.
    pub login_rate: Option<Rate>,
}

/// So often in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How often: at once, and then spread over each `per`. At least 1.
    pub times: u32,
    /// More than nothing.
    pub per: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: Some(AdminListen::Address(SocketAddr::from(([127, 0, 0, 1], 9090)))),
            admin_token: None,
            trusted_proxies: Vec::new(),
            tls: None,
            drain: Duration::from_secs(30),
            log: LogFormat::Text,
            log_level: None,
            hosts: Vec::new(),
            ca_pem: None,
            denied_addresses: Vec::new(),
            max_headers: 64 * 1024,
            max_header_count: 80,
            max_in_flight: 10_000,
            max_connections: 20_000,
            login_rate: Some(Rate { times: 600, per: Duration::from_mins(1) }),
        }
    }
}

/// Where the admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdminListen {
    /// An address and port. Operators need the token.
    Address(SocketAddr),
    /// The file of a Unix socket, which its owner alone may open. Operators need nothing else.
    #[cfg(unix)]
    Unix(PathBuf),
}

impl fmt::Display for AdminListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            #[cfg(unix)]
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// PEM files of the public listener.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

pub(super) fn read(raw: &raw::Server, at: &Section<'_>) -> Server {
    let default = Server::default();
    let listen = at.parse("listen", &raw.listen, address).unwrap_or(default.listen);
    let admin_listen = |text: &str| admin_listen(text, at);
    let admin_listen = at.parse("admin_listen", &raw.admin_listen, admin_listen).unwrap_or(default.admin_listen);
    let admin_token = admin_token(&raw.admin_token, at);
    if let Some(AdminListen::Address(admin)) = &admin_listen {
        if collide(*admin, listen) {
            at.complain(
                "admin_listen",
                format!("collides with server.listen {listen}; the admin listener needs its own address"),
            );
        }
        if admin_token.is_some() && !admin.ip().is_loopback() {
            at.weaken("admin_token", READABLE);
        }
    }
    Server {
        listen,
        admin_listen,
        admin_token,
        trusted_proxies: trusted_proxies(&raw.trusted_proxies, at),
        tls: raw.tls.as_ref().and_then(|raw| tls(raw, &at.section("tls"))),
        drain: at.duration_or_zero("drain", &raw.drain, default.drain),
        log: at.choice("log", &raw.log, &[("text", LogFormat::Text), ("json", LogFormat::Json)]).unwrap_or(default.log),
        log_level: at.parse("log_level", &raw.log_level, log_level),
        hosts: at.list("hosts", &raw.hosts, host).unwrap_or_default(),
        ca_pem: ca_pem(&raw.ca_file, at),
        denied_addresses: at.list("denied_addresses", &raw.denied_addresses, network).unwrap_or_default(),
        max_headers: max_headers(&raw.max_headers, at, default.max_headers),
        max_header_count: max_header_count(&raw.max_header_count, at, default.max_header_count),
        max_in_flight: most("max_in_flight", &raw.max_in_flight, at, default.max_in_flight),
        max_connections: most("max_connections", &raw.max_connections, at, default.max_connections),
        login_rate: at.measure("login_rate", &raw.login_rate, login_rate).unwrap_or(default.login_rate),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let local =
            text.strip_prefix("localhost:").map_or("127.0.0.1:8080".to_owned(), |port| format!("127.0.0.1:{port}"));
        format!("{} is not an address with a port, such as \"{local}\"", shown(text))
    })
}

/// Whether the second of two listeners would find its address taken.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_ip
}

fn admin_listen(text: &str, at: &Section<'_>) -> Result<Option<AdminListen>, String> {
    match text.strip_prefix("unix:") {
        _ if text == "off" => Ok(None),
        None => address(text).map(|address| Some(AdminListen::Address(address))),
        Some(path) if path.is_empty() || path.starts_with("//") || path.ends_with('/') => {
            Err(format!("{} is not unix:PATH, such as \"unix:/run/cloakroom/admin.sock\"", shown(text)))
        }
        Some(path) => socket(at.reader.file_path(path)).map(Some),
    }
}

#[cfg(unix)]
fn socket(path: PathBuf) -> Result<AdminListen, String> {
    match std::os::unix::net::SocketAddr::from_pathname(&path) {
        Ok(_) => Ok(AdminListen::Unix(path)),
        Err(_) => Err("is longer than the path of a Unix socket may be, about 100 bytes".to_owned()),
    }
}

#[cfg(not(unix))]
fn socket(_: PathBuf) -> Result<AdminListen, String> {
    Err("there are no Unix sockets on this system; write an address with a port".to_owned())
}

fn admin_token(leaf: &Leaf, at: &Section<'_>) -> Option<Secret<String>> {
    let token = at.secret(&at.path.key("admin_token"), leaf.0.as_ref()?)?;
    // RFC 6750 §2.1: b64token.
    let is_sendable = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if !token.expose().trim_end_matches('=').bytes().all(is_sendable) {
        at.complain("admin_token", format!("a bearer token has letters, digits and -._~+/ only; {TOKENS}"));
    } else if token.expose().len() < SHORTEST_TOKEN {
        at.complain("admin_token", format!("is shorter than {SHORTEST_TOKEN} characters; {TOKENS}"));
    }
    Some(token)
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address()).map_err(|_| format!("{} is not a network, such as \"10.0.0.0/8\"", shown(text)))
}

fn trusted_proxies(leaf: &Leaf, at: &Section<'_>) -> Vec<IpNet> {
    let networks = at.list("trusted_proxies", leaf, network).unwrap_or_default();
    if networks.iter().any(|network| network.prefix_len() == 0) {
        at.weaken("trusted_proxies", "anybody may claim any client address; name the networks of your proxies");
    }
    networks
}

fn tls(raw: &raw::Tls, at: &Section<'_>) -> Option<Tls> {
    for (key, leaf) in [("cert", &raw.cert), ("key", &raw.key)] {
        if leaf.0.is_none() {
            at.missing(key, "the PEM file");
        }
    }
    // Opened, not read: the listener reads them, and the key should be in memory once.
    let openable = |path: &Path| File::open(path).map(|_| path.to_owned());
    let cert = at.file("cert", &raw.cert, openable);
    let key = at.file("key", &raw.key, openable);
    Some(Tls { cert: cert?, key: key? })
}

fn ca_pem(leaf: &Leaf, at: &Section<'_>) -> Option<Arc<[u8]>> {
    let pem = at.file("ca_file", leaf, |path| fs::read(path))?;
    holds_certificate("ca_file", &pem, at).then(|| pem.into())
}

/// Complains about a file without certificates.
pub(super) fn holds_certificate(key: &str, pem: &[u8], at: &Section<'_>) -> bool {
    let marker = b"-----BEGIN CERTIFICATE-----";
    let holds = pem.windows(marker.len()).any(|window| window == marker);
    if !holds {
        at.complain(key, "holds no PEM certificate (-----BEGIN CERTIFICATE-----)");
    }
    holds
}

fn host(text: &str) -> Result<String, String> {
    match url::Host::parse(text) {
        Ok(host) if !text.contains(':') || text.starts_with('[') => Ok(host.to_string()),
        _ => Err(format!("{} is not a host name; write it without scheme, port and path", shown(text))),
    }
}

fn max_headers(leaf: &Leaf, at: &Section<'_>, default: u64) -> u64 {
    let size = at.size("max_headers", leaf, default);
    if size < MIN_HEADERS {
        at.complain("max_headers", "is less than 8KiB, which browsers with a few logins under way exceed");
    } else if size > MAX_HEADERS {
        at.complain("max_headers", "is more than 1MiB, which one client could fill a thousand times");
    }
    size
}

fn max_header_count(leaf: &Leaf, at: &Section<'_>, default: u32) -> u32 {
    let count = at.number("max_header_count", leaf).unwrap_or(default);
    if count < MIN_HEADER_COUNT {
        at.complain("max_header_count", "is less than 40, which browsers behind a few proxies come near to");
    } else if count > MAX_HEADER_COUNT {
        at.complain("max_header_count", "is more than 1000, for which every request would need much memory");
    }
    count
}

fn most(key: &str, leaf: &Leaf, at: &Section<'_>, default: u32) -> u32 {
    let most = at.number(key, leaf).unwrap_or(default);
    if most == 0 {
        at.complain(key, format!("0 would let nobody in; leave it out for {default}"));
    }
    most
}

/// `600/1m`: 600 at once, and then 600 a minute.
fn login_rate(text: &str) -> Result<Option<Rate>, String> {
    if text == "off" {
        return Ok(None);
    }
    let unclear = || format!("{} is neither \"off\" nor a number and a time, such as \"600/1m\"", shown(text));
    if text.parse::<u32>().is_ok() {
        return Err(format!("{text} has no time; write \"{text}/1m\" if so many a minute are meant"));
    }
    let (times, per) = text.split_once('/').ok_or_else(unclear)?;
    let (times, per) = (times.parse::<u32>().map_err(|_| unclear())?, values::duration(per)?);
    match per.checked_div(times) {
        None => Err("would let nobody log in; write \"off\" for no limit".to_owned()),
        Some(Duration::ZERO) => Err(format!("{} is no limit; write \"off\" if none is meant", shown(text))),
        Some(_) => Ok(Some(Rate { times, per })),
    }
}

/// `level`, or `target=level` with commas between: what every log filter understands.
fn log_level(text: &str) -> Result<String, String> {
    let is_level = |level: &str| !level.is_empty() && level.parse::<LevelFilter>().is_ok();
    let is_target = |target: &str| target.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:-".contains(&b));
    let fits = |part: &str| match part.split_once('=') {
        Some((target, level)) => !target.is_empty() && is_target(target) && is_level(level),
        None => is_level(part),
    };
    if text.split(',').all(fits) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{} is not a log level; write error, warn, info, debug or trace, or \"cloakroom=debug,info\"",
        shown(text)
    ))
}

const READABLE: &str =
    "the admin listener speaks no TLS, so the token can be read on the way; listen on loopback or on a Unix socket";
const TOKENS: &str = "\"cloakroom keygen\" prints 43 random characters, which will do";
const SHORTEST_TOKEN: usize = 32;
const MIN_HEADERS: u64 = 8 * 1024;
const MAX_HEADERS: u64 = 1024 * 1024;
const MIN_HEADER_COUNT: u32 = 40;
const MAX_HEADER_COUNT: u32 = 1000;
