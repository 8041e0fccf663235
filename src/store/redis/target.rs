//! What a `redis:` URL says: which servers, who we are there, what our keys begin with.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use crate::secret::Secret;

/// A URL, taken apart. Nothing in it was looked up or read yet.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) servers: Kind,
    pub(super) hosts: Vec<Node>,
    pub(super) account: Account,
    pub(super) database: i64,
    pub(super) tls: Option<Files>,
    /// What every key and the channel begin with.
    pub(super) prefix: String,
}

/// What the hosts of a URL are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The server.
    Server,
    /// Sentinels, which know the primary of `service`.
    Sentinels {
        /// The name they know it by.
        service: String,
        /// Who we are to the sentinels.
        account: Account,
    },
    /// Nodes of a cluster, which know the others.
    Cluster,
}

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Node {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Who we are to a server; nobody in particular without a password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret<String>>,
}

/// PEM files beside the system's roots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// More roots.
    pub(super) ca: Option<PathBuf>,
    /// Our own certificate and its key.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
}

impl Target {
    /// # Errors
    /// What is wrong with the form, in words that quote nothing of it: it may hold a password.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or(FORMS)?;
        let (secure, kind) = match scheme.strip_prefix("rediss").map(|kind| (true, kind)) {
            Some(found) => found,
            None => (false, scheme.strip_prefix("redis").ok_or(FORMS)?),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (account, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let mut options = Options::parse(query)?;
        let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (servers, default_port, database) = match (kind, path.as_slice()) {
            ("", []) => (Kind::Server, PORT, 0),
            ("", [database]) => (Kind::Server, PORT, number(database)?),
            ("-sentinel", [service, database @ ..]) if database.len() < 2 => {
                let database = database.first().map_or(Ok(0), |text| number(text))?;
                let account = std::mem::take(&mut options.sentinels);
                (Kind::Sentinels { service: decoded(service)?, account }, SENTINEL_PORT, database)
            }
            ("-sentinel", _) => return Err("sentinels need the name of a service after the hosts".to_owned()),
            ("-cluster", []) => (Kind::Cluster, PORT, 0),
            ("-cluster", _) => return Err("a cluster has one database only; nothing may follow the hosts".to_owned()),
            _ => return Err(FORMS.to_owned()),
        };
        let hosts: Vec<Node> =
            hosts.split(',').map(|host| Node::parse(host, default_port)).collect::<Result<_, _>>()?;
        if hosts.len() > 1 && servers == Kind::Server {
            return Err("redis:// names one server; write redis-cluster:// or redis-sentinel:// for several".to_owned());
        }
        if !secure && options.files != Files::default() {
            return Err("ca, cert and key are for TLS; write rediss".to_owned());
        }
        let tls = secure.then_some(options.files);
        Ok(Self { servers, hosts, account: Account::parse(account)?, database, tls, prefix: options.prefix })
    }
}

impl Node {
    pub(super) fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port =
            port.map_or(Ok(default_port), |port| port.parse().map_err(|_| "a port is not a number".to_owned()))?;
        if host.is_empty() {
            return Err("a host is missing".to_owned());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Account {
    /// `user:password`, `:password`, or nothing.
    fn parse(text: &str) -> Result<Self, String> {
        let Some((user, password)) = text.split_once(':') else {
            return if text.is_empty() { Ok(Self::default()) } else { Err("a user needs a password".to_owned()) };
        };
        let user = Some(decoded(user)?).filter(|user| !user.is_empty());
        Ok(Self { user, password: Some(decoded(password)?.into()) })
    }
}

struct Options {
    prefix: String,
    files: Files,
    sentinels: Account,
}

impl Options {
    fn parse(query: &str) -> Result<Self, String> {
        let mut options =
            Self { prefix: "cloakroom".to_owned(), files: Files::default(), sentinels: Account::default() };
        let (mut cert, mut key) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value)?;
            match name {
                "prefix" => options.prefix = prefix(value)?,
                "ca" => options.files.ca = Some(value.into()),
                "cert" => cert = Some(PathBuf::from(value)),
                "key" => key = Some(PathBuf::from(value)),
                "sentinel_user" => options.sentinels.user = Some(value),
                "sentinel_password" => options.sentinels.password = Some(value.into()),
                _ => return Err(format!("an unknown option; there are {OPTIONS}")),
            }
        }
        options.files.identity = match (cert, key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((cert, key)),
            _ => return Err("cert and key belong together".to_owned()),
        };
        Ok(options)
    }
}

/// Only what means nothing in a pattern and nothing in a key's slot.
fn prefix(text: String) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if text.is_empty() || !text.bytes().all(fits) {
        return Err("a prefix has letters, digits and -_.: only".to_owned());
    }
    Ok(text)
}

fn number(text: &str) -> Result<i64, String> {
    text.parse::<u16>().map(i64::from).map_err(|_| "a database is a number".to_owned())
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(String::from).map_err(|_| "a percent-encoded part is not UTF-8".to_owned())
}

const FORMS: &str = "not a Redis URL; write redis://host:6379, redis-sentinel://host1,host2/service or \
    redis-cluster://host1,host2, and rediss for TLS";
const OPTIONS: &str = "prefix, ca, cert, key, sentinel_user, sentinel_password";
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(target: &Target) -> Vec<String> {
        target.hosts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_server_is_named_by_host_port_and_database() {
        let target = Target::parse("redis://localhost").unwrap();
        assert_eq!((target.servers, target.database, target.prefix.as_str()), (Kind::Server, 0, "cloakroom"));
        let target = Target::parse("redis://user:p%40ss%2F@[::1]:7000/3?prefix=shop").unwrap();
        assert_eq!((hosts(&target), target.database, target.prefix.as_str()), (vec!["::1:7000".to_owned()], 3, "shop"));
        assert_eq!(target.account, Account { user: Some("user".to_owned()), password: Some("p@ss/".into()) });
        assert!(target.tls.is_none());
    }

    #[test]
    fn tls_takes_roots_and_an_identity() {
        let target = Target::parse("rediss://:secret@db?ca=/etc/ca.pem&cert=a&key=b").unwrap();
        let files = Files { ca: Some("/etc/ca.pem".into()), identity: Some(("a".into(), "b".into())) };
        assert_eq!((target.tls, target.account.user), (Some(files), None));
        assert_eq!(Target::parse("rediss-cluster://db").unwrap().tls, Some(Files::default()));
    }

    #[test]
    fn sentinels_name_a_service_and_clusters_their_nodes() {
        let target = Target::parse("redis-sentinel://:p@a,b:7/main/2?sentinel_password=q").unwrap();
        let account = Account { user: None, password: Some("q".into()) };
        assert_eq!((hosts(&target), target.database), (vec!["a:26379".to_owned(), "b:7".to_owned()], 2));
        assert_eq!(target.servers, Kind::Sentinels { service: "main".to_owned(), account });
        let target = Target::parse("redis-cluster://a:7000,b:7001/").unwrap();
        assert_eq!((target.servers, target.hosts.len()), (Kind::Cluster, 2));
    }

    #[test]
    fn what_is_wrong_is_said_without_quoting_it() {
        let wrong = [
            "redis:secret",
            "redisx://secret",
            "redis-x://secret",
            "redis://",
            "redis://secret@host",
            "redis://:secret@host:port",
            "redis://:secret@a,b",
            "redis://:secret@host/x",
            "redis://:secret@host/1/2",
            "redis-sentinel://:secret@host",
            "redis-sentinel://:secret@host/service/1/2",
            "redis-cluster://:secret@host/1",
            "redis://:secret@host?secret=1",
            "redis://:secret@host?prefix=",
            "redis://:secret@host?prefix=a{b}",
            "redis://:secret@host?ca=secret.pem",
            "rediss://:secret@host?cert=secret.pem",
            "redis://:secret%ff@host",
        ];
        for url in wrong {
            let said = Target::parse(url).expect_err(url);
            assert!(!said.contains("secret"), "{url}: {said}");
        }
        let shown = format!("{:?}", Target::parse("redis://:secret@host").unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
}
