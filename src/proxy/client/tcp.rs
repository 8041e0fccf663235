//! From a host to an open TCP connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};

use super::connect::ConnectError;
use crate::denied::DeniedAddresses;

/// Looks the host up, leaves out what is denied, and connects to the first address that answers. An address needs no lookup.
pub(super) async fn connect(host: &str, port: u16, denied: &DeniedAddresses) -> Result<TcpStream, ConnectError> {
    let owned = || host.to_owned();
    let found = lookup_host((host, port)).await.map_err(|source| ConnectError::Lookup { host: owned(), source })?;
    let addresses = denied.sift(found).map_err(|source| ConnectError::Denied { host: owned(), source })?;
    open(addresses).await.map_err(|source| ConnectError::Tcp { host: owned(), source })
}

async fn open(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let stream = first(alternating(addresses)).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    Ok(stream)
}

/// RFC 8305 §5: one address after the other, each with a head start.
async fn first(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    loop {
        attempts.extend(addresses.next().map(TcpStream::connect));
        let limit = if addresses.len() == 0 { Duration::MAX } else { HEAD_START };
        match tokio::time::timeout(limit, attempts.next()).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => failure = error,
            Ok(None) => return Err(failure),
            Err(_) => {}
        }
    }
}

/// RFC 8305 §4: the families in turns, so that a network that carries only one of them costs one head start.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let preferred = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (ones, others): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == preferred);
    let (mut turns, mut others) = (Vec::new(), others.into_iter());
    for one in ones {
        turns.push(one);
        turns.extend(others.next());
    }
    turns.extend(others);
    turns
}

/// RFC 8305 §8 recommends it.
const HEAD_START: Duration = Duration::from_millis(250);
const KEEPALIVE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    #[cfg(target_os = "linux")]
    use tokio::net::TcpSocket;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_in_the_order_of_the_resolver() {
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1", "127.0.0.2:1"]);
        let turns = addresses(&["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1", "[::3]:1"]);
        assert_eq!(alternating(found), turns);
        let found = addresses(&["127.0.0.1:1", "[::1]:1", "[::2]:1"]);
        assert_eq!(alternating(found.clone()), found);
        assert_eq!(alternating(Vec::new()), Vec::new());
    }

    #[tokio::test]
    async fn an_address_that_refuses_makes_way_for_the_next_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answers = listener.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let stream = open(vec![closed, answers]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), answers);
        assert!(stream.nodelay().unwrap() && SockRef::from(&stream).keepalive().unwrap());
        let failure = open(vec![closed, closed]).await.unwrap_err();
        assert_eq!(failure.kind(), io::ErrorKind::ConnectionRefused);
    }

    /// Linux answers nobody for whom there is no place to wait in.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_address_that_says_nothing_does_not_keep_the_next_waiting() {
        let full = TcpSocket::new_v4().unwrap();
        full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = full.listen(1).unwrap();
        let silent = full.local_addr().unwrap();
        let _waiting = [TcpStream::connect(silent).await.unwrap(), TcpStream::connect(silent).await.unwrap()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answers = listener.local_addr().unwrap();
        let opened = tokio::time::timeout(Duration::from_secs(5), open(vec![silent, answers])).await;
        assert_eq!(opened.expect("the next is tried beside it").unwrap().peer_addr().unwrap(), answers);
    }

    #[tokio::test]
    async fn a_name_without_address_is_told() {
        let failure = first(Vec::new()).await.unwrap_err();
        assert_eq!(failure.kind(), io::ErrorKind::NotFound);
    }
}
