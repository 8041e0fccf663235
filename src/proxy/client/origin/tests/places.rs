//! How many connections there may be, and who waits for one.

use std::sync::atomic::AtomicUsize;

use super::super::super::queue::LONGEST;
use super::*;

fn narrow(upstream: &Upstream, max: u32) -> Arc<Origin> {
    let target = Target { max_connections: NonZeroU32::new(max).unwrap(), ..target(upstream.address) };
    Client::for_tests().origin(target).unwrap()
}

/// Waits until so many connections are open.
async fn until_open(origin: &Origin, count: usize) {
    while origin.pools().open() != count {
        tokio::task::yield_now().await;
    }
}

async fn until_waiting(origin: &Origin, count: usize) {
    while origin.pools().waiting() != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_thousand_calls_are_all_answered_over_eight_connections() {
    let mut upstream = Upstream::start().await;
    let origin = narrow(&upstream, 8);
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let calls: Vec<_> = (0..1000).map(|_| upstream.calling(&origin)).collect();
    let seen = (open.clone(), most.clone());
    let serving = tokio::spawn(async move {
        loop {
            let (mut connection, (open, most)) = (upstream.accepted().await, seen.clone());
            tokio::spawn(async move {
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let mut read = [0; 1024];
                // Every hundredth answer is the last of its connection.
                for count in 1.. {
                    if connection.read(&mut read).await.unwrap_or(0) == 0 {
                        break;
                    }
                    let last = if count == 100 { "connection: close\r\n" } else { "" };
                    let answer = format!("HTTP/1.1 200 OK\r\n{last}content-length: 2\r\n\r\nok");
                    if count == 100 {
                        open.fetch_sub(1, Ordering::SeqCst);
                        let _ = connection.write_all(answer.as_bytes()).await;
                        return;
                    }
                    let _ = connection.write_all(answer.as_bytes()).await;
                }
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), "ok");
    }
    assert!(most.load(Ordering::SeqCst) <= 8, "{most:?}");
    serving.abort();
}

#[tokio::test]
async fn a_place_is_free_again_however_its_call_ends() {
    let mut upstream = Upstream::start().await;
    let origin = narrow(&upstream, 1);
    let given_up = upstream.calling(&origin);
    answer(&mut upstream.accepted().await, "").await;
    given_up.abort();
    until_open(&origin, 0).await;

    let broken = upstream.calling(&origin);
    answer(&mut upstream.accepted().await, "").await;
    broken.await.unwrap().unwrap_err();
    assert_eq!(origin.pools().open(), 0);

    let begun = tokio::spawn({
        let (origin, request) = (origin.clone(), upstream.request());
        async move { origin.call(request, Versions::Any, &Stage::new()).await }
    });
    answer(&mut upstream.accepted().await, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    drop(begun.await.unwrap().unwrap());
    assert_eq!(origin.pools().open(), 0);

    let panicked = tokio::spawn({
        let (origin, request) = (origin.clone(), upstream.request());
        async move {
            let _answer = origin.call(request, Versions::Any, &Stage::new()).await.unwrap();
            panic!("on purpose");
        }
    });
    answer(&mut upstream.accepted().await, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    panicked.await.unwrap_err();
    assert_eq!(origin.pools().open(), 0);

    upstream.listening.abort();
    let _ = (&mut upstream.listening).await;
    upstream.calling(&origin).await.unwrap().unwrap_err();
    assert_eq!(origin.pools().open(), 0);
}

#[tokio::test]
async fn who_waits_longest_is_next_and_who_leaves_is_passed_over() {
    let mut upstream = Upstream::start().await;
    let origin = narrow(&upstream, 1);
    let first = upstream.calling(&origin);
    let mut connection = upstream.accepted().await;
    let mut waiting = Vec::new();
    for count in 1..=4 {
        waiting.push(upstream.calling(&origin));
        until_waiting(&origin, count).await;
    }
    for leaving in [0, 2] {
        waiting[leaving].abort();
    }
    answer(&mut connection, OK).await;
    assert_eq!(first.await.unwrap().unwrap(), "ok");
    answer(&mut connection, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
    let [_, second, _, last] = <[_; 4]>::try_from(waiting).ok().unwrap();
    assert_eq!(second.await.unwrap().unwrap(), "ok");
    // A connection that is closed leaves its place.
    answer(&mut upstream.accepted().await, OK).await;
    assert_eq!(last.await.unwrap().unwrap(), "ok");
}

#[tokio::test]
async fn only_so_many_wait_and_those_who_left_do_not_count() {
    let mut upstream = Upstream::start().await;
    let origin = narrow(&upstream, 1);
    let first = upstream.calling(&origin);
    let mut connection = upstream.accepted().await;
    let waiting: Vec<_> = (0..LONGEST).map(|_| upstream.calling(&origin)).collect();
    until_waiting(&origin, LONGEST).await;
    assert!(matches!(call(&origin, upstream.request()).await, Err(CallError::Busy)));
    for waiting in waiting {
        waiting.abort();
        let _ = waiting.await;
    }
    let next = upstream.calling(&origin);
    until_waiting(&origin, 1).await;
    answer(&mut connection, OK).await;
    answer(&mut connection, OK).await;
    first.await.unwrap().unwrap();
    assert_eq!(next.await.unwrap().unwrap(), "ok");
}

#[tokio::test]
async fn who_gives_up_in_the_queue_was_turned_away_and_nobody_failed() {
    let mut upstream = Upstream::start().await;
    let origin = narrow(&upstream, 1);
    let _first = upstream.calling(&origin);
    let _connection = upstream.accepted().await;
    let stage = Stage::new();
    let request = upstream.request();
    let waits = tokio::time::timeout(Duration::from_millis(1), origin.call(request, Versions::Any, &stage));
    assert!(waits.await.is_err());
    assert!(matches!(origin.gave_up(&stage), CallError::Busy));
    assert_eq!(failures(&origin), [0]);
}

#[tokio::test]
async fn an_idle_connection_to_another_address_serves_when_there_is_no_room() {
    let (mut first, second) = (Upstream::start().await, Upstream::start().await);
    let target = behind_a_name(&[first.address, second.address]);
    let origin = Client::for_tests().origin(Target { max_connections: NonZeroU32::MIN, ..target }).unwrap();
    let mut connection = first.serve(&origin).await;
    let again = first.calling(&origin);
    answer(&mut connection, OK).await;
    assert_eq!(again.await.unwrap().unwrap(), "ok");
}

#[tokio::test]
async fn a_request_that_is_sent_again_takes_the_place_of_an_idle_connection() {
    let mut upstream = Upstream::start().await;
    let origin = narrow(&upstream, 2);
    let calls = [upstream.calling(&origin), upstream.calling(&origin)];
    let mut connections = [upstream.accepted().await, upstream.accepted().await];
    for connection in &mut connections {
        answer(connection, OK).await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let again = upstream.calling(&origin);
    let [mut one, mut other] = connections;
    // One of them has the request; both die.
    tokio::select! {
        _ = one.read_u8() => {}
        _ = other.read_u8() => {}
    }
    drop((one, other));
    answer(&mut upstream.accepted().await, OK).await;
    assert_eq!(again.await.unwrap().unwrap(), "ok");
}

#[tokio::test]
async fn what_became_another_protocol_keeps_its_place() {
    let mut upstream = Upstream::start().await;
    let origin = narrow(&upstream, 1);
    let upgrading = tokio::spawn({
        let (origin, mut request) = (origin.clone(), upstream.request());
        request.headers_mut().insert("connection", "upgrade".parse().unwrap());
        request.headers_mut().insert("upgrade", "websocket".parse().unwrap());
        async move { origin.call(request, Versions::Http1, &Stage::new()).await }
    });
    let mut connection = upstream.accepted().await;
    answer(&mut connection, "HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    let upgraded = hyper::upgrade::on(upgrading.await.unwrap().unwrap()).await.unwrap();
    let waiting = upstream.calling(&origin);
    until_waiting(&origin, 1).await;
    assert_eq!(origin.pools().open(), 1);
    drop(upgraded);
    answer(&mut upstream.accepted().await, OK).await;
    assert_eq!(waiting.await.unwrap().unwrap(), "ok");
}
