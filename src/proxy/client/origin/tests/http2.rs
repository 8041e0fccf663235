//! Requests that are lost on a connection which calls share.

use h2::Reason;
use h2::server::{self, SendResponse};
use http::Response;
use tokio::io::DuplexStream;

use super::*;

type Server = server::Connection<DuplexStream, Bytes>;

/// An upstream whose only address has an HTTP/2 connection open already.
async fn shared(upstream: &Upstream) -> (Arc<Origin>, Server) {
    let origin = upstream.origin(&Client::for_tests());
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (sender, server) = tokio::join!(crate::proxy::client::shared::begin(ours), server::handshake(theirs));
    origin.pools().share(0, 0, &sender.unwrap());
    (origin, server.unwrap())
}

/// The next request, and a task that drives the connection from then on.
async fn next(mut server: Server) -> (SendResponse<Bytes>, mpsc::UnboundedSender<Reason>) {
    let (request, respond) = server.accept().await.unwrap().unwrap();
    drop(request);
    let (go_away, mut told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                next = server.accept() => if next.is_none() { return },
                Some(reason) = told.recv() => server.abrupt_shutdown(reason),
            }
        }
    });
    (respond, go_away)
}

#[tokio::test]
async fn a_stream_that_was_refused_is_sent_again_by_any_method() {
    let mut upstream = Upstream::start().await;
    for method in [Method::GET, Method::POST] {
        let (origin, server) = shared(&upstream).await;
        let called = calling(&origin, request(method, upstream.address));
        let (mut respond, _driving) = next(server).await;
        origin.pools().lose_shared(0);
        respond.send_reset(Reason::REFUSED_STREAM);
        answer(&mut upstream.accepted().await, OK).await;
        assert_eq!(called.await.unwrap().unwrap(), "ok");
        assert_eq!(failures(&origin), [0]);
        while origin.idle().is_some() {}
    }
}

#[tokio::test]
async fn a_stream_that_was_reset_otherwise_is_not_sent_again_and_the_connection_stays() {
    let mut upstream = Upstream::start().await;
    let (origin, server) = shared(&upstream).await;
    let called = upstream.calling(&origin);
    let (mut respond, _driving) = next(server).await;
    respond.send_reset(Reason::INTERNAL_ERROR);
    assert!(matches!(called.await.unwrap(), Err(CallError::Broken(_))));
    assert!(upstream.nobody_came());
    assert!(matches!(origin.pools().choose(Wish::Any, &[], &mut false), Ok(Choice::Shared(..))));
}

#[tokio::test]
async fn a_connection_that_dies_loses_no_get_and_sends_no_post_twice() {
    let mut upstream = Upstream::start().await;
    for (method, again) in [(Method::GET, true), (Method::POST, false)] {
        let (origin, mut server) = shared(&upstream).await;
        let called = calling(&origin, request(method, upstream.address));
        let accepted = server.accept().await.unwrap().unwrap();
        drop(server);
        drop(accepted);
        if again {
            answer(&mut upstream.accepted().await, OK).await;
            assert_eq!(called.await.unwrap().unwrap(), "ok");
            while origin.idle().is_some() {}
        } else {
            assert!(matches!(called.await.unwrap(), Err(CallError::Broken(_))));
            assert!(upstream.nobody_came());
        }
    }
}

#[tokio::test]
async fn what_a_server_that_goes_away_has_not_looked_at_is_sent_again() {
    let mut upstream = Upstream::start().await;
    let (origin, mut server) = shared(&upstream).await;
    // The first is looked at, the second comes after it has said goodbye.
    let first = upstream.calling(&origin);
    let (_, mut respond) = server.accept().await.unwrap().unwrap();
    server.graceful_shutdown();
    let second = calling(&origin, request(Method::POST, upstream.address));
    let driving = tokio::spawn(async move { while server.accept().await.is_some() {} });
    respond.send_response(Response::new(()), true).unwrap();
    first.await.unwrap().unwrap();
    tokio::select! {
        mut connection = upstream.accepted() => { answer(&mut connection, OK).await; }
        _ = driving => answer(&mut upstream.accepted().await, OK).await.clear(),
    }
    assert_eq!(second.await.unwrap().unwrap(), "ok");
}
