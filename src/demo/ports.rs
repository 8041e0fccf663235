//! Listeners for the demo: the wanted port if it is free, else any.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;

/// Listens on `port`, or on a free one if that is taken. Answers where.
pub(super) async fn listen(address: IpAddr, port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let wanted = SocketAddr::new(address, port);
    let listener = match TcpListener::bind(wanted).await {
        Ok(listener) if port == 0 || !answers_for_localhost(port, address).await => listener,
        Ok(_) => TcpListener::bind((address, 0)).await?,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => TcpListener::bind((address, 0)).await?,
        Err(error) => return Err(error),
    };
    let had = listener.local_addr()?;
    Ok((listener, had))
}

/// Whether somebody else has the port on `[::1]`, which `localhost` may mean as well: browsers would then meet them instead of us.
async fn answers_for_localhost(port: u16, address: IpAddr) -> bool {
    let other = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let probe = TcpListener::bind((other, port)).await;
    address != other && probe.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}
