//! Connections: TCP, TLS if asked for, then who we are.

use std::io;
use std::path::Path;
use std::sync::Arc;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, RedisConnectionInfo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::failure::{Done, Failure};
use super::link::RESPONSE_LIMIT;
use super::target::{Account, Files, Node};
use crate::tls;

/// How to connect to nodes that know us by the same account.
#[derive(Clone)]
pub(super) struct Dialer {
    tls: Option<TlsConnector>,
    login: RedisConnectionInfo,
}

/// An open connection that many callers share. The task that moves its bytes ends with its last clone.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) commands: MultiplexedConnection,
    pub(super) node: Node,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl Dialer {
    /// Reads the files for TLS; connects to nothing.
    pub(super) fn new(files: Option<&Files>, account: &Account, database: i64) -> Done<Self> {
        let mut login = RedisConnectionInfo::default().set_db(database).set_skip_set_lib_name();
        if let Some(user) = &account.user {
            login = login.set_username(user);
        }
        if let Some(password) = &account.password {
            login = login.set_password(password.expose());
        }
        Ok(Self { tls: files.map(connector).transpose()?, login })
    }

    pub(super) async fn connect(&self, node: Node) -> Done<Connection> {
        let config =
            AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_LIMIT)).set_connection_timeout(None);
        let stream = self.stream(&node).await?;
        let opened = MultiplexedConnection::new_with_config(&self.login, stream, config).await;
        let (commands, driver) = opened.map_err(|error| Failure::connecting(&error))?;
        let task = Arc::new(AbortOnDropHandle::new(tokio::spawn(driver)));
        Ok(Connection { commands, node, _task: task })
    }

    /// A connection that does nothing but listen.
    pub(super) async fn listen(&self, node: &Node) -> Done<PubSub> {
        let stream = self.stream(node).await?;
        PubSub::new(&self.login, stream).await.map_err(|error| Failure::connecting(&error))
    }

    async fn stream(&self, node: &Node) -> Done<Box<dyn Stream>> {
        let opened = async {
            let tcp = TcpStream::connect((node.host.as_str(), node.port)).await?;
            tcp.set_nodelay(true)?;
            let Some(tls) = &self.tls else { return Ok(Box::new(tcp) as Box<dyn Stream>) };
            let name = ServerName::try_from(node.host.clone()).map_err(io::Error::other)?;
            Ok(Box::new(tls.connect(name, tcp).await?) as Box<dyn Stream>)
        };
        opened.await.map_err(|error: io::Error| Failure::Unreachable(error.to_string()))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

fn connector(files: &Files) -> Done<TlsConnector> {
    let unsuitable = |text: String| Failure::Unsuitable(format!("TLS to Redis: {text}"));
    let ca = files.ca.as_ref().map(std::fs::read).transpose().map_err(|error| unsuitable(format!("ca: {error}")))?;
    let config = tls::client_config(ca.as_deref()).map_err(|error| unsuitable(error.to_string()))?;
    let Some((cert, key)) = &files.identity else { return Ok(config.into()) };
    let key = identity(cert, key, config.crypto_provider()).map_err(|text| unsuitable(format!("cert, key: {text}")))?;
    let mut config = rustls::ClientConfig::clone(&config);
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(key));
    Ok(Arc::new(config).into())
}

fn identity(cert: &Path, key: &Path, provider: &rustls::crypto::CryptoProvider) -> Result<CertifiedKey, String> {
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| error.to_string())?;
    let chain = chain.map_err(|error| error.to_string())?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| error.to_string())
}
