//! Calls on connections that are opened for them.

use std::sync::Arc;

use http::{Request, Response};

use super::answer::Answer;
use super::connect::speaks_http2;
use super::lent::Lent;
use super::link::Link;
use super::once::Opened;
use super::origin::{CallError, Next, Origin, Outcome, Ready, Versions, origin_form};
use super::outline::Outline;
use super::queue::{Place, Wish};
use super::shared::{self, Sender, Shared};
use super::socket::Socket;
use super::stage::{At, Stage};
use super::target::HttpVersion;
use crate::proxy::body::RequestBody;

impl Origin {
    /// Sends a request on a connection that is opened for it.
    pub(super) async fn call_anew(
        self: &Arc<Self>,
        address: usize,
        place: Place,
        request: Box<Request<RequestBody>>,
        stage: &Stage,
    ) -> Outcome {
        let outcome = match self.open(address, place, stage).await {
            Ok(connection) => connection.send(request, stage).await,
            Err(error) => return Outcome::Unreachable { address, error, request },
        };
        let Outcome::Unsent(request) = outcome else { return outcome };
        let error = CallError::Connect("the connection was closed as soon as it was open".into());
        self.failed(address, &error);
        Outcome::Unreachable { address, error, request }
    }

    async fn open(self: &Arc<Self>, address: usize, place: Place, stage: &Stage) -> Result<Ready, CallError> {
        if self.target.http_version == HttpVersion::Http2 {
            stage.reached(At::Connecting(address));
            let sender = self.open_for_all(address, place).wait().await?;
            return Ok(Ready::Shared(Shared { sender, origin: self.clone(), address, reused: false }));
        }
        let (socket, generation) = self.connect(address, place, Versions::Any, stage).await?;
        if speaks_http2(&self.target, socket.io()) {
            let sender = self.begin(address, socket, generation).await?;
            return Ok(Ready::Shared(Shared { sender, origin: self.clone(), address, reused: false }));
        }
        let link = Link::new(socket).await.map_err(|error| self.unusable(address, error))?;
        Ok(Ready::Link(Lent { link: Box::new(link), origin: self.clone(), generation, address, reused: false }))
    }

    /// Calls that come at the same time to who speaks HTTP/2 only open one connection together.
    fn open_for_all(self: &Arc<Self>, address: usize, place: Place) -> Opened {
        // Dropped only after the lock, if another call was faster.
        let mut place = Some(place);
        self.pools().opening(address).join(|| {
            let (origin, place) = (self.clone(), place.take());
            async move {
                let place = place.ok_or_else(|| CallError::Connect("there is no room for it".into()))?;
                let (socket, generation) = origin.connect(address, place, Versions::Any, &Stage::new()).await?;
                origin.begin(address, socket, generation).await
            }
        })
    }

    async fn begin(&self, address: usize, socket: Socket, generation: u64) -> Result<Sender, CallError> {
        let sender = shared::begin(socket).await.map_err(|error| self.unusable(address, error))?;
        self.pools().share(address, generation, &sender);
        Ok(sender)
    }

    /// A connection for one call, which becomes another protocol.
    pub(super) async fn upgrade(
        self: &Arc<Self>,
        mut request: Request<RequestBody>,
        stage: &Stage,
    ) -> Result<Response<Answer>, CallError> {
        let outline = Outline::of(&request);
        *request.uri_mut() = origin_form(outline.target());
        let mut failed = Vec::new();
        let (address, socket) = loop {
            // Who wishes for a new connection is given nothing else.
            let Next::New(address, place) = self.next(Wish::New, &failed, stage).await? else { continue };
            match self.connect(address, place, Versions::Http1, stage).await {
                Ok((socket, _)) => break (address, socket),
                Err(error) if failed.len() + 1 == self.target.width() => return Err(error),
                Err(_) => failed.push(address),
            }
        };
        let link = Link::new(socket).await.map_err(|error| self.unusable(address, error))?;
        stage.reached(At::Sent);
        match link.detach().send_request(request).await {
            Ok(answer) => {
                self.answered(address);
                Ok(answer.map(Answer::alone))
            }
            Err(error) => {
                self.broke(&outline, &error);
                Err(CallError::Broken(error))
            }
        }
    }

    /// Opens a connection; with it comes the generation of the connector that did.
    async fn connect(
        &self,
        address: usize,
        place: Place,
        versions: Versions,
        stage: &Stage,
    ) -> Result<(Socket, u64), CallError> {
        stage.reached(At::Connecting(address));
        let (connector, generation) = self.pools().connector();
        let connected = connector.connect(&self.target, self.target.address(address), versions).await;
        let io = connected.inspect_err(|error| {
            if matches!(error, CallError::Connect(_)) {
                self.failed(address, error);
            }
        })?;
        Ok((Socket::new(io, place), generation))
    }

    fn unusable(&self, address: usize, error: hyper::Error) -> CallError {
        let error = CallError::Connect(error.into());
        self.failed(address, &error);
        error
    }
}
