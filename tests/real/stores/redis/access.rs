//! Who may in, how, and to what kind of server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloakroom::store::suite::{key, row, row_with, term};
use cloakroom::store::{RedisBackend, SessionBackend};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::redis::{Server, fresh_prefix, shared, until};

async fn refusal(url: &str) -> String {
    RedisBackend::open(url, 0).await.expect_err("the store is refused").to_string()
}

/// What the documentation says a user needs, under another name and for another prefix.
fn documented_rights(user: &str) -> Vec<String> {
    let source = include_str!("../../../../src/store/redis.rs");
    let block =
        source.split("//! ```text").nth(1).and_then(|rest| rest.split("//! ```").next()).expect("a block of rights");
    let words = block.split_whitespace().filter(|word| *word != "//!");
    words.map(|word| word.replace("cloakroom", user)).collect()
}

/// The whole suite as a user who may do what is documented and nothing else.
mod restricted {
    use super::*;

    async fn fresh() -> (Arc<dyn SessionBackend>, ()) {
        let user = fresh_prefix();
        let rights = documented_rights(&user);
        shared().cli(&rights.iter().map(String::as_str).collect::<Vec<_>>());
        let url = format!("redis://{user}:password@127.0.0.1:{}?prefix={user}", shared().port);
        (crate::stores::redis::open(&url).await, ())
    }

    cloakroom::store_suite!(fresh);
}

#[tokio::test]
async fn a_user_who_may_not_ask_about_eviction_is_let_in() {
    let user = fresh_prefix();
    let rights = documented_rights(&user);
    shared().cli(&rights.iter().map(String::as_str).chain(["-info"]).collect::<Vec<_>>());
    let url = format!("redis://{user}:password@127.0.0.1:{}?prefix={user}", shared().port);

    assert!(RedisBackend::open(&url, 0).await.is_ok());
}

#[tokio::test]
async fn a_missing_right_is_said_without_names() {
    let user = fresh_prefix();
    let rights = documented_rights(&user);
    shared().cli(&rights.iter().map(String::as_str).collect::<Vec<_>>());
    let url = format!("redis://{user}:password@127.0.0.1:{}?prefix=another", shared().port);

    let error = refusal(&url).await;

    assert!(error.contains("NOPERM") && !error.contains(&user) && !error.contains("another"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_named_and_not_shown() {
    let server = Server::with(&["--save", "", "--requirepass", "right"]);

    for login in [":wrong-one", "somebody:wrong-one"] {
        let error = refusal(&format!("redis://{login}@127.0.0.1:{}", server.port)).await;
        assert!(error.contains("password") && !error.contains("wrong-one") && !error.contains("somebody"), "{error}");
    }
    let error = refusal(&format!("redis://127.0.0.1:{}", server.port)).await;
    assert!(error.contains("NOAUTH"), "{error}");
    assert!(RedisBackend::open(&format!("redis://:right@127.0.0.1:{}", server.port), 0).await.is_ok());
}

#[tokio::test]
async fn a_server_that_evicts_is_refused_with_the_remedy() {
    let server = Server::with(&["--save", "", "--maxmemory-policy", "allkeys-lru"]);

    let error = refusal(&server.url()).await;

    assert!(error.contains("set maxmemory-policy to noeviction"), "{error}");
    server.cli(&["config", "set", "maxmemory-policy", "noeviction"]);
    assert!(RedisBackend::open(&server.url(), 0).await.is_ok());
}

#[tokio::test]
async fn another_database_is_another_store() {
    let server = Server::start();
    let at = |database| format!("redis://127.0.0.1:{}/{database}", server.port);
    let (one, other) = (RedisBackend::open(&at(0), 0).await.unwrap(), RedisBackend::open(&at(3), 0).await.unwrap());

    one.insert(key(1), &row(), None).await.unwrap();

    assert!(other.load(key(1)).await.unwrap().is_none());
    assert_eq!(server.cli(&["-n", "0", "dbsize"]), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_without_replicas_is_there_and_said_to_be_unconfirmed() {
    let server = Server::start();
    let url = server.url();
    let (strict, lax) = (RedisBackend::open(&url, 1).await.unwrap(), RedisBackend::open(&url, 0).await.unwrap());

    let error = strict.insert(key(1), &row(), None).await.unwrap_err().to_string();

    assert!(error.contains("written, but only 0 of 1 replicas"), "{error}");
    assert!(lax.load(key(1)).await.unwrap().is_some());
    assert!(strict.load(key(1)).await.unwrap().is_some(), "reads wait for nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_with_a_replica_is_on_it_when_it_is_answered() {
    let server = Server::start();
    let replica = Server::with(&["--save", "", "--replicaof", "127.0.0.1", &server.port.to_string()]);
    until("the replica follows", async || replica.cli(&["info", "replication"]).contains("master_link_status:up"))
        .await;
    let store = RedisBackend::open(&server.url(), 1).await.unwrap();

    for n in 0..20 {
        store.insert(key(n), &row_with(&[term(n)]), None).await.unwrap();
        assert_eq!(replica.cli(&["dbsize"]), ((n + 1) * 2).to_string());
    }
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no name is wrong");
        // OpenSSL takes a certificate with its issuer's name for self-signed.
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        Self(CertifiedIssuer::self_signed(params, key).expect("it can be signed"))
    }

    /// Writes its own certificate and answers where.
    fn file(&self, folder: &Path, name: &str) -> PathBuf {
        write(folder, name, &self.0.pem())
    }

    /// Writes a certificate for this machine and its key.
    fn issue(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key can be made");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address is a name");
        let cert = params.signed_by(&key, &self.0).expect("it can be signed");
        let cert = write(folder, &format!("{name}.pem"), &cert.pem());
        (cert, write(folder, &format!("{name}.key"), &key.serialize_pem()))
    }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("the file can be written");
    path
}

/// A server that speaks TLS only, and asks for certificates or does not.
fn tls_server(authority: &Authority, folder: &Path, clients: &str) -> Server {
    let (ca, (cert, key)) = (authority.file(folder, "ca.pem"), authority.issue(folder, "server"));
    let path = |path: &Path| path.to_str().expect("the path is text").to_owned();
    let (ca, cert, key) = (path(&ca), path(&cert), path(&key));
    let files = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    Server::with_tls(&[&files[..], &["--save", "", "--tls-auth-clients", clients]].concat())
}

#[tokio::test]
async fn tls_trusts_the_given_authority_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let server = tls_server(&Authority::new(), folder.path(), "no");
    let other = Authority::new().file(folder.path(), "other.pem");
    let url = |ca: &Path| format!("rediss://127.0.0.1:{}?ca={}", server.port, ca.display());

    let store = RedisBackend::open(&url(&folder.path().join("ca.pem")), 0).await.unwrap();
    store.insert(key(1), &row(), None).await.unwrap();
    assert!(store.load(key(1)).await.unwrap().is_some());

    let error = refusal(&url(&other)).await;
    assert!(error.contains("certificate"), "{error}");
    let error = refusal(&format!("rediss://127.0.0.1:{}", server.port)).await;
    assert!(error.contains("certificate"), "{error}");
    let error = refusal(&url(&folder.path().join("missing.pem"))).await;
    assert!(error.contains("ca:"), "{error}");
    let error = refusal(&format!("redis://127.0.0.1:{}", server.port)).await;
    assert!(error.contains("no connection to Redis") || error.contains("broke"), "{error}");
}

#[tokio::test]
async fn a_server_that_wants_our_certificate_gets_it() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let server = tls_server(&authority, folder.path(), "yes");
    let (cert, key_file) = authority.issue(folder.path(), "client");
    let url = format!("rediss://127.0.0.1:{}?ca={}", server.port, folder.path().join("ca.pem").display());

    let store =
        RedisBackend::open(&format!("{url}&cert={}&key={}", cert.display(), key_file.display()), 0).await.unwrap();
    store.insert(key(1), &row(), None).await.unwrap();

    assert!(RedisBackend::open(&url, 0).await.is_err());
}
