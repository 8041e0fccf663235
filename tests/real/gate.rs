//! A place on the wire between two programs: connections can be refused, broken off and slowed there.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// Passes bytes on to one address, as they come until it is told otherwise.
pub(crate) struct Gate {
    /// Where it listens while it is open, and refuses while it is shut.
    pub(crate) address: SocketAddr,
    target: SocketAddr,
    delay: watch::Sender<Duration>,
    passing: Option<JoinHandle<()>>,
    /// Bound and never listening: nobody else gets the port while the gate is shut.
    _reserved: TcpSocket,
}

impl Gate {
    /// An open gate before `target`, at a port of its own.
    pub(crate) fn before(target: SocketAddr) -> Self {
        let reserved = socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let address = reserved.local_addr().expect("it is bound");
        let delay = watch::Sender::new(Duration::ZERO);
        let mut gate = Self { address, target, delay, passing: None, _reserved: reserved };
        gate.open();
        gate
    }

    /// Lets connections through.
    pub(crate) fn open(&mut self) {
        let listener = socket(self.address).listen(BACKLOG).expect("the port is ours");
        self.passing = Some(tokio::spawn(pass(listener, self.target, self.delay.subscribe())));
    }

    /// Breaks all connections off and refuses new ones.
    pub(crate) async fn shut(&mut self) {
        if let Some(passing) = self.passing.take() {
            passing.abort();
            // The listener is closed when the task is gone.
            let _ = passing.await;
        }
    }

    /// From now on whatever goes to the target arrives this much later, also if its sender is gone by then. Answers are as fast as
    /// ever.
    pub(crate) fn slow(&self, delay: Duration) {
        self.delay.send_replace(delay);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(passing) = &self.passing {
            passing.abort();
        }
    }
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    socket.set_reuseport(true).expect("a port can be shared");
    socket.set_reuseaddr(true).expect("a port can be used again");
    socket.bind(address).expect("a port is free");
    socket
}

async fn pass(listener: TcpListener, target: SocketAddr, delay: watch::Receiver<Duration>) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((here, _)) = listener.accept() => {
                connections.spawn(relay(here, target, delay.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Both ways, until the target is done, or has all that was sent: what is half closed is of no use to those who speak through a gate.
async fn relay(here: TcpStream, target: SocketAddr, delay: watch::Receiver<Duration>) {
    let Ok(there) = TcpStream::connect(target).await else { return };
    let _ = (here.set_nodelay(true), there.set_nodelay(true));
    let ((requests, answered), (answers, requested)) = (here.into_split(), there.into_split());
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::select! {
        ((), ()) = async { tokio::join!(read(requests, sender, delay), write(requested, receiver)) } => {}
        () = copy(answers, answered) => {}
    }
}

/// Notes for each piece when it is due: one that waits does not hold up the reading of the next.
async fn read(
    mut from: OwnedReadHalf,
    to: mpsc::UnboundedSender<(Instant, Vec<u8>)>,
    delay: watch::Receiver<Duration>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let due = Instant::now() + *delay.borrow();
        if to.send((due, buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}

async fn write(mut to: OwnedWriteHalf, mut pieces: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>) {
    while let Some((due, piece)) = pieces.recv().await {
        tokio::time::sleep_until(due).await;
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    if tokio::io::copy(&mut from, &mut to).await.is_err() {
        // Nobody waits for answers any more; what was asked still arrives.
        let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    }
}

const BACKLOG: u32 = 1024;
